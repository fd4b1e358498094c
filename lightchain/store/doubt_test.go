package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// parts are the files that say where the chain ended, each of which may be lost with any other.
var parts = []string{"head-a", "head-b", "the newest log", noteName, "MANIFEST", "the marker"}

// losePart removes one of them.
func losePart(t *testing.T, fs vfs.FS, part string) {
	t.Helper()
	db, _, err := current("chain", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(db)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int { return int(salvage.FileNumber(b)) - int(salvage.FileNumber(a)) })
	var is func(name string) bool
	switch part {
	case "the newest log":
		is = salvage.IsLog
	case "MANIFEST":
		is = func(name string) bool { return name == salvage.Marked(salvage.Markers(names)[0]) }
	case "the marker":
		is = salvage.IsMarker
	default:
		remove(t, fs, "chain/"+part)
		return
	}
	if i := slices.IndexFunc(names, is); i >= 0 {
		remove(t, fs, fs.PathJoin(db, names[i]))
	}
}

// Whatever is lost at once of what says where the chain ended: no height is signed twice, and nothing that is lost alone
// keeps the chain from going on.
func TestNoHeightIsSignedTwiceWhateverIsLostAtOnce(t *testing.T) {
	goesOn, held := 0, 0
	for _, closed := range []bool{true, false} {
		for _, since := range []int{0, 1, 2} { // blocks sealed by the last run
			disk := vfs.NewCrashableMem()
			o := testOptions(t, disk)
			s := marked(t, o, 3, 2)
			o.Signer = s.signer
			closeStore(t, s)
			s = openStore(t, o)
			for range since {
				grow(t, s, 1)
			}
			left := map[uint64]lightchain.Hash{}
			for h, err := range s.Headers(0, s.Tip().Height+1) {
				if err != nil {
					t.Fatal(err)
				}
				left[h.Header.Height] = h.Hash()
			}
			image := disk
			if closed {
				closeStore(t, s)
			} else {
				// Killed: all that was written is there, synced or not.
				image = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
				defer closeStore(t, s)
			}
			for set := range 1 << len(parts) {
				fs := cloneFolder(t, image)
				var lost []string
				for i, part := range parts { // the record before the marker, which names it
					if set>>i&1 == 1 {
						losePart(t, fs, part)
						lost = append(lost, part)
					}
				}
				name := fmt.Sprintf("closed %v, %d sealed since, without %s", closed, since, strings.Join(lost, ", "))
				if signsOnce(t, name, fs, o, left, len(lost) > 1) {
					goesOn++
				} else {
					held++
				}
			}
		}
	}
	if goesOn == 0 || held == 0 {
		t.Errorf("%d went on, %d were held", goesOn, held)
	}
	t.Logf("%d went on, %d were held", goesOn, held)
}

// signsOnce opens a store that lost something, and lets it seal if it does. It reports whether it did.
func signsOnce(t *testing.T, name string, fs vfs.FS, o Options, left map[uint64]lightchain.Hash, mayHold bool) bool {
	t.Helper()
	o.FS, o.Rand = fs, &counter{1 << 40}
	for start := range 2 {
		s, err := Open("chain", o)
		if err != nil {
			if errors.Is(err, ErrDamaged) && mayHold {
				return false // neither a database nor a mark to go on from
			}
			t.Errorf("%s: start %d: %v", name, start, err)
			return false
		}
		stage(t, s, testEntries(9000, 2))
		h, err := s.Seal(SealParams{Sealed: 1800000000e9, Clock: lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1}})
		switch {
		case errors.Is(err, ErrUnsure):
			if !mayHold {
				t.Errorf("%s: held: %+v", name, s.Info().Restored)
			}
			if r := s.Info().Restored; r == nil || r.Doubt == "" {
				t.Errorf("%s: start %d: held, and nothing beside the database says so", name, start)
			}
			closeStore(t, s)
			if r, err := OpenReader("chain", o); err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				if _, err := r.Verify(t.Context(), nil); err == nil {
					t.Errorf("%s: it is held, and verifies", name)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			if start == 1 {
				return false
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			if before, twice := left[h.Header.Height]; twice {
				t.Errorf("%s: header %d was %v, and is signed again: %v", name, h.Header.Height, before, h.Hash())
			}
		}
		closeStore(t, s)
		return true
	}
	return false
}

func TestADoubtThatIsSettledIsForgotten(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(t, fs)
	s := marked(t, o, 3)
	image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	closeStore(t, s)
	for _, part := range []string{"head-a", "head-b", noteName} {
		losePart(t, image, part)
	}
	var said bytes.Buffer
	o.FS, o.Logger = image, slog.New(slog.NewTextHandler(&said, nil))
	s = openStore(t, o)
	if r := s.Info(); !r.Recovered.Unsure || r.Restored == nil || !strings.Contains(r.Restored.Doubt, "head mark") {
		t.Fatalf("%+v", r)
	}
	if !strings.Contains(said.String(), "head mark") {
		t.Errorf("the log does not say it:\n%s", &said)
	}
	closeStore(t, s)
	s = openStore(t, o)
	if r := s.Info(); r.Recovered.Lost() || r.Restored == nil {
		t.Errorf("told again: %+v", r)
	}
	if err := errors.Join(s.ConfirmHead(), s.ForgetRestored()); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
	closeStore(t, s)
	s = openStore(t, o)
	if r := s.Info(); r.Recovered.Lost() || r.Restored != nil {
		t.Errorf("settled, and told again: %+v", r)
	}
	verify(t, &s.Reader)
	closeStore(t, s)
}

// A note of the version before says nothing of headers, and is read.
func TestANoteOfTheVersionBeforeIsRead(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := marked(t, o, 2)
	chain, next := s.Chain(), s.Next()
	closeStore(t, s)
	put(t, fs, "chain/"+noteName, appendNote(nil, chain, 1, acknowledged{next: next + 3}))
	s = openStore(t, o)
	if r := s.Info().Recovered; len(r.Gaps) != 1 || r.Gaps[0].Count != 3 || r.Unsure {
		t.Errorf("%+v", r)
	}
	stage(t, s, testEntries(9000, 4))
	if n := readNote("chain", s.options, chain); n != (acknowledged{next + 4, s.Tip().Height, 2, true}) {
		t.Errorf("%+v", n)
	}
	closeStore(t, s)
}
