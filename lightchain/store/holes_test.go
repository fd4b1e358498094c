package store

import (
	"errors"
	"strings"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A table that is gone costs what stood in it, and nothing above or below: one rebuild, the same number wherever it is
// asked for, and a chain that goes on from its end.
func TestATableThatIsGoneCostsWhatStoodInItAlone(t *testing.T) {
	r := newRotten(t)
	holed := 0
	for _, file := range r.files() {
		if !strings.HasSuffix(file, ".sst") {
			continue
		}
		in := map[uint64]bool{} // heights whose headers stand in the table
		table, err := salvage.OpenTable(r.fs, "chain/"+file, isKey, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		err = table.Pairs(func(p salvage.Pair) error {
			if height, part, _, ok := parseBlockKey(p.Key); ok && part == partHeader {
				in[height] = true
			}
			return nil
		})
		if err := errors.Join(err, table.Close()); err != nil {
			t.Fatal(err)
		}
		fs := r.copy()
		for _, k := range readKeys("chain", testOptions(t, fs), lightchain.ChainID(r.hashes[0])) {
			delete(in, k.Header.Height) // it stands beside the database
		}
		if err := fs.Remove("chain/" + file); err != nil {
			t.Fatal(err)
		}
		o := testOptions(t, fs)
		o.Signer, o.Rand = testSigner(t, r.signer), &counter{1 << 40}
		s := openStore(t, o)
		if s.Info().Recovered.Rebuilt != "chain/data-1" {
			t.Errorf("%s: rebuilt %q", file, s.Info().Recovered.Rebuilt)
		}
		if path, n, err := current("chain", s.options); err != nil || n > 2 {
			t.Errorf("%s: the database is %s: %v", file, path, err)
		}
		newest := uint64(len(r.hashes) - 1)
		delete(in, newest) // the head mark has it
		there := 0
		for height := range in {
			if _, err := s.HeaderAt(height); err == nil {
				there++
			}
		}
		if there == len(in) {
			clear(in) // the log that it was made of had not been let go of yet
		}
		if s.Tip().Height != newest || s.Tip().Hash != r.hashes[newest] || s.unsure {
			t.Errorf("%s: the chain ends at %d, unsure %t", file, s.Tip().Height, s.unsure)
		}
		for height := range newest + 1 {
			if _, err := s.HeaderAt(height); in[height] != errors.Is(err, ErrNotHeld) || !in[height] && err != nil {
				t.Errorf("%s: header %d, which stood in it %t: %v", file, height, in[height], err)
			}
		}
		if err := s.Scrub(t.Context(), (&scrubber{t: t, s: s}).options()); err != nil {
			t.Fatal(err)
		}
		lost := s.Stats().Lost
		closeStore(t, s)
		reader, err := OpenReader("chain", o)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := reader.Verify(t.Context(), nil)
		if lost.Headers != uint64(len(in)) || err == nil && sum.NotHeld != lost.Headers {
			t.Errorf("%s: %d headers were in it, %d are lost, verifying says %d", file, len(in), lost.Headers, sum.NotHeld)
		}
		if len(in) > 0 && (sum.Pruned > 0 || err == nil && sum.Incomplete() == nil) {
			t.Errorf("%s: %+v", file, sum)
		}
		reader.Close()
		r.judge(file+" is gone", fs)
		if len(in) > 0 && !in[newest-1] {
			holed++
		}
	}
	if holed == 0 {
		t.Error("no table had a gap above it")
	}
}

// A rebuild does not find headers on both sides of the edge of what retention deleted.
func TestAGapAtTheEdgeOfWhatWasDeletedTellsOfWhatWasHeld(t *testing.T) {
	const edge = 20
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := marked(t, o, 400)
	blocks := prunedAt(t, s, edge)
	closeStore(t, s)
	gone := heightRun{edge - 3, edge + 2}
	var keys [][]byte
	for height := gone.from; height <= gone.to; height++ {
		keys = append(keys, headerKey(height))
	}
	drop(t, o, keys...)
	if err := fs.Remove("chain/data-1/" + lastMarker(t, fs)); err != nil {
		t.Fatal(err)
	}
	o.Rand = &counter{1 << 40}
	s = openStore(t, o)
	defer closeStore(t, s)
	told, err := s.Damages()
	if err != nil {
		t.Fatal(err)
	}
	checkLost(t, told, gone, edge, blocks)
}

// The header of a gap that the head mark does not reach any more is bridged by the next one.
func TestAGapIsBridgedWhereTheMarkIsFarAbove(t *testing.T) {
	for _, missing := range [][]uint64{{5}, {5, 6, 7}, {64}, {127, 128}} {
		fs := vfs.NewMem()
		o := testOptions(t, fs)
		s := marked(t, o, 400)
		tip := s.Tip()
		closeStore(t, s)
		var keys [][]byte
		for _, height := range missing {
			keys = append(keys, headerKey(height), nodeKey(height, 1), nodeKey(height, 2), nodeKey(height, 3))
		}
		drop(t, o, keys...)
		if err := fs.Remove("chain/data-1/" + lastMarker(t, fs)); err != nil { // which takes a rebuild
			t.Fatal(err)
		}
		o.Rand = &counter{1 << 40}
		s = openStore(t, o)
		if s.Tip().Hash != tip.Hash {
			t.Errorf("%d: the chain ends elsewhere", missing)
		}
		sum, err := s.Verify(t.Context(), nil)
		if err != nil || sum.NotHeld != uint64(len(missing)) || s.Stats().Lost.Headers != uint64(len(missing)) {
			t.Errorf("%d: %+v, %v", missing, sum, err)
		}
		for _, number := range []uint64{0, tip.Next - 1} {
			if _, err := s.Prove(number, 0); err != nil {
				t.Errorf("%d: entry %d: %v", missing, number, err)
			}
		}
		closeStore(t, s)
	}
}

func lastMarker(t *testing.T, fs vfs.FS) string {
	t.Helper()
	names, err := fs.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	return salvage.Markers(names)[0]
}
