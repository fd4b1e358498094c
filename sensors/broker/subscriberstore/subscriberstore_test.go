package subscriberstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sys/unix"

	"edgechain.example/build/testenv"
)

// content is what a database holds.
type content struct {
	pairs  map[string]string
	notes  []string
	resets int
}

func (c *content) Load(key, value []byte) error {
	if string(value) == "nonsense" {
		return errors.New("it means nothing")
	}
	c.pairs[string(key)] = string(value)
	return nil
}
func (c *content) Note(value []byte) { c.notes = append(c.notes, string(value)) }
func (c *content) Reset()            { c.pairs, c.notes, c.resets = map[string]string{}, nil, c.resets+1 }

func opened(t *testing.T, o Options) (*Store, *content) {
	t.Helper()
	c := &content{pairs: map[string]string{}}
	o.Dir = "subscribers"
	s, err := Open(o, c)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// At whatever moment the power fails, there is what was set up to some moment, whole, and what says up to which.
func TestACrashLeavesWhatWasSetUpToSomeMoment(t *testing.T) {
	const changes = 60
	r := rand.New(rand.NewPCG(1, 1))
	disk := vfs.NewCrashableMem()
	var done atomic.Uint64
	o := Options{FS: disk, Every: time.Microsecond, Tail: func() (string, []byte) {
		return "tail", binary.AppendUvarint(nil, done.Load())
	}}
	s, _ := opened(t, o)
	var left []*vfs.MemFS
	for i := range uint64(changes) {
		s.Begin()
		s.Set(fmt.Sprint("a", i), Bytes("a"), true)
		if i > 0 {
			s.Delete(fmt.Sprint("a", i-1))
		}
		s.Set(fmt.Sprint("b", i), Bytes(strings.Repeat("b", 1000)), true)
		done.Store(i + 1)
		s.End()
		left = append(left, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[i%3], RNG: r}))
		if i%7 == 0 {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, fs := range left {
		o.FS = fs
		s, c := opened(t, o)
		n := uint64(0)
		if tail, ok := c.pairs["tail"]; ok {
			n, _ = binary.Uvarint([]byte(tail))
		}
		want := map[string]bool{}
		for i := range n {
			want[fmt.Sprint("b", i)] = true
		}
		if n > 0 {
			want["tail"], want[fmt.Sprint("a", n-1)] = true, true
		}
		flushed := uint64(0) // every seventh was waited for, after the disk was looked at
		if i > 0 {
			flushed = uint64((i-1)/7*7) + 1
		}
		if n < flushed || len(c.pairs) != len(want) || c.resets > 0 {
			t.Errorf("after change %d there are %d pairs up to change %d, want %d", i, len(c.pairs), n, len(want))
		}
		for key := range c.pairs {
			if !want[key] {
				t.Errorf("after change %d, %q is there, though only %d are", i, key, n)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsSetAndDeletedInBetweenIsNeverWritten(t *testing.T) {
	s, _ := opened(t, Options{FS: vfs.NewMem(), Every: time.Hour})
	defer s.Close()
	before := s.Stats()
	for i := range 100 {
		key := fmt.Sprint(i)
		s.Set(key, Bytes("x"), true)
		s.Set(key, Bytes("y"), false)
		s.Delete(key)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := s.Stats(); after.Written != before.Written || after.Syncs != before.Syncs {
		t.Errorf("it cost %+v", after)
	}
}

func TestWithoutRoomNothingIsWrittenAndNothingLost(t *testing.T) {
	fs := vfs.NewMem()
	var room atomic.Bool
	s, _ := opened(t, Options{FS: fs, Every: time.Millisecond, Room: room.Load})
	s.Set("k", Bytes("v"), true)
	testenv.Await(t, "the store to wait", func() bool { return s.Stats().Waiting })
	if err := s.Flush(t.Context()); !errors.Is(err, ErrNoRoom) {
		t.Errorf("flushing: %v", err)
	}
	if n := s.Stats().Syncs; n != 0 {
		t.Errorf("%d writes", n)
	}
	room.Store(true)
	testenv.Await(t, "the store to write", func() bool { return s.Stats().Syncs == 1 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, c := opened(t, Options{FS: fs})
	defer s.Close()
	if c.pairs["k"] != "v" {
		t.Errorf("there is %q", c.pairs)
	}
}

func TestNotesAreThereUntilTheirMessagesAre(t *testing.T) {
	fs := vfs.NewMem()
	s, _ := opened(t, Options{FS: fs, Every: time.Hour})
	s.Note([]byte("one"))
	s.DropNote(s.Note([]byte("two"))) // what is set is not on disk yet
	testenv.Await(t, "the notes", func() bool { return len(s.Unwritten()) == 0 })
	if _, c := opened(t, Options{FS: copyOf(t, fs)}); fmt.Sprint(c.notes) != "[one two]" {
		t.Errorf("notes are %q", c.notes)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Written anew, the file has those that count.
	large := strings.Repeat("x", notesLargest)
	for range 3 {
		id := s.Note([]byte(large))
		testenv.Await(t, "the note", func() bool { return len(s.Unwritten()) == 0 })
		s.DropNote(id)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.Note([]byte("three"))
	testenv.Await(t, "the note", func() bool { return len(s.Unwritten()) == 0 })
	if _, c := opened(t, Options{FS: copyOf(t, fs)}); fmt.Sprint(c.notes) != "[one three]" {
		t.Errorf("%d notes", len(c.notes))
	}
	// A torn end is the end.
	torn := copyOf(t, fs)
	f, err := torn.Open("subscribers/notes")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(b) {
		w, err := torn.Create("subscribers/notes", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(append([]byte(nil), b[:n]...)); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		s, c := opened(t, Options{FS: torn})
		if want := map[bool]string{false: "[]", true: "[one]"}[n >= noteHead+3]; fmt.Sprint(c.notes) != want {
			t.Errorf("of %d bytes: %q", n, c.notes)
		}
		_ = s.Close()
	}
}

// copyOf is the disk as a program that was killed leaves it.
func copyOf(t *testing.T, fs *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	if err := to.MkdirAll("subscribers", 0o750); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("subscribers")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := vfs.CopyAcrossFS(fs, "subscribers/"+name, to, "subscribers/"+name); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestWhatMeansNothingIsPutAsideAndOneIsKept(t *testing.T) {
	fs := vfs.NewMem()
	for range 2 {
		s, _ := opened(t, Options{FS: fs})
		s.Set("k", Bytes("nonsense"), true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, c := opened(t, Options{FS: fs})
		if c.resets != 1 || len(c.pairs) != 0 || s.Aside != "subscribers"+asideSuffix {
			t.Errorf("it is not put aside: %+v, %q", c, s.Aside)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := fs.List(""); err != nil || len(names) != 3 {
		t.Errorf("there are %q, %v", names, err)
	}
}

// A disk that fails costs what is kept. Nobody waits for it.
func TestADiskThatFailsHasNobodyWait(t *testing.T) {
	var failing atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if failing.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errorfs.ErrInjected
		}
		return nil
	}))
	s, _ := opened(t, Options{FS: fs, Every: time.Millisecond})
	failing.Store(true)
	s.Set("k", Bytes("v"), true)
	if err := s.Flush(t.Context()); err == nil || s.Err() == nil {
		t.Errorf("flushing: %v", err)
	}
	s.Set("k", Bytes("w"), true)
	s.Delete("k")
	s.Note([]byte("n"))
	if err := s.Flush(t.Context()); err == nil {
		t.Error("it is flushed")
	}
	if err := s.Close(); err == nil {
		t.Error("it is closed as if nothing were")
	}
}

// Whatever the file of the notes has become, what is read of it is what was written, and costs no more.
func TestWhatIsNoNoteEndsThem(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(path string) error
		want string
		anew bool
	}{
		{"zeros", func(path string) error { return os.Truncate(path, 1<<40) }, "[one]", false},
		{"a folder", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o750)) }, "[]", true},
		{"a FIFO", func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }, "[]", true},
		{"gone", os.Remove, "[]", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Dir: filepath.Join(t.TempDir(), "subscribers"), Every: time.Hour}
			s, err := Open(o, new(content))
			if err != nil {
				t.Fatal(err)
			}
			s.Note([]byte("one"))
			testenv.Await(t, "the note", func() bool { return len(s.Unwritten()) == 0 })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.fill(filepath.Join(o.Dir, "notes")); err != nil {
				t.Fatal(err)
			}
			found := &content{pairs: map[string]string{}}
			if s, err = Open(o, found); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(found.notes) != c.want || (s.Aside != "") != c.anew {
				t.Errorf("notes %q, aside %q", found.notes, s.Aside)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What only waits for the next write has a bound, however far away that is.
func TestNotesThatMeanNothingAnyMoreAreNotHeldForLong(t *testing.T) {
	s, _ := opened(t, Options{FS: vfs.NewMem(), Every: time.Hour})
	defer s.Close()
	large := strings.Repeat("x", mostIdle/8)
	for range 100 {
		s.DropNote(s.Note([]byte(large)))
		testenv.Await(t, "the notes to be forgotten", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.notes.bytes <= 2*mostIdle
		})
	}
}

func TestADatabaseThatIsRemovedIsTold(t *testing.T) {
	var log strings.Builder
	o := Options{Dir: filepath.Join(t.TempDir(), "subscribers"), Every: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil))}
	open := func() *Store {
		t.Helper()
		log.Reset()
		s, err := Open(o, &content{pairs: map[string]string{}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// The first one there is, and then as it was.
	for range 2 {
		s := open()
		if s.Gone || log.Len() > 0 {
			t.Errorf("gone: %v; %s", s.Gone, log.String())
		}
		s.Set("k", Bytes("v"), true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Removed between two runs.
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	s := open()
	if !s.Gone || !strings.Contains(log.String(), "was removed") {
		t.Errorf("gone: %v; %s", s.Gone, log.String())
	}
	// Removed while it is open.
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	s.Set("k", Bytes("w"), false)
	if err := s.Flush(t.Context()); err == nil || !strings.Contains(log.String(), "its folder was removed") {
		t.Errorf("flushed: %v; %s", err, log.String())
	}
	if err := s.Close(); err == nil {
		t.Error("it is closed as if nothing were")
	}
	if o.FS = vfs.Default; !isGone(o) {
		t.Error("it will not be told at the next start")
	}
	// Whoever wants it removed is told nothing.
	if err := Remove(o); err != nil {
		t.Fatal(err)
	}
	if isGone(o) {
		t.Error("what was removed in order is missed")
	}
}

func TestWhatHasNoRoomAtTheEndIsTold(t *testing.T) {
	var log strings.Builder
	s, _ := opened(t, Options{FS: vfs.NewMem(), Every: time.Hour, Room: func() bool { return false }, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s.Set("k", Bytes("v"), true)
	if err := s.Close(); err != nil || !strings.Contains(log.String(), "changes=1") {
		t.Errorf("%v; %s", err, log.String())
	}
}
