package store

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whatever is left of blocks above the newest header that can be reached shows that they were sealed.
func TestAChainWhoseEndIsOutOfReachDoesNotVerify(t *testing.T) {
	const top = 20
	for what, lose := range map[string]func(t *testing.T, s *Store){
		"the newest header": func(t *testing.T, s *Store) { wipe(t, s, headerKey(top), blockKey(top, partNode)) },
		"the two newest headers": func(t *testing.T, s *Store) {
			wipe(t, s, headerKey(top-1), blockKey(top-1, partNode))
			wipe(t, s, headerKey(top), blockKey(top, partNode))
		},
		"headers below the newest": func(t *testing.T, s *Store) { wipe(t, s, blockKey(top-3, partSeed), blockKey(top-1, partSeed)) },
		"all but the newest entries": func(t *testing.T, s *Store) {
			wipe(t, s, headerKey(top-4), chunkKey(top, 0))
			wipe(t, s, headerKey(top), blockKey(top+1, 0))
		},
		"nodes of the history": func(t *testing.T, s *Store) { wipe(t, s, nodeKey(15, 0), nodeKey(15, 63)) },
		"that it is sure":      func(t *testing.T, s *Store) { putMeta(t, s, metaUnsure) },
	} {
		t.Run(what, func(t *testing.T) {
			o := testOptions(t, vfs.NewMem())
			s := newStore(t, o)
			for n := range top {
				stage(t, s, testEntries(3*n, 3))
				seal(t, s)
			}
			stage(t, s, testEntries(3*top, 2))
			if sum := verify(t, &s.Reader); sum.Incomplete() != nil {
				t.Fatal(sum.Incomplete())
			}
			lose(t, s)
			closeStore(t, s)
			r, err := OpenReader("chain", Options{FS: o.FS})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var failed *VerifyError
			if sum, err := r.Verify(t.Context(), nil); !errors.As(err, &failed) {
				t.Errorf("%v, %+v", err, sum)
			} else {
				t.Log(err)
			}
		})
	}
}

func wipe(t *testing.T, s *Store, from, to []byte) {
	t.Helper()
	batch := s.db.NewBatch()
	if err := errors.Join(batch.DeleteRange(from, to, nil), s.guard.commit(batch)); err != nil {
		t.Fatal(err)
	}
}

func putMeta(t *testing.T, s *Store, word string) {
	t.Helper()
	if err := s.putSynced(metaKey(word), nil); err != nil {
		t.Fatal(err)
	}
}

// A chain of which only headers came back verifies as far as it goes, and is said not to be whole; one that retention has
// shortened is whole.
func TestWhatWasLostIsNotWhole(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		ahead, old := setBack(t, 3, false)
		var err error
		if sparse {
			err = old.AdoptHead(headOf(t, ahead, old))
		} else {
			err = old.Adopt(runAbove(t, ahead, old.Tip().Height))
		}
		if err != nil {
			t.Fatal(err)
		}
		if back, err := old.TakenBack(); err != nil || back.To != old.Tip().Height || back.Next != old.Tip().Next || back.Sparse != sparse {
			t.Errorf("it is noted that came back: %+v, %v", back, err)
		}
		if err := old.ForgetTakenBack(); err != nil {
			t.Fatal(err)
		}
		if back, err := old.TakenBack(); err != nil || back != nil {
			t.Errorf("told, it is noted still: %+v, %v", back, err)
		}
		sum := verify(t, &old.Reader)
		var incomplete *IncompleteError
		if err := sum.Incomplete(); !errors.As(err, &incomplete) || incomplete.Blocks == 0 || sparse != (incomplete.Headers > 0) {
			t.Errorf("%v of %+v", err, sum)
		}
		closeStore(t, old)
		closeStore(t, ahead)
	}
}
