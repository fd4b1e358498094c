package store

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// copied writes what stands in a file of one file system into a file of another, or of the same.
func copied(t *testing.T, from vfs.FS, path string, to vfs.FS, copy string) {
	t.Helper()
	b, err := salvage.ReadFile(from, path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, to, copy, b)
}

// namesOf returns the names of a folder's files of a kind.
func namesOf(t *testing.T, fs vfs.FS, dir string, is func(name string) bool) (names []string) {
	t.Helper()
	all, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if is(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatalf("%s has only %q", dir, all)
	}
	return names
}

// What stands beside a chain's database under a higher number, and is none of it or less than it, hides nothing.
func TestADatabaseThatHoldsLessHidesNone(t *testing.T) {
	for name, others := range map[string]func(t *testing.T, fs vfs.FS, old vfs.FS){
		"zeros": func(t *testing.T, fs, _ vfs.FS) { overwrite(t, fs, "chain/data-2/000001.log", make([]byte, 1<<16)) },
		"one table": func(t *testing.T, fs, _ vfs.FS) {
			name := namesOf(t, fs, "chain/data-1", salvage.IsTable)[0]
			copied(t, fs, "chain/data-1/"+name, fs, "chain/data-2/"+name)
		},
		"an older copy": func(t *testing.T, fs, old vfs.FS) {
			names, err := old.List("chain/data-1")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if _, err := old.Stat("chain/data-1/" + name); err == nil {
					copied(t, old, "chain/data-1/"+name, fs, "chain/data-2/"+name)
				}
			}
		},
		"a copy without its log": func(t *testing.T, fs, _ vfs.FS) {
			for _, name := range namesOf(t, fs, "chain/data-1", func(name string) bool { return !salvage.IsLog(name) }) {
				copied(t, fs, "chain/data-1/"+name, fs, "chain/data-2/"+name)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			o := testOptions(t, mem)
			s := newStore(t, o)
			grow(t, s, 4)
			closeStore(t, s)
			s = openStore(t, o) // has tables
			old := mem.CrashClone(vfs.CrashCloneCfg{})
			grow(t, s, 4)
			stage(t, s, testEntries(1000, 3))
			tip, next := s.Tip(), s.Next()
			closeStore(t, s)
			if err := mem.MkdirAll("chain/data-2", 0o700); err != nil {
				t.Fatal(err)
			}
			others(t, mem, old)
			s = openStore(t, o)
			defer closeStore(t, s)
			if got := s.Tip(); got.Hash != tip.Hash || s.Next() != next {
				t.Fatalf("height %d and next entry %d, were %d and %d", got.Height, s.Next(), tip.Height, next)
			}
			if r := s.Info().Recovered; r.SetBack != nil || len(r.Gaps) > 0 || r.Mark != "" || r.Rebuilt != "" {
				t.Errorf("told as lost: %+v", r)
			}
			if _, err := s.Seal(SealParams{Sealed: 1}); err != nil {
				t.Error(err)
			}
			for _, err := range s.Entries(0, 1<<60) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A database that a rebuild has left behind is not gone back to, whatever becomes of the newer one.
func TestNobodyGoesBackToARebuiltDatabase(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := newStore(t, o)
	grow(t, s, 4)
	closeStore(t, s)
	for _, name := range namesOf(t, fs, "chain/data-1", salvage.IsMarker) {
		remove(t, fs, "chain/data-1/"+name)
	}
	s = openStore(t, o)
	if s.Info().Recovered.Rebuilt == "" {
		t.Fatal("it was not rebuilt")
	}
	grow(t, s, 4)
	tip := s.Tip()
	closeStore(t, s)
	for _, name := range namesOf(t, fs, "chain/data-2", func(string) bool { return true }) {
		overwrite(t, fs, "chain/data-2/"+name, nil)
	}
	overwrite(t, fs, "chain/data-2/000001.log", []byte("something"))
	s = openStore(t, o)
	defer closeStore(t, s)
	if got := s.Tip(); got.Hash != tip.Hash {
		t.Errorf("height %d, was %d", got.Height, tip.Height)
	}
}

// Without database and mark a chain is still known by the file of its keys: it is recorded on, and not sealed.
func TestAChainOfWhichTheKeysAloneAreLeft(t *testing.T) {
	for _, left := range [][]string{{keysName}, {keysName, noteName}, {keysName, noteName, "data-1/log"}, {keysName, "data-1/log"}} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			fs := vfs.NewMem()
			o := testOptions(t, fs)
			s := newStore(t, o)
			grow(t, s, 4)
			closeStore(t, s)
			s = openStore(t, o)
			grow(t, s, 4)
			chain := s.Chain()
			closeStore(t, s)
			rest := vfs.NewMem()
			if err := rest.MkdirAll("chain/data-1", 0o700); err != nil {
				t.Fatal(err)
			}
			for _, name := range left {
				if name != "data-1/log" {
					copied(t, fs, "chain/"+name, rest, "chain/"+name)
					continue
				}
				for _, name := range namesOf(t, fs, "chain/data-1", salvage.IsLog) {
					copied(t, fs, "chain/data-1/"+name, rest, "chain/data-1/"+name)
				}
			}
			o = testOptions(t, rest)
			if _, err := OpenReader("chain", o); !errors.Is(err, ErrDamaged) {
				t.Errorf("a reader says: %v", err)
			}
			if _, err := Create("chain", o, Genesis{}); !errors.Is(err, ErrExists) {
				t.Errorf("another chain begins there: %v", err)
			}
			s, err := Open("chain", o)
			if err != nil {
				t.Fatal(err)
			}
			defer closeStore(t, s)
			if s.Chain() != chain {
				t.Errorf("chain %s, was %s", s.Chain(), chain)
			}
			stage(t, s, testEntries(1000, 3))
			if _, err := s.Seal(SealParams{Sealed: 1}); !errors.Is(err, ErrUnsure) {
				t.Errorf("sealed on a guess: %v", err)
			}
		})
	}
}

// Where nothing says which chain it was, that is damage, and not a chain that is not there.
func TestADatabaseWithoutItsBeginning(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := newStore(t, o)
	grow(t, s, 4)
	closeStore(t, s)
	s = openStore(t, o)
	grow(t, s, 2)
	closeStore(t, s)
	remove(t, fs, "chain/"+slotNames[0], "chain/"+slotNames[1], "chain/"+keysName)
	for _, name := range namesOf(t, fs, "chain/data-1", salvage.IsTable) {
		remove(t, fs, "chain/data-1/"+name)
	}
	if _, err := Open("chain", o); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoChain) || errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
