package subscriberstore

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sys/unix"
)

// journal opens a store's, and returns what it holds.
func journal(t *testing.T, s *Store, boot string) (j *Journal, held map[string]string, lost bool) {
	t.Helper()
	held = map[string]string{}
	j, lost = s.OpenJournal(boot, func(key, value []byte) bool {
		held[string(key)] = string(value)
		return true
	})
	return j, held, lost
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// contents reads the journal's file.
func contents(t *testing.T, fs vfs.FS) []byte {
	t.Helper()
	f, err := fs.Open("subscribers/" + journalName)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rewrite(t *testing.T, fs vfs.FS, b []byte) {
	t.Helper()
	// Pebble's file system in memory spoils what it was given, where it looks for races.
	f, err := fs.Create("subscribers/"+journalName, vfs.WriteCategoryUnspecified)
	if err == nil {
		if _, err = f.Write(slices.Clone(b)); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Wherever a program is killed, the journal holds what it held after some change, and all that was said to be written.
func TestAJournalHoldsWhatWasWrittenWhereverItIsCut(t *testing.T) {
	fs := vfs.NewMem()
	s, _ := opened(t, Options{FS: fs})
	j, _, _ := journal(t, s, "boot")
	r := rand.New(rand.NewPCG(1, 2))
	want := map[string]string{}
	states := map[string]bool{fmt.Sprint(want): true}
	sizes := map[int]string{len(contents(t, fs)): fmt.Sprint(want)} // by what was written: the state that was promised
	for i := range 60 {
		key := fmt.Sprint("k", r.IntN(10))
		if r.IntN(2) == 0 {
			value := fmt.Sprint(i)
			done := make(chan struct{})
			j.Set(key, []byte(value), func() { close(done) })
			<-done
			want[key] = value
		} else {
			<-j.Delete(key)
			delete(want, key)
		}
		states[fmt.Sprint(want)] = true
		sizes[len(contents(t, fs))] = fmt.Sprint(want)
	}
	<-j.Written()
	all := contents(t, fs)
	j.Close()
	closeStore(t, s)
	promised := ""
	for n := range len(all) + 1 {
		if state, ok := sizes[n]; ok {
			promised = state
		}
		rewrite(t, fs, all[:n])
		s, _ := opened(t, Options{FS: fs})
		j, held, lost := journal(t, s, "boot")
		switch {
		case promised == "" && len(held) > 0, promised != "" && (lost || fmt.Sprint(held) != promised):
			t.Errorf("cut after %d bytes: %v (lost: %t), want %s", n, held, lost, promised)
		}
		j.Close()
		closeStore(t, s)
	}
}

// Of another boot, or with a byte that is another, it tells nothing that is not so.
func TestAJournalThatDoesNotCountTellsNothing(t *testing.T) {
	fs := vfs.NewMem()
	s, _ := opened(t, Options{FS: fs})
	j, _, _ := journal(t, s, "boot")
	for i := range 20 {
		j.Set(fmt.Sprintf("key of a length %02d", i), []byte("0123456789abcdef"), nil)
	}
	for i := range 19 {
		j.Delete(fmt.Sprintf("key of a length %02d", i))
	}
	j.Close()
	closeStore(t, s)
	all := contents(t, fs)
	for _, boot := range []string{"another", ""} {
		rewrite(t, fs, all)
		s, _ := opened(t, Options{FS: fs})
		j, held, lost := journal(t, s, boot)
		if len(held) > 0 || !lost {
			t.Errorf("of the boot %q it holds %v", boot, held)
		}
		j.Close()
		closeStore(t, s)
		s, _ = opened(t, Options{FS: fs})
		if j, held, _ = journal(t, s, "boot"); len(held) > 0 {
			t.Errorf("after the boot %q it holds %v", boot, held)
		}
		j.Close()
		closeStore(t, s)
	}
	for i := range len(all) - maxRecord { // in the last bytes a length may look as if it was cut off
		changed := append([]byte{}, all...)
		changed[i] ^= 0x10
		rewrite(t, fs, changed)
		s, _ := opened(t, Options{FS: fs})
		j, held, lost := journal(t, s, "boot")
		if len(held) > 0 || !lost {
			t.Errorf("byte %d: it holds %v", i, held)
		}
		j.Close()
		closeStore(t, s)
	}
}

// What stands in a file's place and is none keeps nobody waiting.
func TestAFIFOInTheJournalsPlaceIsNotWaitedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "subscribers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{journalName, journalName + ".new", "notes.new"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(Options{Dir: dir}, &content{})
	if err != nil {
		t.Fatal(err)
	}
	j, held, lost := journal(t, s, "boot")
	if len(held) > 0 || !lost {
		t.Errorf("it holds %v, lost %v", held, lost)
	}
	for i := range 1000 {
		<-j.Delete("b")
		j.Set(fmt.Sprintf("a%d", i), make([]byte, 900), nil)
	}
	<-j.Written()
	j.Close()
	closeStore(t, s)
	if info, err := os.Lstat(filepath.Join(dir, journalName)); err != nil || !info.Mode().IsRegular() {
		t.Errorf("it is %v, %v", info, err)
	}
}

func TestAJournalStaysSmall(t *testing.T) {
	fs := vfs.NewMem()
	s, _ := opened(t, Options{FS: fs})
	j, _, _ := journal(t, s, "boot")
	j.Set("stays", []byte("here"), nil)
	most := 0
	for i := range 40_000 {
		j.Set(fmt.Sprint(i), []byte("0123456789abcdef"), nil)
		done := j.Delete(fmt.Sprint(i))
		if i%1000 == 0 {
			<-done
			most = max(most, len(contents(t, fs)))
		}
	}
	j.Close()
	closeStore(t, s)
	if most > 2*journalLargest {
		t.Errorf("it takes %d bytes", most)
	}
	s, _ = opened(t, Options{FS: fs})
	j, held, _ := journal(t, s, "boot")
	if !maps.Equal(held, map[string]string{"stays": "here"}) {
		t.Errorf("it holds %v", held)
	}
	j.Close()
	closeStore(t, s)
}

// What cannot be written any more is removed before anything follows from a change that is not in it.
func TestAJournalThatCannotBeWrittenIsRemoved(t *testing.T) {
	mem := vfs.NewMem()
	var writes, removes atomic.Bool // fail
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !strings.Contains(op.Path, "subscribers/"+journalName) {
			return nil
		}
		if op.Kind == errorfs.OpFileWrite && writes.Load() || op.Kind == errorfs.OpRemove && removes.Load() {
			return errorfs.ErrInjected
		}
		return nil
	}))
	log := new(strings.Builder)
	s, _ := opened(t, Options{FS: fs, Log: slog.New(slog.NewTextHandler(log, nil))})
	j, _, _ := journal(t, s, "boot")
	set := make(chan struct{})
	j.Set("held", []byte("x"), func() { close(set) })
	<-set
	writes.Store(true)
	removes.Store(true)
	released := j.Delete("held")
	tried := j.Written()
	select {
	case <-released:
		t.Error("it is said to be released, and the file says that it is not")
	default:
	}
	removes.Store(false)
	again := j.Delete("other") // which has it tried again
	<-released
	<-tried
	<-again
	j.Close()
	closeStore(t, s)
	if _, err := mem.Stat("subscribers/" + journalName); err == nil {
		t.Error("the file is there still")
	}
	if !strings.Contains(log.String(), "and does so no more") {
		t.Errorf("not told: %s", log)
	}
}
