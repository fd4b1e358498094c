package recorder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// What a simulated disk takes for a sync, and what it writes for a message, in its log and in its tables.
const (
	simSync    = 5 * time.Millisecond
	simBytes   = 40
	simHandOut = 10 * time.Microsecond // from one acknowledgement to the next
)

// simulation is a queue and what decides about its groups, over a disk that takes some time for each.
type simulation struct {
	c     *Committer
	mu    sync.Mutex
	disk  stored // guarded by mu, as all below
	syncs int
	done  map[string]int // messages acknowledged, by sender
	spent uint64         // bytes, each sync's page included
}

func newSimulation(perDay uint64) *simulation {
	s := &simulation{done: map[string]int{}}
	q := NewQueue(16<<20, 1000)
	s.c = &Committer{queue: q, staged: make(chan group), gathering: time.NewTimer(0), commit: CommitConfig{MaxEntries: 1000}}
	s.c.budget = newBudget(perDay, time.Now(), func() stored {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.disk
	})
	return s
}

// run gathers, and acknowledges what is gathered, until the queue is closed.
func (s *simulation) run() {
	var acknowledged sync.WaitGroup
	acknowledged.Go(func() {
		for g := range s.c.staged {
			time.Sleep(simSync)
			s.c.budget.synced(0)
			s.mu.Lock()
			bytes := uint64(len(g.messages) * simBytes)
			s.disk.Log += bytes
			s.disk.Tables += bytes
			s.syncs++
			s.spent += 2*bytes + page
			for _, m := range g.messages {
				s.done[senderOf(m)]++
			}
			s.mu.Unlock()
			s.c.queue.acknowledging(g.messages)
			for _, m := range g.messages {
				m.Done(nil)
				time.Sleep(simHandOut)
			}
			s.c.queue.release(g.messages)
		}
	})
	for range s.c.queue.first {
		if messages := s.c.gather(func() int { return 1000 }); len(messages) > 0 {
			s.c.staged <- group{messages: messages}
		}
		if s.c.queue.drained() {
			break
		}
	}
	close(s.c.staged)
	acknowledged.Wait()
}

