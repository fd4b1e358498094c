package aggregator_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// promised is a store in a folder that does not run, with what was countersigned in it.
type promised struct {
	dir    string
	chains []*chain // countersigned up to their ends
	forked *chain   // of which two histories were seen
}

const storeName = "store"

func newPromised(t *testing.T) *promised {
	t.Helper()
	p := &promised{dir: t.TempDir()}
	for run := range 4 {
		s := openDamaged(t, p.dir, nil)
		l := registry.NewLedger(s, time.Now, nil)
		for i := range 3 {
			if run == 0 {
				p.chains = append(p.chains, newChain(t, fmt.Sprint("gateway-", i)))
				approved(t, s, p.chains[i].id())
			}
			c := p.chains[i]
			if run == 3 && i == 0 {
				continue // its newest receipt stands in older files
			}
			for range 3 {
				p.countersign(t, l, c, uint64(1000*run))
			}
		}
		if run == 2 {
			p.forked = newChain(t, "forked")
			approved(t, s, p.forked.id())
			p.countersign(t, l, p.forked, 1000)
			other := &headersync.Pulled{Head: 2, Other: []*lightchain.SignedHeader{forgedAt(t, p.forked, 2)}}
			if v, err := take(l, p.forked.id(), other, true); err != nil || v != collector.Split {
				t.Fatalf("%v, %v", v, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *promised) countersign(t *testing.T, l collector.Store, c *chain, seconds uint64) {
	t.Helper()
	from := uint64(len(c.headers))
	c.sealMany(2)
	page := &headersync.Pulled{Head: from + 1, Run: c.run(from, from+1)}
	if from == 1 {
		page.Genesis = c.headers[0]
	}
	if v, err := take(l, c.id(), page, true); err != nil || v != collector.Extended {
		t.Fatalf("%v, %v", v, err)
	}
	if err := countersign(l, c.id(), chainTime+seconds+from); err != nil {
		t.Fatal(err)
	}
}

func openDamaged(t *testing.T, dir string, log *slog.Logger) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(filepath.Join(dir, storeName), pebblestore.Options{Cache: 1 << 20, Logger: log,
		Fatal: func(err error) { t.Log("the store failed:", err) }})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s
}

// A wound is what a disk does to one file.
type wound struct {
	name string
	hurt func(path string) error
}

func wounds(size int) (all []wound) {
	change := func(name string, f func(b []byte) []byte) {
		all = append(all, wound{name, func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, f(b), 0o600)
		}})
	}
	all = append(all, wound{"deleted", os.Remove},
		wound{"replaced by a folder", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }})
	if size == 0 {
		return all
	}
	change("emptied", func([]byte) []byte { return nil })
	for _, part := range []int{1, 2, 3} {
		change(fmt.Sprintf("cut to %d of 4 parts", part), func(b []byte) []byte { return b[:len(b)*part/4] })
	}
	change("cut by a byte", func(b []byte) []byte { return b[:len(b)-1] })
	// What a log has behind its end is zeros, in which nothing can rot.
	const page = 4096
	for at := 0; at < size; at += max(page, size/6/page*page) {
		change(fmt.Sprintf("its page at %d zeroed", at), func(b []byte) []byte {
			clear(b[at:min(len(b), at+page)])
			return b
		})
	}
	for at := 7; at < size; at += max(1, size/9) {
		change(fmt.Sprintf("a bit of byte %d turned", at), func(b []byte) []byte {
			b[at] ^= 1 << (at % 8)
			return b
		})
	}
	return all
}

