package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestRestoredStoreRecordsAndSealsNothingUntilItsHeadIsConfirmed(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	s := newStore(t, o)
	stage(t, s, testEntries(0, 3))
	seal(t, s)
	closeStore(t, s)
	mark := Restored{Made: time.Unix(1700000000, 0).UTC(), Height: 1, Entries: 3}
	if err := MarkRestored("chain", o, mark); err != nil {
		t.Fatal(err)
	}
	for range 2 { // starting again confirms nothing
		s = openStore(t, o)
		if r := s.Info().Restored; r == nil || r.Height != 1 || !r.Made.Equal(mark.Made) {
			t.Fatalf("it is said to be restored: %+v", r)
		}
		stage(t, s, testEntries(int(s.Next()), 2))
		if _, err := s.Seal(SealParams{}); !errors.Is(err, ErrUnsure) {
			t.Fatalf("sealing: %v", err)
		}
		closeStore(t, s)
	}
	s = openStore(t, o)
	if err := s.ConfirmHead(); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
	closeStore(t, s)
	if s = openStore(t, o); s.Info().Restored == nil {
		t.Error("it is forgotten that the store was restored, though nobody said so")
	}
	if err := s.ForgetRestored(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = openStore(t, o)
	if s.Info().Restored != nil {
		t.Error("it is not forgotten")
	}
	seal(t, s)
	if sum := verify(t, &s.Reader); sum.Entries != 7 {
		t.Errorf("%d entries are sealed, want 7", sum.Entries)
	}
	closeStore(t, s)
}

func TestMovedChainIsReadAndNotRecorded(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	s := newStore(t, o)
	stage(t, s, testEntries(0, 3))
	seal(t, s)
	closeStore(t, s)
	if err := MarkMoved("chain", o, Moved{At: time.Unix(1700000000, 0), To: "/media/usb"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("chain", o); !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), "/media/usb") {
		t.Errorf("opening it: %v", err)
	}
	if _, err := Create("chain", o, Genesis{}); !errors.Is(err, ErrExists) {
		t.Errorf("beginning another in its place: %v", err)
	}
	r, err := OpenReader("chain", Options{FS: o.FS})
	if err != nil {
		t.Fatal(err)
	}
	verify(t, r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMarkThatCannotBeReadCounts(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	closeStore(t, newStore(t, o))
	for _, name := range []string{restoredName, movedName} {
		if err := writeMark("chain", o, name, []byte(`{"at":`)); err != nil {
			t.Fatal(err)
		}
		s, err := Open("chain", o)
		if name == movedName {
			if !errors.Is(err, ErrMoved) {
				t.Errorf("moved: %v", err)
			}
		} else if err != nil || s.Info().Restored == nil || s.Info().Restored.Newest {
			t.Errorf("restored: %v", err)
		} else {
			closeStore(t, s)
		}
		if err := fs.Remove("chain/" + name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesOfACheckpointAreAWholeChainAndNoMark(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := newStore(t, o)
	for i := range 5 {
		stage(t, s, testEntries(i*10, 10))
		seal(t, s)
	}
	stage(t, s, testEntries(50, 3)) // not sealed
	if err := MarkRestored("chain", o, Restored{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint("point"); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for _, from := range []string{"point", "chain"} {
		files, err := Files(from, o)
		if err != nil {
			t.Fatal(err)
		}
		to := from + "-copied"
		if err := fs.MkdirAll(to+"/data-1", 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := vfs.Copy(fs, from+"/"+file, to+"/"+file); err != nil {
				t.Fatal(err)
			}
		}
		copied, err := Open(to, o)
		if err != nil {
			t.Fatal(err)
		}
		if sum := verify(t, &copied.Reader); sum.Entries != 50 || sum.Open != 3 || copied.Info().Restored != nil {
			t.Errorf("copied from %s: %d entries, %d not sealed, restored %v", from, sum.Entries, sum.Open, copied.Info().Restored)
		}
		closeStore(t, copied)
	}
}
