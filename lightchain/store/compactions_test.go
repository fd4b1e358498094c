package store

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
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
