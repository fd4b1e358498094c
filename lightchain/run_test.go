package lightchain

import (
	"bytes"
	"errors"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// runOf returns the headers from first to last as they travel.
func runOf(c *testChain, first, last uint64) *Run {
	r := new(Run)
	for height := first; height <= last; height++ {
		s := c.headers[height]
		sig := s.HeaderSignature
		r.Add(&s.Header, &sig)
	}
	return r
}

// tipAt returns the tip that the first headers of c lead to.
func tipAt(t testing.TB, c *testChain, height uint64) *Tip {
	t.Helper()
	tip, err := Begin(c.headers[0])
	for _, s := range c.headers[1 : height+1] {
		if err == nil {
			err = tip.FollowOne(s)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return tip
}

// variedChain has whatever a header may say: heartbeats, beacons that come, stay and go, boots, changes of key,
// fields of a later version.
func variedChain(t testing.TB, n int) *testChain {
	c := newTestChain(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var beacon *Hash
	for i := 1; i <= n; i++ {
		if i%17 == 0 {
			c.rotate(rng.IntN(3), "gateway "+string(rune('a'+i%26)))
			continue
		}
		c.seal(rng.IntN(4), func(h *Header) {
			switch rng.IntN(6) {
			case 0:
				beacon = &Hash{byte(i), 1}
			case 1:
				beacon = nil
			}
			h.Beacon = beacon
			if i > 30 {
				h.Cadence = []uint64{0, 3600, 3600, MaxCadence}[i%4]
			}
			h.Sealed += rng.Int64N(1e9)
			h.Clock.Boot = uint64(1 + i/20)
			h.Clock.State = ClockState(i / 20 % 3)
			if i%13 == 0 {
				h.Extra = []Field{{17, []byte{0xf6}}, {4000, []byte{0x82, 0x01, 0x61, 'x'}}}
			}
		})
	}
	return c
}

func TestARunLeadsToTheTipThatItsHeadersLeadTo(t *testing.T) {
	c := variedChain(t, 100)
	for _, span := range [][2]uint64{{1, 100}, {1, 1}, {17, 17}, {16, 18}, {30, 100}, {99, 100}, {34, 51}} {
		b, err := runOf(c, span[0], span[1]).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DecodeRun(b)
		if err != nil {
			t.Fatal(err)
		}
		tip := tipAt(t, c, span[0]-1)
		height := span[0]
		head, err := tip.Follow(r, func(d Derived) error {
			if !bytes.Equal(d.Bytes, c.headers[height].Bytes()) || d.Hash != c.leaves[height] {
				t.Errorf("header %d is not derived as it was sealed", height)
			}
			if signed := d.Signature != nil; signed != (height == span[1] || d.Header.NextKey != nil) {
				t.Errorf("header %d travels signed: %t", height, signed)
			}
			height++
			return nil
		})
		if err != nil {
			t.Fatalf("headers %d to %d: %v", span[0], span[1], err)
		}
		want := tipAt(t, c, span[1])
		if head.Hash() != want.Hash || tip.Hash != want.Hash || tip.Key != want.Key || tip.Next != want.Next || tip.History.Root() != want.History.Root() {
			t.Errorf("headers %d to %d lead elsewhere", span[0], span[1])
		}
	}
}

// Whatever is changed in a run that travels, somebody without a key cannot make it lead anywhere.
func TestARunThatWasTamperedWithLeadsNowhere(t *testing.T) {
	c := variedChain(t, 60)
	other := testSigner("mallory")
	otherKey := other.Public()
	for name, tamper := range map[string]func(*Run){
		"a count":                     func(r *Run) { r.Headers[5].Count += 3; r.Headers[5].Root[0] = 1 },
		"a time":                      func(r *Run) { r.Headers[5].Sealed++ },
		"a root":                      func(r *Run) { r.Headers[3].Count = 1; r.Headers[3].Root[0] ^= 1 },
		"a clock":                     func(r *Run) { r.Headers[5].Clock.Boot++ },
		"a beacon":                    func(r *Run) { r.Headers[5].Beacon = &Hash{9} },
		"a field more":                func(r *Run) { r.Headers[5].Extra = []Field{{99, []byte{0}}} },
		"a header less":               func(r *Run) { r.Headers = append(r.Headers[:4:4], r.Headers[5:]...) },
		"a header twice":              func(r *Run) { r.Headers[4] = r.Headers[5] },
		"another height":              func(r *Run) { r.First++ },
		"the first height":            func(r *Run) { r.First = 0 },
		"the last signature":          func(r *Run) { r.Headers[len(r.Headers)-1].Signature[3] ^= 1 },
		"a key header's signature":    func(r *Run) { r.Headers[17-1].Signature[3] ^= 1 },
		"no signature at the end":     func(r *Run) { r.Headers = r.Headers[:5] },
		"no signature at a key":       func(r *Run) { r.Headers[17-1].Signature = nil },
		"a signature where none goes": func(r *Run) { r.Headers[2].Signature = new(Signature) },
		"a key that is in force": func(r *Run) {
			key := c.headers[0].Header.NextKey
			r.Headers[3].NextKey, r.Headers[3].Signature = key, new(Signature)
		},
		"a weak key": func(r *Run) { r.Headers[3].NextKey, r.Headers[3].Signature = &PublicKey{1}, new(Signature) },
		"nothing":    func(r *Run) { r.Headers = nil },
	} {
		r := runOf(c, 1, 60)
		tamper(r)
		tip := tipAt(t, c, 0)
		if _, err := tip.Follow(r, nil); err == nil {
			t.Errorf("%s: the run is followed", name)
		}
		if tip.Height != 0 || tip.Hash != c.leaves[0] || tip.Key != *c.headers[0].Header.NextKey {
			t.Errorf("%s: the tip moved", name)
		}
	}

	// A key smuggled into a run, with everything after it signed by its holder: the header that sets it lacks the
	// signature of the key before, so the new one is never used.
	forged := tipAt(t, c, 20)
	r := new(Run)
	for i := range 5 {
		h := forged.Header(emptyRoot, 0, testTime, Clock{})
		if i == 2 {
			h.NextKey = &otherKey
		}
		s, err := h.Sign(other)
		if err != nil {
			t.Fatal(err)
		}
		r.Add(h, &s.HeaderSignature)
		if err := forged.Extend(h, s.Hash(), nil); err != nil {
			t.Fatal(err)
		}
	}
	tip := tipAt(t, c, 20)
	if _, err := tip.Follow(r, nil); err == nil {
		t.Error("a smuggled key is used")
	}
}

func TestARunStopsWhereItsVisitorSays(t *testing.T) {
	c := variedChain(t, 10)
	tip, full := tipAt(t, c, 0), errors.New("full")
	if _, err := tip.Follow(runOf(c, 1, 10), func(d Derived) error {
		if d.Header.Height == 7 {
			return full
		}
		return nil
	}); !errors.Is(err, full) || tip.Height != 0 {
		t.Errorf("%v, and the tip is at %d", err, tip.Height)
	}
}

func TestColumnsOfAnyNumbersComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		values := make([]uint64, 1+rng.IntN(50))
		wide := rng.UintN(64)
		for i := range values {
			values[i] = rng.Uint64() >> wide
			if rng.IntN(9) == 0 {
				values[i] = rng.Uint64()
			}
		}
		b := appendColumn(nil, values, make([]uint64, len(values)))
		again := make([]uint64, len(values))
		rest, err := readColumn(append(b, 7, 7), again)
		if err != nil || len(rest) != 2 {
			t.Fatalf("%v, %d bytes left", err, len(rest))
		}
		for i := range values {
			if values[i] != again[i] {
				t.Fatalf("value %d of %x comes back as %x", i, values, again)
			}
		}
		if _, err := readColumn(b[:len(b)-1], again); err == nil {
			t.Fatalf("%x is read without its last byte", b)
		}
	}
}

func FuzzDecodeRun(f *testing.F) {
	c := variedChain(f, 40)
	for _, span := range [][2]uint64{{1, 40}, {1, 1}, {17, 18}, {30, 39}} {
		b, err := runOf(c, span[0], span[1]).Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	fuzzCodec(f, "run", DecodeRun, func(r *Run) ([]byte, error) { return r.Append(nil) })
}

// ordinaryRun is what a gateway that seals every minute sends: timers that are a millisecond late, some dozen entries
// in each block, give or take, and a beacon in each if fresh.
func ordinaryRun(t testing.TB, n int, fresh bool) *Run {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	signer := testSigner("gateway 0")
	genesis, err := NewGenesis(Genesis{}, signer.Public(), testTime*1e9, Clock{ClockSynchronised, 1, 1e9}).Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	tip, err := Begin(genesis)
	if err != nil {
		t.Fatal(err)
	}
	// Where the history is long, its root takes more hashing: 99,999 headers have an edge of ten subtrees.
	tip.Height = 99_998
	if tip.History, err = NewCompactRange(99_999, make([]Hash, bits.OnesCount(99_999))); err != nil {
		t.Fatal(err)
	}
	r := new(Run)
	beacon := Hash{42}
	for i := range n {
		late := int64(rng.ExpFloat64() * 1e6)
		sealed := testTime*1e9 + int64(i)*60e9 + late
		uptime := uint64(12e9+int64(i)*60e9+late) + uint64(i)*300 + rng.Uint64N(2000) // a drift of 5 ppb and the time between two clocks' readings
		root := Hash{}
		for j := range root {
			root[j] = byte(rng.Uint32())
		}
		h := tip.Header(root, 600+rng.Uint64N(20), sealed, Clock{ClockSynchronised, 1, uptime})
		if fresh {
			for j := range beacon {
				beacon[j] = byte(rng.Uint32())
			}
		}
		b := beacon
		h.Beacon = &b
		s, err := h.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		r.Add(h, &s.HeaderSignature)
		if err := tip.Extend(h, s.Hash(), nil); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestARunOfAThousandHeadersStaysWithinItsBytes(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh bool
		most  int
	}{
		{"an unchanged beacon", false, 48},
		{"a beacon in each", true, 80},
	} {
		r := ordinaryRun(t, 1000, c.fresh)
		b, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f bytes per header", c.name, float64(len(b))/1000)
		if len(b) > c.most*1000 {
			t.Errorf("%s: %d bytes for 1000 headers, at most %d each", c.name, len(b), c.most)
		}
	}
}
