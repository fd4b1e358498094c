package store

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestALogWithAnotherNameIsRead(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(t, disk)
	s := marked(t, o, 4)
	tip, next := s.Tip(), s.Next()
	closeStore(t, s)
	names, err := disk.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	log := names[slices.IndexFunc(names, salvage.IsLog)]
	number := salvage.LogName(salvage.LogNumber(log))
	for _, as := range []string{number + ".bak", number[:6], number + "~", "000777.log"} {
		for _, lost := range []string{"", "MANIFEST"} {
			for _, empty := range []bool{false, true} {
				fs := cloneFolder(t, disk)
				if err := fs.Rename("chain/data-1/"+log, "chain/data-1/"+as); err != nil {
					t.Fatal(err)
				}
				if empty {
					put(t, fs, "chain/data-1/"+log, make([]byte, 4096))
				}
				if lost != "" {
					losePart(t, fs, lost)
				}
				o.FS = fs
				s := openStore(t, o)
				r := s.Info().Recovered
				if s.Tip().Hash != tip.Hash || s.Next() != next || r.SetBack != nil || len(r.Gaps) > 0 || s.unsure {
					t.Errorf("%s, without %q: %+v, next %d of %d", as, lost, r, s.Next(), next)
				}
				grow(t, s, 1)
				closeStore(t, s)
			}
		}
	}
	// A copy beside it changes nothing; another chain's log is not read.
	other := vfs.NewMem()
	o.FS, o.Rand = other, &counter{1 << 40}
	closeStore(t, marked(t, o, 9))
	for _, from := range []vfs.FS{disk, other} {
		fs := cloneFolder(t, disk)
		b, err := salvage.ReadFile(from, "chain/data-1/"+log)
		if err != nil {
			t.Fatal(err)
		}
		put(t, fs, "chain/data-1/"+log+".bak", b)
		if from == other {
			remove(t, fs, "chain/data-1/"+log)
		}
		o.FS = fs
		s := openStore(t, o)
		if r := s.Info().Recovered; s.Tip().Hash != tip.Hash || r.Lost() != (from == other) {
			t.Errorf("%+v", r)
		}
		closeStore(t, s)
	}
}

// A log that Pebble uses again holds an older one's groups until it is written: killed then, it is no log that somebody renamed.
func TestALogThatIsUsedAgainWasNotRenamed(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	for range 8 {
		grow(t, s, 1)
		if err := s.db.Flush(); err != nil { // and begins a log
			t.Fatal(err)
		}
	}
	// At one moment: file by file the copy would lack what a compaction replaces meanwhile.
	image, tip := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), s.Tip()
	closeStore(t, s)
	names, err := image.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	newest := slices.MaxFunc(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !salvage.IsLog(name) }), strings.Compare)
	b, err := salvage.ReadFile(image, "chain/data-1/"+newest)
	if err != nil || len(bytes.Trim(b, "\x00")) == 0 {
		t.Fatalf("%s holds nothing of an older log: %v", newest, err)
	}
	var said bytes.Buffer
	o.FS, o.Logger = image, slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s = openStore(t, o)
	defer closeStore(t, s)
	if r := s.Info().Recovered; s.Tip().Hash != tip.Hash || r.Lost() || strings.Contains(said.String(), "another name") {
		t.Errorf("%+v\n%s", r, said.String())
	}
}
