package recorder

import (
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/sensors"
)

// What decides is the budget, unless a group waited long enough by itself already, or somebody waits for it.
func TestWhenAGroupIsDue(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	for name, c := range map[string]struct {
		closed time.Duration // when the group before was
		g      gathered
		wait   time.Duration // that the budget wants
		want   time.Duration
	}{
		"rich: when nothing came for a moment":             {-5 * ms, gathered{first: at(0), newest: at(3 * ms)}, 0, 5 * ms},
		"rich: when it has waited long enough":             {-5 * ms, gathered{first: at(0), newest: at(24 * ms)}, 0, 25 * ms},
		"poor: when its turn has come":                     {-5 * ms, gathered{first: at(0), newest: at(3 * ms)}, 300 * ms, 295 * ms},
		"poor, after a quiet second: as if it were rich":   {-1000 * ms, gathered{first: at(0), newest: at(0)}, 1000 * ms, 2 * ms},
		"poor, and who sends waits for it: at once":        {-5 * ms, gathered{first: at(0), newest: at(3 * ms), stalled: at(3 * ms), alone: true}, 300 * ms, 3 * ms},
		"the same beside others: with what they send":      {-5 * ms, gathered{first: at(0), newest: at(10 * ms), stalled: at(3 * ms)}, 300 * ms, 12 * ms},
		"the same beside many others: not for ever":        {-5 * ms, gathered{first: at(0), newest: at(27 * ms), stalled: at(3 * ms)}, 300 * ms, 28 * ms},
		"who may wait for it is given time to show it":     {-5 * ms, gathered{first: at(0), newest: at(3 * ms), stalled: at(90 * ms), alone: true}, 300 * ms, 90 * ms},
		"the same beside others":                           {-5 * ms, gathered{first: at(0), newest: at(3 * ms), stalled: at(90 * ms)}, 300 * ms, 92 * ms},
		"nobody is given more time than the budget wants":  {-5 * ms, gathered{first: at(0), newest: at(3 * ms), stalled: at(900 * ms), alone: true}, 300 * ms, 295 * ms},
		"rich, and who sends waits for it: without a wait": {-5 * ms, gathered{first: at(0), newest: at(0), stalled: at(0), alone: true}, 0, 0},
	} {
		p := pacer{closed: at(c.closed)}
		if got := p.due(c.g, c.wait).Sub(now); got != c.want {
			t.Errorf("%s: due after %v, want %v", name, got, c.want)
		}
	}
}

// The level says how far apart groups are: not at all, as often as the budget bears, or a second.
func TestTheWaitRisesAsTheBudgetGetsPoor(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var written stored
	b := newBudget(purseParts*86400/(purseParts-1)*4*page, now, func() stored { return written }) // a group each quarter of a second
	for _, c := range []struct {
		saved float64
		least time.Duration
		most  time.Duration
	}{{1, 0, 0}, {0.5, 0, 0}, {0.49, 1, 10 * time.Millisecond}, {0.25, 249 * time.Millisecond, 251 * time.Millisecond}, {0.1, time.Second, time.Second}, {0, time.Second, time.Second}} {
		b.level = c.saved * b.most()
		if got := b.wait(now); got < c.least || got > c.most {
			t.Errorf("with %v saved groups are %v apart, want %v to %v", c.saved, got, c.least, c.most)
		}
	}
	b.level = b.most() / 2
	written.Tables = 1 << 40 // a lump that no wait could have kept off is not held against what comes
	b.wait(now.Add(time.Second))
	if b.wait(now.Add(2*time.Hour)) != 0 {
		t.Error("hours later nothing is saved up")
	}
	b.set(0, now.Add(2*time.Hour))
	if got := b.wait(now.Add(3 * time.Hour)); got != 0 {
		t.Errorf("without a limit groups are %v apart", got)
	}
}

