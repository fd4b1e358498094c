package poll

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/sensors"
)

// device answers as it is told, and takes a while for it.
type device struct {
	start time.Time

	mu    sync.Mutex
	asked []string // what was asked, and when, in seconds since the start
	takes time.Duration
	err   map[string]error // by read
	slow  map[string]time.Duration
}

// fails has a read fail from now on, or not any more.
func (d *device) fails(read string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err[read] = err
}

func newDevice() *device {
	return &device{start: time.Now(), err: map[string]error{}, slow: map[string]time.Duration{}}
}

func (d *device) group(name string, interval time.Duration, reads ...string) Group {
	g := Group{Name: name, Interval: interval, Form: strings.Join(reads, " ")}
	for _, read := range reads {
		g.Reads = append(g.Reads, Read{read, func(ctx context.Context) (*sensors.Message, error) {
			d.mu.Lock()
			d.asked = append(d.asked, fmt.Sprintf("%s@%g", read, time.Since(d.start).Seconds()))
			takes := d.takes
			if slow, ok := d.slow[read]; ok {
				takes = slow
			}
			d.mu.Unlock()
			select {
			case <-time.After(takes):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if err := d.err[read]; err != nil {
				return nil, err
			}
			return &sensors.Message{Source: read, Received: time.Now()}, nil
		}})
	}
	return g
}

// sink takes messages, after a pause.
type sink struct {
	took  []string
	pause atomic.Int64 // a time.Duration
	err   error
}

func (k *sink) Put(ctx context.Context, m *sensors.Message) error {
	select {
	case <-time.After(time.Duration(k.pause.Load())):
	case <-ctx.Done():
		return ctx.Err()
	}
	k.took = append(k.took, m.Source)
	return k.err
}

func (k *sink) TryPut(*sensors.Message) bool { return false }

// told gathers changes, with times as seconds since the start.
func (d *device) told(changes *[]string) func(context.Context, Change) error {
	at := func(t time.Time) float64 { return t.Sub(d.start).Seconds() }
	return func(_ context.Context, c Change) error {
		for _, f := range c.Failing {
			*changes = append(*changes, fmt.Sprintf("@%g %s/%s fails: %s", at(time.Now()), c.Group, f.Read, f.Why))
		}
		for _, r := range c.Recovered {
			*changes = append(*changes, fmt.Sprintf("%s/%s failed from %g to %g, %d polls", c.Group, r.Read, at(r.From), at(r.To), r.Polls))
		}
		if l := c.Late; l != nil {
			*changes = append(*changes, fmt.Sprintf("@%g %s late since %g, missed %d, over %v", at(time.Now()), c.Group, at(l.Since), l.Missed, l.Over))
		}
		return nil
	}
}

func wants[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

var errSilent = errors.New("no answer")

func TestEachGroupIsPolledAtItsIntervalAndOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.takes = 100 * time.Millisecond
		s := New(Config{Groups: []Group{d.group("a", time.Second, "a1", "a2"), d.group("b", 2*time.Second, "b1")}})
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		if err := s.Run(ctx, k); err != nil {
			t.Fatal(err)
		}
		wants(t, "asked", d.asked, strings.Fields("a1@0 a2@0.1 b1@0.2 a1@1 a2@1.1 a1@2 a2@2.1 b1@2.2"))
		wants(t, "took", len(k.took), 8)
		wants(t, "missed", s.Stats()[0].Missed+s.Stats()[1].Missed, 0)
	})
}

func TestAReadThatFailsIsToldOnceAndGivesNothingOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		var changes []string
		s := New(Config{Name: "modbus:x", Groups: []Group{d.group("g", time.Second, "r1", "r2")}, Changed: d.told(&changes)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, k) }()
		time.Sleep(500 * time.Millisecond)
		d.fails("r1", errSilent)
		time.Sleep(3 * time.Second) // three polls fail, and ask for nothing behind the silence
		wants(t, "state", s.Stats()[0], GroupStats{Name: "g", Reads: 2, Failing: 2, Since: d.start.Add(time.Second), Silent: d.start.Add(time.Second), Why: "r1: no answer",
			Answered: d.start, Polls: 4, Failed: 3, Messages: 2})
		d.fails("r1", nil)
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wants(t, "asked", d.asked, strings.Fields("r1@0 r2@0 r1@1 r1@2 r1@3 r1@4 r2@4"))
		wants(t, "took", k.took, strings.Fields("r1 r2 r1 r2"))
		wants(t, "told", changes, []string{"@1 g/r1 fails: no answer", "@1 g/r2 fails: no answer",
			"g/r1 failed from 1 to 4, 3 polls", "g/r2 failed from 1 to 4, 3 polls"})
	})
}

func TestADeviceThatIsAwayForAnHourIsToldTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.err["r1"], d.slow["r1"] = errSilent, time.Second
		var changes []string
		s := New(Config{Groups: []Group{d.group("g", 2*time.Second, "r1")}, Changed: d.told(&changes)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, k) }()
		time.Sleep(time.Hour - time.Second/2)
		d.fails("r1", nil)
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wants(t, "told", changes, []string{"@1 g/r1 fails: no answer", "g/r1 failed from 0 to 3600, 1800 polls"})
		wants(t, "took", len(k.took), 30)
	})
}

func TestARefusalIsOfOneReadAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.err["r1"] = fmt.Errorf("asking: %w", &RefusedError{errors.New("exception 2")})
		var changes []string
		s := New(Config{Groups: []Group{d.group("g", time.Second, "r1", "r2")}, Changed: d.told(&changes)})
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := s.Run(ctx, k); err != nil {
			t.Fatal(err)
		}
		wants(t, "took", k.took, strings.Fields("r2 r2"))
		wants(t, "told", changes, []string{"@0 g/r1 fails: asking: exception 2"})
	})
}

// A device that is away takes no more than a tenth of the bus's time, so that the others keep their intervals.
func TestASilentDeviceLeavesTheBusToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.err["dead"], d.slow["dead"] = errSilent, time.Second
		s := New(Config{Groups: []Group{d.group("a", time.Second, "dead"), d.group("b", time.Second, "r")}})
		ctx, cancel := context.WithTimeout(t.Context(), 59500*time.Millisecond)
		defer cancel()
		if err := s.Run(ctx, k); err != nil {
			t.Fatal(err)
		}
		stats := s.Stats()
		wants(t, "polls of the dead one", stats[0].Polls, 6)
		if b := stats[1]; b.Polls < 54 || b.Polls+b.Missed != 60 {
			t.Errorf("the other: %+v", b)
		}
		wants(t, "missed by the dead one", stats[0].Missed, 0)
	})
}

// Nor does one with many groups take more, and once it answers, all of them are asked again.
func TestASilentDeviceOfManyGroupsLeavesTheBusToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		var groups []Group
		for i := range 5 {
			read := fmt.Sprint("dead", i)
			d.err[read], d.slow[read] = errSilent, time.Second
			g := d.group(read, time.Second, read)
			g.Device = "dead"
			groups = append(groups, g)
		}
		s := New(Config{Groups: append(groups, d.group("b", time.Second, "r"))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, k) }()
		time.Sleep(3500 * time.Millisecond)
		if b := s.Stats()[4]; !b.Late || b.Polls != 0 {
			t.Errorf("a group that waits for its turn: %+v", b)
		}
		time.Sleep(10*time.Minute - 3500*time.Millisecond)
		var polls uint64
		for _, g := range s.Stats()[:5] {
			polls += g.Polls
		}
		if b := s.Stats()[5]; polls > 65 || polls < 40 || b.Polls < 530 {
			t.Errorf("%d polls of the dead one; the other: %+v", polls, b)
		}
		for i := range 5 {
			d.fails(fmt.Sprint("dead", i), nil)
		}
		d.mu.Lock()
		clear(d.slow)
		d.mu.Unlock()
		time.Sleep(30 * time.Second)
		for _, g := range s.Stats() {
			if g.Failing > 0 {
				t.Errorf("it fails half a minute after it was back: %+v", g)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestMissedIntervalsAreToldAndNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		var changes []string
		s := New(Config{Groups: []Group{d.group("g", time.Second, "r")}, Changed: d.told(&changes)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, k) }()
		time.Sleep(500 * time.Millisecond)
		k.pause.Store(int64(2500 * time.Millisecond)) // the disk is full for a while: of the poll at 1 the message is taken at 3.5
		time.Sleep(5 * time.Second)
		k.pause.Store(0)
		time.Sleep(20 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wants(t, "asked", d.asked[:5], strings.Fields("r@0 r@1 r@4 r@7 r@8"))
		wants(t, "told", changes, []string{"@3.5 g late since 2, missed 2, over false", "@16 g late since 2, missed 4, over true"})
		wants(t, "missed", s.Stats()[0].Missed, 4)
	})
}

func TestADeadlineEndsAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.takes = 300 * time.Millisecond
		g := d.group("g", 10*time.Second, "r1", "r2", "r3", "r4")
		g.Deadline = 650 * time.Millisecond
		var changes []string
		s := New(Config{Groups: []Group{g}, Changed: d.told(&changes)})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Run(ctx, k); err != nil {
			t.Fatal(err)
		}
		wants(t, "took", k.took, strings.Fields("r1 r2"))
		wants(t, "told", changes, []string{"@0.65 g/r3 fails: no answer before the group's deadline of 650ms", "@0.65 g/r4 fails: no answer before the group's deadline of 650ms"})
	})
}

func TestGroupsChangeWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.fails("a1", errSilent)
		var changes []string
		a := d.group("a", time.Second, "a1")
		s := New(Config{Groups: []Group{a, d.group("b", time.Second, "b1")}, Changed: d.told(&changes)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, k) }()
		time.Sleep(500 * time.Millisecond)
		s.SetGroups([]Group{a, d.group("c", 2*time.Second, "c1")}) // what fails goes on failing, and is not told again
		time.Sleep(time.Second)
		d.fails("a1", nil)
		time.Sleep(1300 * time.Millisecond)
		if _, err := s.Once(ctx, "b"); !errors.Is(err, ErrNoGroup) {
			t.Errorf("asking the group that is gone: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wants(t, "asked", d.asked, strings.Fields("a1@0 b1@0 c1@0.5 a1@1 a1@2 c1@2.5"))
		wants(t, "told", changes, []string{"@0 a/a1 fails: no answer", "a/a1 failed from 0 to 2, 2 polls"})
	})
}

