package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// wantsMerges is a database as the scheduler sees it. It remembers what it was granted, and ends nothing by itself.
type wantsMerges struct {
	waiting int
	asked   func() // called while it is asked whether it waits; nil: nothing
	granted []pebble.CompactionGrantHandle
}

func (*wantsMerges) GetAllowedWithoutPermission() int { return 1 }

func (d *wantsMerges) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	waits := d.waiting > 0
	if f := d.asked; f != nil {
		d.asked = nil
		f()
	}
	return waits, pebble.WaitingCompaction{}
}

func (d *wantsMerges) Schedule(h pebble.CompactionGrantHandle) bool {
	d.waiting--
	d.granted = append(d.granted, h)
	return true
}

func TestMergesBeginOneAfterTheOtherOnceTheDatabaseIsOpen(t *testing.T) {
	c, d := newCompactions(), &wantsMerges{}
	c.Register(2, d)
	refused := func() {
		t.Helper()
		if granted, _ := c.TrySchedule(); granted {
			t.Fatal("a merge may begin")
		}
	}
	refused() // while it opens
	d.waiting = 2
	c.grant()
	if len(d.granted) != 0 {
		t.Fatal("a merge has begun while the database opens")
	}
	c.open()
	if len(d.granted) != 1 {
		t.Fatalf("%d merges run once it is open, want the one that waited longest", len(d.granted))
	}
	refused()
	d.granted[0].Done()
	if len(d.granted) != 2 {
		t.Fatalf("%d merges were begun after the first ended", len(d.granted))
	}
	d.granted[1].Done()

	granted, h := c.TrySchedule()
	if !granted {
		t.Fatal("nothing runs, and no merge may begin")
	}
	refused()
	// It is refused while it is asked, and waits from then on: it is asked once more.
	d.asked = func() { refused(); d.waiting = 1 }
	h.Done()
	if len(d.granted) != 3 {
		t.Fatal("what waited since it was refused was forgotten")
	}
	c.Unregister()
	d.waiting = 1
	d.granted[2].Done()
	refused()
	if len(d.granted) != 3 {
		t.Error("a merge has begun after the database was closed")
	}
}

// A disk that refuses for an hour is asked some twenty times, and a merge that succeeds ends the waiting.
func TestAMergeThatFailedIsTriedAgainLater(t *testing.T) {
	c, d := newCompactions(), &wantsMerges{}
	var waited []time.Duration
	var over func()
	c.after = func(d time.Duration, f func()) { waited, over = append(waited, d), f }
	c.Register(2, d)
	c.open()

	try := func(err error) {
		t.Helper()
		granted, h := c.TrySchedule()
		if !granted {
			t.Fatalf("no merge may begin after the pauses %v", waited)
		}
		c.ended(pebble.CompactionInfo{Err: err})
		h.Done()
	}
	var all time.Duration
	for tries := 0; all < time.Hour; tries++ {
		if tries == 25 {
			t.Fatalf("tried again %d times within %v", tries, all)
		}
		try(errors.New("too many open files"))
		if granted, _ := c.TrySchedule(); granted {
			t.Fatal("a merge that failed is tried again at once")
		}
		all += waited[len(waited)-1]
		over()
	}
	if waited[0] != firstPause || waited[len(waited)-1] != longestPause {
		t.Errorf("the pauses are %v", waited)
	}

	pauses := len(waited)
	try(pebble.ErrCancelledCompaction)
	try(nil)
	if len(waited) != pauses {
		t.Error("a merge that did not fail is followed by a pause")
	}
	try(errors.New("too many open files"))
	if last := waited[len(waited)-1]; last != firstPause {
		t.Errorf("the pause after a merge that succeeded is %v, want %v", last, firstPause)
	}

	// What was asked for during the pause begins when it is over.
	d.waiting = 1
	over()
	if len(d.granted) != 1 {
		t.Error("a merge that the database waits for does not begin after the pause")
	}
}

// A merge that is asked for waits behind others that fail, which are tried first. Whoever asked gets an answer then, or may give
// up, and the merge comes when it can. One that Pebble has picked already must not be called off: it would panic.
func TestAMergeThatCannotBeginKeepsNobodyWaiting(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	c := s.merges
	rest := func(resting bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.resting, c.refused = resting, false
	}
	answered := make(chan error)
	ask := func(ctx context.Context) {
		t.Helper()
		rest(true)
		stage(t, s, testEntries(0, 5))
		if _, err := s.Seal(SealParams{Sealed: 1}); err != nil {
			t.Fatal(err)
		}
		go func() { answered <- s.Reclaim(ctx, 1, s.Tip().Height+1) }()
		// Pebble picks it now, unless it waits since before.
		for picked, n := false, 0; !picked && n < 100; n++ {
			time.Sleep(time.Millisecond)
			c.mu.Lock()
			picked = c.refused
			c.mu.Unlock()
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	ask(gone)
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	c.patience = time.Millisecond
	if err := s.Reclaim(t.Context(), 1, 2); !errors.Is(err, ErrNoMerge) {
		t.Fatal(err)
	}
	c.patience = mergePatience
	rest(false)
	c.grant()
	if err := s.Reclaim(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	ask(t.Context())
	closeStore(t, s)
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// Whoever waits for the turn when the store closes gets an answer, too, and asks nothing of a closed database.
func TestAStoreClosesWhileMergesAreAskedFor(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	c := s.merges
	c.mu.Lock()
	c.resting = true
	c.mu.Unlock()
	stage(t, s, testEntries(0, 5))
	if _, err := s.Seal(SealParams{Sealed: 1}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 3)
	for range cap(answered) {
		go func() { answered <- s.Reclaim(t.Context(), 1, 2) }()
	}
	for len(c.turn) == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	closeStore(t, s)
	for range cap(answered) {
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// While nothing is merged, Tidy lays no table upon those that it laid before.
func TestTidyLaysNothingAboveARowThatIsNotMerged(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	above := func() (n int) {
		levels, err := s.db.SSTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, level := range levels[:len(levels)-1] {
			n += len(level)
		}
		return n
	}
	for range fewTables + 2 {
		stage(t, s, testEntries(0, 5))
		if _, err := s.Seal(SealParams{Sealed: 1}); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		for above() > 0 { // one by one: two that wait above become one
			time.Sleep(time.Millisecond)
		}
	}
	if len(s.smallRows()) == 0 {
		t.Fatal("no row of small tables")
	}
	c := s.merges
	c.mu.Lock()
	c.resting = true
	c.mu.Unlock()
	c.patience = 20 * time.Millisecond
	for range 3 {
		if err := s.Tidy(t.Context()); !errors.Is(err, ErrNoMerge) {
			t.Error(err)
		}
	}
	if n := above(); n > 1 {
		t.Errorf("%d tables lie above the row", n)
	}
}
