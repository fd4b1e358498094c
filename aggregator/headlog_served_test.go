package aggregator_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/build/testenv/tlogclient"
	"edgechain.example/lightchain"
)

// A third level of tiles begins at 65,536 leaves; Go's own tree has the same root there and behind.
func TestALogOfThreeLevelsOfTiles(t *testing.T) {
	s := openPebble(t)
	l, _ := newLog(t, s, t.TempDir())
	mustTurn(t, l)
	var leaves []lightchain.Hash
	var tree lightchain.CompactRange
	header := headAt(t, "gateway", 1)
	head := l.Standing().Head
	for size := range 65536 - 100 { // in one transaction, as no turn makes them
		leaf := header
		leaf.Chain[0], leaf.Chain[1] = byte(size), byte(size>>8)
		leaves = append(leaves, leaf.Hash())
	}
	b := &headlog.Batch{}
	for i, h := range leaves {
		leaf := header
		leaf.Chain[0], leaf.Chain[1] = byte(i), byte(i>>8)
		b.Leaves = append(b.Leaves, leaf)
		tree.Append(h, func(level int, index uint64, h lightchain.Hash) {
			if level > 0 && level%8 == 0 {
				b.Nodes = append(b.Nodes, headlog.Node{Level: level / 8, Index: index, Hash: h})
			}
		})
	}
	c := headlog.Checkpoint{Origin: testOrigin, Size: tree.Size(), Root: tree.Root()}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, logKey(t, testOrigin))
	if err != nil {
		t.Fatal(err)
	}
	b.Head = headlog.Head{Size: tree.Size(), Edge: tree.Edge(), Checkpoint: signed}
	if err := s.LogAppend(t.Context(), testOrigin, head, b); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(l.Handler(false))
	defer server.Close()
	var earlier tlog.Tree
	for height, more := range []int{0, 99, 1, 1, 300} {
		for i := range more {
			wait(t, s, headAt(t, fmt.Sprint("one more ", i), uint64(height)))
		}
		order, err := s.LogWaiting(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range order {
			leaves = append(leaves, order[i].Hash())
		}
		mustTurn(t, l)
		f := tlogclient.Read(t, server.URL, l.Key.String())
		f.Check(leaves, earlier)
		earlier = f.Tree
	}
	mustCheck(t, l)
}

// What the newest checkpoint does not cover, what is no tile and what is not to be shown is answered with a sentence.
func TestALogServesWhatItsCheckpointCovers(t *testing.T) {
	s := openPebble(t)
	l, _ := newLog(t, s, t.TempDir())
	for i := range 258 {
		wait(t, s, headAt(t, fmt.Sprint("gateway ", i), 1))
	}
	mustTurn(t, l)
	wait(t, s, headAt(t, "gateway", 2))
	for entries, paths := range map[bool]map[string]int{
		false: {"/tile/0/000": 8192, "/tile/0/001.p/2": 64, "/tile/0/001.p/1": 32, "/tile/0/000.p/7": 224, "/tile/1/000.p/1": 32,
			"/tile/0/001": -404, "/tile/0/001.p/3": -404, "/tile/0/002.p/1": -404, "/tile/1/000": -404, "/tile/1/000.p/2": -404, "/tile/2/000.p/1": -404,
			"/tile/entries/000": -404, "/tile/0/1": -404, "/": -404, "/tile/": -404, "/log/v3": -404},
		true: {"/tile/entries/001.p/3": -404, "/tile/entries/x000/000": -404},
	} {
		server := httptest.NewServer(l.Handler(entries))
		for path, want := range paths {
			answer, err := http.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			switch {
			case want > 0 && (answer.StatusCode != 200 || len(body) != want):
				t.Errorf("%s: %s, %d bytes, want %d", path, answer.Status, len(body), want)
			case want < 0 && (answer.StatusCode != -want || len(body) < 30 || answer.Header.Get("Cache-Control") != "no-cache"):
				t.Errorf("%s: %s %q, want %d with a sentence", path, answer.Status, body, -want)
			}
		}
		if entries {
			f := tlogclient.Read(t, server.URL, l.Key.String())
			bundle := f.Get("/tile/entries/001.p/2", "application/octet-stream", "public, max-age=31536000, immutable")
			hashes := f.Get("/tile/0/001.p/2", "application/octet-stream", "public, max-age=31536000, immutable")
			for len(bundle) > 2 {
				n := int(bundle[0])<<8 | int(bundle[1])
				if leaf := lightchain.LeafHash(bundle[2 : 2+n]); !bytes.Equal(leaf[:], hashes[:32]) {
					t.Errorf("an entry hashes to %s", leaf)
				}
				bundle, hashes = bundle[2+n:], hashes[32:]
			}
			if len(bundle)+len(hashes) > 0 {
				t.Errorf("%d bytes of entries and %d of hashes are left", len(bundle), len(hashes))
			}
		}
		server.Close()
	}
}

