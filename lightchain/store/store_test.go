package store

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// testSigner returns the signer of the n-th test key.
func testSigner(t testing.TB, n int) lightchain.Signer {
	t.Helper()
	var seed [ed25519.SeedSize]byte
	seed[0], seed[1] = byte(n), byte(n>>8)
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// counter is a source of bytes that repeat from run to run, but not within one.
type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	var block [8]byte
	for i := range b {
		if i%8 == 0 {
			c.n++
			binary.BigEndian.PutUint64(block[:], c.n)
		}
		b[i] = block[i%8]
	}
	return len(b), nil
}

func testOptions(t testing.TB, fs vfs.FS) Options {
	return Options{
		FS: fs, Signer: testSigner(t, 1), Rand: &counter{}, BootID: "boot",
		Now:   func() time.Time { return time.Unix(1700000000, 0) },
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
}

// newStore creates a chain in memory and opens it.
func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	if _, err := Create("chain", o, Genesis{Name: "press hall"}); err != nil {
		t.Fatal(err)
	}
	return openStore(t, o)
}

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testEntry returns the i-th entry of a plausible stream.
func testEntry(i int) lightchain.Entry {
	at := int64(1700000000)*1e9 + int64(i)*1e9
	value := 60 + float64(i%977)/7
	return lightchain.Entry{
		Received: at + int64(i*7919%1000000),
		Source:   fmt.Sprintf("mqtt:hall:plant/press-%02d/state", i%5),
		Payload:  fmt.Appendf(nil, `{"time":"%s","temperature":%v,"unit":"[degF]"}`, time.Unix(0, at).UTC().Format(time.RFC3339), value),
		Readings: []lightchain.Reading{{
			Device: fmt.Sprintf("press-%02d", i%5), Name: "temperature", Unit: "[degF]",
			Value: lightchain.Float(value), Time: at, Timed: true,
		}},
	}
}

func testEntries(from, n int) []lightchain.Entry {
	entries := make([]lightchain.Entry, n)
	for i := range entries {
		entries[i] = testEntry(from + i)
	}
	return entries
}

func stage(t testing.TB, s *Store, entries []lightchain.Entry) {
	t.Helper()
	g, err := s.Stage(entries)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func seal(t testing.TB, s *Store) *lightchain.SignedHeader {
	t.Helper()
	h, err := s.Seal(SealParams{Sealed: 1700000000e9 + int64(s.tip.Next)*1e9, Clock: lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func verify(t testing.TB, r *Reader) Summary {
	t.Helper()
	sum, err := r.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestWhatWasStagedAndSealedIsReadProvedAndVerified(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	s := newStore(t, o)
	rng := rand.New(rand.NewPCG(1, 2))
	n := 0
	for range 70 {
		for range rng.IntN(4) {
			size := 1 + rng.IntN(40)
			stage(t, s, testEntries(n, size))
			n += size
		}
		seal(t, s)
	}
	stage(t, s, testEntries(n, 3))
	check := func(r *Reader) {
		t.Helper()
		sum := verify(t, r)
		if sum.Entries != uint64(n) || sum.Open != 3 || sum.Heights != 71 || sum.Signed != 71 {
			t.Fatalf("%+v, want %d entries", sum, n)
		}
		trust := &lightchain.Trust{Chains: []lightchain.ChainID{r.Chain()}}
		i := 0
		for rec, err := range r.Entries(0, 1<<60) {
			if err != nil {
				t.Fatal(err)
			}
			want := testEntry(i)
			if rec.Number != uint64(i) || string(rec.Entry.Payload) != string(want.Payload) || rec.Entry.Received != want.Received {
				t.Fatalf("entry %d is %d: %+v", i, rec.Number, rec.Entry)
			}
			i++
		}
		if i != n+3 {
			t.Fatalf("%d entries, want %d", i, n+3)
		}
		for _, i := range []int{0, 1, n / 2, n - 1} {
			p, err := r.Prove(uint64(i), 0)
			if err != nil {
				t.Fatal(err)
			}
			report, err := p.Verify(trust)
			if err != nil {
				t.Fatal(err)
			}
			if report.Number != uint64(i) {
				t.Fatalf("proof of entry %d says %d", i, report.Number)
			}
		}
		found := 0
		for m, err := range r.Find(Query{Device: "press-03", From: 1700000000e9, To: 1700000100e9}) {
			if err != nil {
				t.Fatal(err)
			}
			if m.Number%5 != 3 {
				t.Fatalf("entry %d is not of press-03", m.Number)
			}
			found++
		}
		if found != 20 {
			t.Fatalf("found %d readings of press-03 in 100 s, want 20", found)
		}
	}
	check(&s.Reader)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, o)
	if info := s.Info(); !info.Clean || info.Recovered.Entries != 3 || info.Recovered.Lost() {
		t.Fatalf("%+v", info)
	}
	check(&s.Reader)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	check(r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