// send has a sender of a party come up with a message at each of the intervals that next returns. One without next always has one
// more.
func (s *simulation) send(ctx context.Context, name string, p party, next func() time.Duration) {
	window := p.window
	tokens := make(chan struct{}, max(window, 1))
	has := make(chan struct{}, 1_000_000) // messages that wait at the sender
	if next == nil {
		close(has)
	} else {
		go func() {
			for {
				select {
				case <-time.After(next()):
					has <- struct{}{}
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	for {
		select {
		case <-has:
		case <-ctx.Done():
			return
		}
		weight := min(1, window)
		if p.weight != nil {
			weight = p.weight()
		}
		for range weight {
			select {
			case tokens <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		m := &sensors.Message{Source: name + ":topic", Done: func(error) {
			if weight > 0 {
				time.AfterFunc(p.takes(), func() {
					for range weight {
						<-tokens
					}
				})
			}
		}}
		if s.c.queue.Put(ctx, m) != nil {
			return
		}
	}
}

// sendTurns has a sender put as many messages as its next turn has, wait until all are acknowledged, and so on.
func (s *simulation) sendTurns(ctx context.Context, name string, p party, turn func() int) {
	for i := 0; ctx.Err() == nil; i++ {
		from := name
		if p.anew {
			from = fmt.Sprint(name, "-", i)
		}
		var all sync.WaitGroup
		for n := range turn() {
			if n > 0 {
				time.Sleep(p.gap)
			}
			all.Add(1)
			if s.c.queue.Put(ctx, &sensors.Message{Source: from + ":topic", Done: func(error) { all.Done() }}) != nil {
				return
			}
		}
		all.Wait()
		time.Sleep(p.takes())
	}
}

// every is a sender that comes up with a message each interval; poisson one that does so on average.
func every(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func poisson(mean time.Duration, seed uint64) func() time.Duration {
	r := rand.New(rand.NewPCG(seed, 1))
	return func() time.Duration { return max(1, time.Duration(r.ExpFloat64()*float64(mean))) }
}

// unevenly is a sender whose messages come up to a part of the interval sooner or later.
func unevenly(d time.Duration, part float64, seed uint64) func() time.Duration {
	r := rand.New(rand.NewPCG(seed, 5))
	return func() time.Duration { return time.Duration((1 - part + 2*part*r.Float64()) * float64(d)) }
}

// bursts is a sender with n messages at once, each interval.
func bursts(n int, d time.Duration) func() time.Duration {
	i := 0
	return func() time.Duration {
		if i++; i%n == 0 {
			return d
		}
		return time.Microsecond
	}
}

// after is another sender that begins later.
func after(next func() time.Duration, begins time.Duration) func() time.Duration {
	return func() time.Duration {
		d := begins
		begins = 0
		return d + next()
	}
}

// party is n senders with a window; 0 is any number. next makes what says when sender i has a message.
type party struct {
	window int
	trip   time.Duration // until it has an acknowledgement, and sends its next message
	late   time.Duration // by how much that may take longer
	n      int
	next   func(i int) func() time.Duration

	weight func() int             // how much of the window the next message takes; nil: 1
	turn   func(i int) func() int // how many messages it sends, before it waits for all; nil: it takes no turns
	gap    time.Duration          // between these
	anew   bool                   // each turn comes from another client id
	shared bool                   // all n have one client id
}

// takes is how long it takes to answer, this time.
func (p party) takes() time.Duration { return p.trip + time.Duration(rand.Float64()*float64(p.late)) }

// outcome of a simulation, after it has settled.
type simulated struct {
	syncs   float64            // a second
	bytes   float64            // a day
	rates   map[string]float64 // messages a second, by sender
	limited []Limited
}

func simulate(t *testing.T, perDay uint64, settles, lasts time.Duration, parties ...party) (out simulated) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(perDay)
		ctx, end := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { defer close(ran); s.run() }()
		for i, p := range parties {
			for j := range p.n {
				name := fmt.Sprintf("broker:w%d-%d/%d", p.window, i, j)
				if p.shared {
					name = fmt.Sprintf("broker:w%d-%d/one", p.window, i)
				}
				if p.turn != nil {
					go s.sendTurns(ctx, name, p, p.turn(j))
				} else {
					go s.send(ctx, name, p, p.next(j))
				}
			}
		}
		look := func() (int, uint64, map[string]int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			done := map[string]int{}
			for name, n := range s.done {
				done[name] = n
			}
			return s.syncs, s.spent, done
		}
		time.Sleep(settles)
		syncs, spent, done := look()
		time.Sleep(lasts)
		syncs2, spent2, done2 := look()
		out.limited = s.c.queue.limited()
		end()
		s.c.queue.Close()
		<-ran
		time.Sleep(time.Second) // acknowledgements that are under way
		out.syncs = float64(syncs2-syncs) / lasts.Seconds()
		out.bytes = float64(spent2-spent) / lasts.Seconds() * 86400
		out.rates = map[string]float64{}
		for name, n := range done2 {
			out.rates[name] = float64(n-done[name]) / lasts.Seconds()
		}
	})
	return out
}

func total(rates map[string]float64) (sum float64) {
	for _, r := range rates {
		sum += r
	}
	return sum
}

// Whoever sends as it likes shares syncs with others as the budget wants; whoever waits for acknowledgements goes on as if there were
// none, with no more syncs than it needs.
func TestTheBudgetIsKeptAndNoSenderFallsBehind(t *testing.T) {
	free := func(perSecond int) party {
		return party{n: 16, next: func(i int) func() time.Duration {
			return poisson(16*time.Second/time.Duration(perSecond), uint64(i))
		}}
	}
	const ms = time.Millisecond
	always := func(int) func() time.Duration { return nil }
	evenly := func(d time.Duration) func(int) func() time.Duration {
		return func(int) func() time.Duration { return every(d) }
	}
	for _, c := range []struct {
		name    string
		parties []party
		bytes   float64 // a day, at most; 0: 1.1 times the syncs needed, or the budget where that is more
		soon    bool    // there is much of it, and it settles soon
	}{
		{"16 without a window, 1/s", []party{free(1)}, 2e9, false},
		{"16 without a window, 10/s", []party{free(10)}, 2e9, false},
		{"16 without a window, 100/s", []party{free(100)}, 2e9, false},
		{"16 without a window, 100/s, evenly", []party{{n: 16, next: evenly(160 * time.Millisecond)}}, 2e9, false},
		{"16 without a window, 100/s, unevenly", []party{{n: 16, next: func(i int) func() time.Duration { return unevenly(160*ms, 0.3, uint64(i)) }}}, 2e9, false},
		{"4 without a window, 12/s, unevenly", []party{{n: 4, next: func(i int) func() time.Duration { return unevenly(333*ms, 0.3, uint64(i)) }}}, 2e9, false},
		{"one without a window, 30/s, unevenly", []party{{n: 1, next: func(i int) func() time.Duration { return unevenly(33*ms, 0.5, uint64(i)) }}}, 2e9, false},
		{"10,000 of one user, each once in five minutes", []party{{n: 10_000, next: func(i int) func() time.Duration { return after(every(5*time.Minute), time.Duration(i)*30*ms) }}}, 2e9, false},
		{"16 without a window, 10 at once each second", []party{{n: 16, next: func(int) func() time.Duration { return bursts(10, time.Second) }}}, 2e9, false},
		{"16 without a window, 10 at once each second, one after the other", []party{{n: 16, next: func(i int) func() time.Duration { return after(bursts(10, time.Second), time.Duration(i)*62*ms) }}}, 2e9, false},
		{"one without a window, 100/s, evenly", []party{{n: 1, next: evenly(10 * time.Millisecond)}}, 2e9, false},
		{"16 without a window, 1000/s", []party{free(1000)}, 8e9, true},
		{"window 1, as fast as it can", []party{{window: 1, trip: ms, n: 1, next: always}}, 0, true},
		{"window 1, 10/s", []party{{window: 1, trip: ms, n: 1, next: evenly(100 * time.Millisecond)}}, 0, false},
		{"window 1, as fast as it can, over a slow link", []party{{window: 1, trip: 40 * ms, n: 1, next: always}}, 0, true},
		{"window 1, pausing after each acknowledgement, beside 16 without", []party{{window: 1, trip: 100 * ms, n: 1, next: always}, free(100)}, 1e18, true},
		{"100 without a window, each 1/s, evenly", []party{{n: 100, next: func(i int) func() time.Duration { return after(every(time.Second), time.Duration(i)*10*ms) }}}, 2e9, false},
		{"16 with window 1", []party{{window: 1, trip: ms, n: 16, next: always}}, 0, true},
		{"16 with window 1, 100/s", []party{{window: 1, trip: ms, n: 16, next: evenly(160 * ms)}}, 0, false},
		{"window 20, as fast as it can", []party{{window: 20, trip: ms, n: 1, next: always}}, 0, true},
		{"window 20, 100/s", []party{{window: 20, trip: ms, n: 1, next: evenly(10 * time.Millisecond)}}, 0, false},
		{"window 20, 300/s", []party{{window: 20, trip: ms, n: 1, next: func(int) func() time.Duration { return poisson(time.Second/300, 7) }}}, 0, true},
		{"window 1 and 20 beside 16 without", []party{{window: 1, trip: ms, n: 1, next: always}, {window: 20, trip: ms, n: 1, next: always}, free(100)}, 1e18, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			settles, lasts := 25*time.Minute, 5*time.Minute
			if c.soon {
				settles, lasts = 30*time.Second, 30*time.Second
			}
			at1 := simulate(t, 0, settles, lasts, c.parties...)
			got := simulate(t, 2e9, settles, lasts, c.parties...)
			t.Logf("%.1f syncs a second and %.2f GB a day for %.0f messages a second; at once %.1f, %.2f and %.0f; limited %v",
				got.syncs, got.bytes/1e9, total(got.rates), at1.syncs, at1.bytes/1e9, total(at1.rates), got.limited)
			for name, at1 := range at1.rates {
				if got.rates[name] < 0.9*at1 {
					t.Errorf("%s sends %.2f messages a second, and would send %.2f", name, got.rates[name], at1)
				}
			}
			most := c.bytes
			if most == 0 {
				rate := total(got.rates)
				needed := rate / float64(c.parties[0].window*c.parties[0].n) * page * 86400
				most = max(2e9, 1.1*needed+rate*2*simBytes*86400)
			}
			if got.bytes > most {
				t.Errorf("%.2f GB a day, and %.2f are allowed", got.bytes/1e9, most/1e9)
			}
		})
	}
}

// A sender with a large window goes on with the first acknowledgement of a group, before the others are told: it has no more under
// way for that.
func TestAWindowDoesNotGrowWhileAcknowledgementsAreTold(t *testing.T) {
	const window = 500
	q := NewQueue(16<<20, 1000)
	c := &Committer{queue: q}
	var put func(int)
	put = func(more int) {
		m := &sensors.Message{Source: "mqtt:plant:topic", Done: func(error) {
			if more > 0 {
				put(more - 1)
			}
		}}
		if err := q.Put(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
	for range window {
		put(2)
	}
	for range 3 {
		c.finish(group{messages: q.take(nil, window, groupBytes), write: &store.Staged{}}, nil)
		if got := q.senders["mqtt:plant"].window(); got != window {
			t.Fatalf("a window of %d counts as %d", window, got)
		}
	}
}

// Clients that come with one message each, and go, cost no memory for long.
func TestFewSendersAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(16<<20, 1000)
		c := &Committer{queue: q}
		put := func(name string) {
			if err := q.Put(t.Context(), &sensors.Message{Source: name + ":topic"}); err != nil {
				t.Fatal(err)
			}
			c.finish(group{messages: q.take(nil, 1, groupBytes), write: &store.Staged{}}, nil)
		}
		for i := range 10 * mostSenders {
			put(fmt.Sprint("broker:-/", i))
			time.Sleep(time.Millisecond)
			if n := len(q.senders); n > mostSenders {
				t.Fatalf("of %d something is kept", n)
			}
		}
		time.Sleep(2 * MostWait)
		put("mqtt:plant")
		if q.senders["mqtt:plant"] == nil {
			t.Error("who comes when they are gone is not looked at")
		}
	})
}