// A day is told from what there is of it, and forgets what is older.
func TestTheRateIsThatOfTheLastDay(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var written stored
	b := newBudget(2e9, now, func() stored { return written })
	if s := b.spending(now.Add(5 * time.Minute)); s.Rate != 0 {
		t.Errorf("after five minutes it is known: %v", s.Rate)
	}
	for hour := 1; hour <= 48; hour++ {
		written.Tables += 1e9
		s := b.spending(now.Add(time.Duration(hour)*time.Hour - time.Minute))
		if s.Rate < 22e9 || s.Rate > 26e9 {
			t.Errorf("after %d hours: %v bytes a day", hour, s.Rate)
		}
	}
	if s := b.spending(now.Add(80 * time.Hour)); s.Rate != 0 || s.Total != 48e9 {
		t.Errorf("a quiet day later: %+v", s)
	}
}

// A gateway that hears nothing for a day writes its heartbeats, and next to nothing else.
func TestAnIdleDayWritesNextToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Committer) { c.commit = CommitConfig{MaxEntries: 4} })
		b.start()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		s := b.Spending()
		if height := b.store.Tip().Height; height < 23 || s.Total == 0 || s.Rate > 20e6 {
			t.Errorf("%d heartbeats, %d bytes written, %.0f a day", height, s.Total, s.Rate)
		}
		b.stop(t)
	})
}

// What is written is what the store says, and the rest of each page that a sync begins or leaves half full.
func TestWhatASyncCostsIsMeasured(t *testing.T) {
	b := newBench(t, func(c *Committer) { c.commit = CommitConfig{MaxEntries: 4} })
	b.start()
	for range 5 {
		if got := <-b.put(t, "a message"); got.err != nil {
			t.Fatal(got.err)
		}
	}
	await(t, "five pages to be counted", func() bool { return b.Spending().Total >= 5*page })
	stats, s := b.store.Stats(), b.Spending()
	if want := stats.WALBytes + stats.TableBytes + 5*page; s.Total > want {
		t.Errorf("%d bytes are counted, and %d were written, pages included", s.Total, want)
	}
	b.stop(t)
}

// A young gateway that spends what it may have at its start exceeds nothing, and one that goes on like that does.
func TestWhatWasSavedUpExceedsNothing(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var written stored
	b := newBudget(2e9, now, func() stored { return written })
	hour := func(n float64) time.Time { return now.Add(time.Duration(n * float64(time.Hour))) }
	written.Tables = uint64(b.most() + b.rate()*1800)
	if s := b.spending(hour(0.5)); s.Rate < 2.4e9 || s.Over > 1e4 {
		t.Errorf("half an hour after a start: %+v", s)
	}
	written.Tables = 3e9
	if s := b.spending(hour(23.9)); s.Over < 0.9e9 || s.Over > 1.1e9 {
		t.Errorf("a day later: %+v", s)
	}
	if s := b.spending(hour(60)); s.Over != 0 {
		t.Errorf("after a quiet day: %+v", s)
	}
}

// Behind the year 2157 times are those of the wall clock alone. One that is set back from there keeps no group open until it is there
// again, and has the budget fill as before.
func TestAClockThatIsSetBackKeepsNoGroupOpen(t *testing.T) {
	ahead := time.Date(2170, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, set := range map[string]func(c *Committer, q *Queue){
		"since the last group":                  func(c *Committer, q *Queue) { c.pacer.closed = ahead },
		"while one is gathered":                 func(c *Committer, q *Queue) { q.began, q.newest = ahead, ahead },
		"while one is gathered, fixed delays":   func(c *Committer, q *Queue) { c.commit.MaxDelay, q.began, q.newest = time.Second, ahead, ahead },
		"since the last group, nothing is left": func(c *Committer, q *Queue) { c.pacer.closed, c.budget.level = ahead, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(2e9)
				if err := s.c.queue.Put(t.Context(), &sensors.Message{Source: "mqtt:plant:topic"}); err != nil {
					t.Fatal(err)
				}
				set(s.c, s.c.queue)
				began := time.Now()
				if got := s.c.gather(func() int { return 1000 }); len(got) != 1 || time.Since(began) > MostWait {
					t.Errorf("%d messages after %v", len(got), time.Since(began))
				}
			})
		})
	}
	b := newBudget(2e9, ahead, func() stored { return stored{} })
	b.level = 0
	back := time.Unix(1_700_000_000, 0)
	b.wait(back)
	b.wait(back.Add(time.Second))
	if b.wait(back.Add(time.Hour)) != 0 {
		t.Error("an hour after the clock was set back nothing is saved up")
	}
}
