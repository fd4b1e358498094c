// Package tlogclient reads a transparency log that is served as tiles with Go's own client of such logs, golang.org/x/mod/sumdb.
// Of our code it has nothing but the type of a hash.
package tlogclient

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"edgechain.example/lightchain"
)

// Client is what Go's client reads of a log at one checkpoint.
type Client struct {
	t    testing.TB
	url  string
	Tree tlog.Tree // that the checkpoint says
}

var _ tlog.TileReader = (*Client)(nil)

// Read fetches the newest checkpoint of the log at url, which that key must have signed.
func Read(t testing.TB, url, key string) *Client {
	t.Helper()
	f := &Client{t: t, url: url}
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(f.Get("/checkpoint", "text/plain; charset=utf-8", "no-cache"), note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != v.Name() {
		t.Fatalf("the checkpoint says %q", n.Text)
	}
	_, errSize := fmt.Sscan(lines[1], &f.Tree.N)
	root, errRoot := tlog.ParseHash(lines[2])
	if err := errors.Join(errSize, errRoot); err != nil {
		t.Fatal(err)
	}
	f.Tree.Hash = root
	return f
}

// Get fetches a file, which must be of that kind, and to be cached like that.
func (f *Client) Get(path, kind, cache string) []byte {
	f.t.Helper()
	answer, err := http.Get(f.url + path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if h := answer.Header; err != nil || answer.StatusCode != 200 || h.Get("Content-Type") != kind || h.Get("Cache-Control") != cache {
		f.t.Fatalf("%s: %s %v %q, %v", path, answer.Status, h, body, err)
	}
	return body
}

// Height implements [tlog.TileReader].
func (f *Client) Height() int { return 8 }

// SaveTiles implements [tlog.TileReader].
func (f *Client) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles implements [tlog.TileReader].
func (f *Client) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		path := "/tile/" + strings.TrimPrefix(t.Path(), "tile/8/")
		data = append(data, f.Get(path, "application/octet-stream", "public, max-age=31536000, immutable"))
	}
	return data, nil
}

// Check has Go's client prove that each of the leaves is in the tree, and that the tree begins with an earlier one.
func (f *Client) Check(leaves []lightchain.Hash, earlier tlog.Tree) {
	f.t.Helper()
	if int64(len(leaves)) != f.Tree.N {
		f.t.Fatalf("the checkpoint says %d leaves, want %d", f.Tree.N, len(leaves))
	}
	if f.Tree.N == 0 {
		return
	}
	hashes := tlog.TileHashReader(f.Tree, f)
	root, err := tlog.TreeHash(f.Tree.N, hashes)
	if err != nil || root != f.Tree.Hash {
		f.t.Fatalf("the tiles of %d leaves make %v, %v; the checkpoint says %v", f.Tree.N, root, err, f.Tree.Hash)
	}
	for _, i := range []int64{0, f.Tree.N / 3, f.Tree.N - 1} {
		p, err := tlog.ProveRecord(f.Tree.N, i, hashes)
		if err == nil {
			err = tlog.CheckRecord(p, f.Tree.N, f.Tree.Hash, i, tlog.Hash(leaves[i]))
		}
		if err != nil {
			f.t.Fatalf("leaf %d of %d: %v", i, f.Tree.N, err)
		}
	}
	if earlier.N > 0 {
		p, err := tlog.ProveTree(f.Tree.N, earlier.N, hashes)
		if err == nil {
			err = tlog.CheckTree(p, f.Tree.N, f.Tree.Hash, earlier.N, earlier.Hash)
		}
		if err != nil {
			f.t.Fatalf("%d leaves after %d: %v", f.Tree.N, earlier.N, err)
		}
	}
}