func TestOnceAsksBetweenTwoPollsAndRecordsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.takes = 100 * time.Millisecond
		d.fails("r1", errSilent)
		ended := false
		s := New(Config{Groups: []Group{d.group("a", 10*time.Second, "r1", "r2"), d.group("b", 10*time.Second, "r3")}, End: func() { ended = true }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, k) }()
		time.Sleep(50 * time.Millisecond) // r1 is being asked
		answers, err := s.Once(t.Context(), "a")
		if err != nil || len(answers) != 2 || answers[0].Err == nil || answers[1].Err != nil || answers[1].Message.Source != "r2" {
			t.Errorf("got %+v, %v", answers, err)
		}
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil || !ended {
			t.Error(err, ended)
		}
		if _, err := s.Once(t.Context(), "a"); !errors.Is(err, ErrEnded) {
			t.Errorf("asking one that has ended: %v", err)
		}
		wants(t, "took", k.took, strings.Fields("r3"))
	})
}

// A bus must be left alone after silence for longer than the deadline of the group that met it. The next group, whose device is
// there, is not asked in that time, and so does not fail for it.
func TestTheRestAfterSilenceIsNotInTheTimeOfTheNextGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.err["dead"] = errSilent
		var changes []string
		var quiet time.Time
		silent := func(ask func(context.Context) (*sensors.Message, error)) func(context.Context) (*sensors.Message, error) {
			return func(ctx context.Context) (*sensors.Message, error) {
				if err := sleepUntil(ctx, quiet); err != nil {
					return nil, err
				}
				m, err := ask(ctx)
				if err != nil {
					quiet = time.Now().Add(2 * time.Second)
				}
				return m, err
			}
		}
		groups := []Group{d.group("a", time.Second, "dead"), d.group("b", time.Second, "r")}
		for i := range groups {
			groups[i].Reads[0].Ask = silent(groups[i].Reads[0].Ask)
		}
		s := New(Config{Groups: groups, Changed: d.told(&changes), Rest: func(ctx context.Context) { _ = sleepUntil(ctx, quiet) }})
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		if err := s.Run(ctx, k); err != nil {
			t.Fatal(err)
		}
		wants(t, "asked", d.asked, strings.Fields("dead@0 r@2 r@3 r@4 r@5"))
		wants(t, "told", changes, []string{"@2 a/dead fails: no answer", "@2 b late since 1, missed 2, over false"})
	})
}

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A dialer's own time-out is no end of the group's deadline.
func TestATimeOutThatIsNotTheDeadlineIsToldAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.err["r"] = fmt.Errorf("connecting: %w", context.DeadlineExceeded)
		var changes []string
		s := New(Config{Groups: []Group{d.group("g", time.Minute, "r")}, Changed: d.told(&changes)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Run(ctx, &sink{}); err != nil {
			t.Fatal(err)
		}
		wants(t, "told", changes, []string{"@0 g/r fails: connecting: context deadline exceeded"})
	})
}

// After a reload, the groups that it brought can be asked at once, though a poll of the old ones is under way, and those that it
// took away cannot.
func TestOnceKnowsTheGroupsOfAReloadThatWaitsForAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.slow["a1"] = 5 * time.Second
		s := New(Config{Groups: []Group{d.group("a", 10*time.Second, "a1")}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, k) }()
		time.Sleep(time.Second)
		going := make(chan error)
		go func() {
			_, err := s.Once(ctx, "a")
			going <- err
		}()
		synctest.Wait()
		s.SetGroups([]Group{d.group("b", 10*time.Second, "b1")})
		if _, err := s.Once(ctx, "a"); !errors.Is(err, ErrNoGroup) {
			t.Errorf("the group that goes: %v", err)
		}
		if answers, err := s.Once(ctx, "b"); err != nil || len(answers) != 1 || answers[0].Message == nil {
			t.Errorf("the group that comes: %+v, %v", answers, err)
		}
		if err := <-going; !errors.Is(err, ErrNoGroup) {
			t.Errorf("the group that went while the question waited: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// Told to end, it ends, and says nothing about a device that it did not wait for.
func TestAnEndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newDevice(), &sink{}
		d.takes = time.Hour
		var changes []string
		s := New(Config{Groups: []Group{d.group("g", 2*time.Hour, "r")}, Changed: d.told(&changes)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Run(ctx, k); err != nil || len(changes) > 0 {
			t.Error(err, changes)
		}
	})
}

func TestASinkThatClosesEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := errors.New("closed")
		s := New(Config{Name: "modbus:x", Groups: []Group{newDevice().group("g", time.Second, "r")}})
		if err := s.Run(t.Context(), &sink{err: closed}); !errors.Is(err, closed) {
			t.Error(err)
		}
	})
}