// Whatever a disk does to one file, the aggregator starts by itself, knows what it has countersigned, goes on from there, and
// countersigns no other history of it. What it had lost it tells.
func TestNothingCountersignedIsForgottenWithAFile(t *testing.T) {
	p := newPromised(t)
	var files []string
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "LOCK" {
			name, _ := filepath.Rel(p.dir, path)
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, file := range files {
		kinds[strings.TrimRight(strings.TrimLeft(filepath.Base(file), "0123456789"), "0123456789")] = true
		b, err := os.ReadFile(filepath.Join(p.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wounds(len(bytes.TrimRight(b, "\x00"))) {
			t.Run(file+" "+w.name, func(t *testing.T) {
				p.judge(t, func(dir string) error { return w.hurt(filepath.Join(dir, file)) })
			})
		}
	}
	for _, kind := range []string{".log", ".sst", "MANIFEST-", "store.countersigned"} {
		if !kinds[kind] {
			t.Errorf("no file %q was damaged, of %v", kind, files)
		}
	}
	for _, w := range []wound{{"deleted", os.RemoveAll}, {"emptied", func(path string) error { return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)) }}} {
		t.Run("the folder "+w.name, func(t *testing.T) {
			p.judge(t, func(dir string) error { return w.hurt(filepath.Join(dir, storeName)) })
		})
	}
}

func (p *promised) judge(t *testing.T, hurt func(dir string) error) {
	dir := t.TempDir()
	if err := errors.Join(os.CopyFS(dir, os.DirFS(p.dir)), hurt(dir)); err != nil {
		t.Fatal(err)
	}
	log := &testenv.Log{}
	s := openDamaged(t, dir, log.Logger())
	for starts := 0; ; starts++ { // damage that is met only when it is read ends the program, as the next start mends it
		_, err := s.Documents(t.Context(), "identity")
		if err == nil {
			err = registry.EachRecord(t.Context(), s, func(r *registry.Record) error {
				_, segments := s.Segments(t.Context(), r.Chain, 0, 1000)
				_, receipts := s.Receipts(t.Context(), r.Chain, 0, 1000)
				_, forks := s.Forks(t.Context(), r.Chain)
				return errors.Join(segments, receipts, forks)
			})
		}
		if err == nil {
			break
		}
		if starts > 1 {
			t.Fatalf("started %d times: %v", starts, err)
		}
		_ = s.Close()
		s = openDamaged(t, dir, log.Logger())
	}
	defer s.Close()
	l := registry.NewLedger(s, time.Now, nil)
	setBack := 0
	for _, c := range p.chains {
		r, err := s.Record(t.Context(), c.id())
		if err != nil {
			t.Errorf("%s: %v\n%s", c.id(), err, log)
			continue
		}
		if head := r.State.Head; r.Standing != registry.Approved || head == nil || head.Head.Hash() != c.head().Hash() || r.State.Receipt == nil || r.Receipt.Height != head.Height() {
			t.Errorf("%s stands at %+v, %s\n%s", c.id(), r.Head, r.Standing, log)
			continue
		}
		if r.Findings[registry.SetBack] != nil {
			setBack++
		}
		height := c.head().Header.Height
		if receipts, err := s.Receipts(t.Context(), c.id(), height, 1); err != nil || len(receipts) != 1 {
			t.Errorf("%s: receipts %v, %v", c.id(), receipts, err)
		}
		// The header that was countersigned last, signed anew with other content: no verdict lets it be countersigned.
		forged, other := forgedAt(t, c, height), new(lightchain.Run)
		other.First = height
		other.Add(&forged.Header, &forged.HeaderSignature)
		state := *r.State
		if v, _ := collector.Judge(&state, &headersync.Pulled{Head: height, Run: other}, true, nil, func(collector.Held) error { return nil }); v == collector.Extended {
			t.Errorf("%s: another history is taken", c.id())
		}
		// The headers that were lost are a backlog, and then the chain goes on.
		if held := r.State.Every; held == nil || held.Height() < height {
			page, from := &headersync.Pulled{Head: height}, uint64(1)
			if held != nil {
				from = held.Height() + 1
			}
			page.Run = c.run(from, height)
			if v, err := take(l, c.id(), page, true); err != nil || v != collector.Extended {
				t.Errorf("%s: the backlog from %d on: %v, %v", c.id(), from, v, err)
				continue
			}
		}
		honest := c.copy()
		honest.tip = c.tip.Clone()
		p.countersign(t, l, honest, 1_000_000)
	}
	if r, err := s.Record(t.Context(), p.forked.id()); err != nil || r.State.Fork == nil {
		t.Errorf("the evidence is forgotten: %v, %v", r, err)
	} else if r.Findings[registry.SetBack] != nil {
		setBack++
	}
	told := s.Opened().SetBack
	if lines := strings.Count(log.String(), "the store was set back"); (setBack > 0) != (lines > 0) || setBack > 0 && told == 0 && !strings.Contains(log.String(), "is rebuilt") {
		t.Errorf("%d chains were set back, told %d and in %d lines:\n%s", setBack, told, lines, log)
	}
}

// forgedAt is another header at a height, as the gateway's key could have signed it.
func forgedAt(t *testing.T, c *chain, height uint64) *lightchain.SignedHeader {
	t.Helper()
	h := c.headers[height].Header
	h.Count += 7
	signed, err := h.Sign(c.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