// What is exported is what is served; a folder is taken up where it was left, and refused where it is of another history.
func TestAnExportedLogIsServedByAnyServer(t *testing.T) {
	s, dir := openPebble(t), filepath.Join(t.TempDir(), "public")
	l, _ := newLog(t, s, t.TempDir())
	fetch := func(of *headlog.Log, entries bool) headlog.Fetch {
		server := httptest.NewServer(of.Handler(entries))
		t.Cleanup(server.Close)
		return headlog.From(server.Client(), server.URL)
	}
	files := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer files.Close()
	var kept []byte
	for round, more := range []int{0, 7, 300, 0} {
		for i := range more {
			wait(t, s, headAt(t, fmt.Sprint("gateway ", i), uint64(round)))
		}
		mustTurn(t, l)
		newest, written, err := headlog.Export(t.Context(), fetch(l, round == 3), l.Key, headlog.Folder{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if want := []int{1, 2, 4, 3}[round]; written != want {
			t.Errorf("round %d: %d files are written, want %d", round, written, want)
		}
		again, signed, err := headlog.CheckServed(t.Context(), headlog.From(files.Client(), files.URL), l.Key, kept, true)
		if err != nil || *again != *newest {
			t.Fatalf("round %d: %+v, %v", round, again, err)
		}
		kept = signed
	}
	other, _ := newLog(t, openPebble(t), t.TempDir())
	mustTurn(t, other)
	if _, _, err := headlog.Export(t.Context(), fetch(other, false), l.Key, headlog.Folder{Dir: dir}); !errors.Is(err, headlog.ErrInvalid) {
		t.Errorf("a shorter log goes into the folder: %v", err)
	}
	if _, _, err := headlog.CheckServed(t.Context(), fetch(other, false), l.Key, kept, true); !errors.Is(err, headlog.ErrInvalid) {
		t.Errorf("a shorter log verifies: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, "tile/0/000"), 8160); err != nil {
		t.Fatal(err)
	}
	if _, _, err := headlog.CheckServed(t.Context(), headlog.From(files.Client(), files.URL), l.Key, kept, true); !errors.Is(err, headlog.ErrInvalid) {
		t.Errorf("with a tile cut short: %v", err)
	}
	// What a power cut left empty or short comes anew.
	if err := os.Truncate(filepath.Join(dir, "tile/entries/000"), 0); err != nil {
		t.Fatal(err)
	}
	if _, written, err := headlog.Export(t.Context(), fetch(l, true), l.Key, headlog.Folder{Dir: dir}); err != nil || written != 3 {
		t.Errorf("%d files are written, %v; want both and the checkpoint", written, err)
	}
	if _, _, err := headlog.CheckServed(t.Context(), headlog.From(files.Client(), files.URL), l.Key, kept, true); err != nil {
		t.Error(err)
	}
}
