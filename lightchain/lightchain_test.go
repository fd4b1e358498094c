package lightchain

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func TestChainTextIsTheOneSpellingOf32Bytes(t *testing.T) {
	var c ChainID
	for i := range c {
		c[i] = byte(7 * i)
	}
	text := c.String()
	if len(text) != 52 {
		t.Fatalf("%q has %d characters", text, len(text))
	}
	if back, err := ParseChainID(text); err != nil || back != c {
		t.Fatalf("%v, %v", back, err)
	}
	last := text[:51]
	for _, bad := range []string{"", text[:51], text + "a", strings.ToUpper(text), last + "b", text[:51] + "=", text[:51] + "1"} {
		if _, err := ParseChainID(bad); err == nil && bad != text {
			t.Errorf("%q is taken", bad)
		}
	}
}

// Of the encodings of points of small order eight are canonical and six are not; crypto/ed25519 takes all of them.
func TestKeysOfSmallOrderAndSecondSpellingsAreRefused(t *testing.T) {
	p, _ := new(big.Int).SetString("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed", 16)
	little := func(n *big.Int, sign byte) (k PublicKey) {
		n.FillBytes(k[:])
		for i := range 16 {
			k[i], k[31-i] = k[31-i], k[i]
		}
		k[31] |= sign << 7
		return k
	}
	n := func(d int64) *big.Int { return new(big.Int).Add(p, big.NewInt(d)) }
	order8, _ := hex.DecodeString("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
	other8, _ := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
	var weak []PublicKey
	for sign := range byte(2) {
		weak = append(weak, little(big.NewInt(1), sign), little(big.NewInt(0), sign), little(n(-1), sign), little(n(0), sign), little(n(1), sign))
		for _, y := range [][]byte{order8, other8} {
			k := PublicKey(y)
			k[31] |= sign << 7
			weak = append(weak, k)
		}
	}
	for d := int64(2); d < 19; d++ {
		weak = append(weak, little(n(d), 0)) // not canonical, whatever the point
	}
	for _, k := range weak {
		if k.Check() == nil {
			t.Errorf("%s is taken", k)
		}
	}
	if err := testSigner("x").Public().Check(); err != nil {
		t.Error(err)
	}
	identity := little(big.NewInt(1), 0)
	sig := Signature{0: 1} // R is the identity, S is 0
	if !ed25519.Verify(identity[:], []byte("anything"), sig[:]) {
		t.Error("the standard library refuses the identity by itself now; say so above PublicKey.Check")
	}
	if identity.verify([]byte("anything"), sig) {
		t.Error("the identity key accepts a message")
	}
}

func TestSignerRefusesWhatIsNoKey(t *testing.T) {
	if _, err := NewSigner(nil); err == nil {
		t.Error("no key is taken")
	}
	s := testSigner("x")
	sig, err := s.Sign([]byte("m"))
	if err != nil || !s.Public().verify([]byte("m"), sig) || s.Public().verify([]byte("n"), sig) {
		t.Error("its signatures do not check")
	}
}

// The library's deterministic encoder is the witness: for each value ours gives the same bytes.
func TestValuesEncodeAsTheCBORLibraryEncodesThem(t *testing.T) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{0, 1, 23, 24, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, -1, -24, -25, -256, -257, math.MinInt64} {
		sameBytes(t, mode, Int(n), n)
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 1, -1.5, 20.5, 65504, 65505, 65536, 73.96732207, 5.960464477539063e-08, 5.9e-08, 6.103515625e-05,
		6.0975551605224609375e-05, 3.4028234663852886e+38, 3.5e38, math.MaxFloat64, math.SmallestNonzeroFloat64, 1.401298464324817e-45, 1e-40, 2.98e-08} {
		sameBytes(t, mode, Float(f), f)
		sameBytes(t, mode, Float(-f), -f)
	}
	for bits := range 1 << 16 { // every binary16 that is a number, and its neighbours among the binary32
		f := halfFloat(uint16(bits))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		sameBytes(t, mode, Float(f), f)
		next := float64(math.Nextafter32(float32(f), 1))
		sameBytes(t, mode, Float(next), next)
	}
	sameBytes(t, mode, Text("Grüße"), "Grüße")
	sameBytes(t, mode, Bytes([]byte{0, 255}), []byte{0, 255})
	sameBytes(t, mode, Bool(true), true)
	sameBytes(t, mode, Bool(false), false)
	sameBytes(t, mode, Value{}, nil)
}

func sameBytes(t *testing.T, mode cbor.EncMode, v Value, x any) {
	t.Helper()
	got, err := v.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := mode.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%v: %x, want %x", x, got, want)
	}
}

func TestEntriesThatCannotStandAreRefusedAndLeaveNothing(t *testing.T) {
	good := testEntry(0)
	start := []byte("before")
	for name, change := range map[string]func(*Entry){
		"a source that is not UTF-8": func(e *Entry) { e.Source = "\xff" },
		"a device that is not UTF-8": func(e *Entry) { e.Readings[0].Device = "a\xc0" },
		"text that is not UTF-8":     func(e *Entry) { e.Readings[0].Value = Text("\xed\xa0\x80") },
		"NaN":                        func(e *Entry) { e.Readings[0].Value = Float(math.NaN()) },
		"an infinity":                func(e *Entry) { e.Readings[0].Value = Float(math.Inf(-1)) },
		"an undefined flag":          func(e *Entry) { e.Flags = 64 },
		"an undefined quality":       func(e *Entry) { e.Readings[0].Quality = 8 },
		"not understood, yet read":   func(e *Entry) { e.Flags = NotUnderstood },
		"more readings than allowed": func(e *Entry) { e.Readings = make([]Reading, MaxReadings+1) },
		"more bytes than allowed":    func(e *Entry) { e.Payload = make([]byte, MaxEntry) },
	} {
		e := *good
		e.Readings = append([]Reading(nil), good.Readings...)
		change(&e)
		if b, err := e.Append(start); err == nil || !bytes.Equal(b, start) {
			t.Errorf("%s: %v, and %d bytes stay behind", name, err, len(b)-len(start))
		}
	}
}

func TestAnEntryIsItsSaltItsTimeAndItsBody(t *testing.T) {
	e := testEntry(5)
	whole, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := e.AppendBody(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again := AppendEntry(nil, e.Salt, e.Received, body); !bytes.Equal(again, whole) {
		t.Errorf("%x\n%x", again, whole)
	}
}

func TestTipRefusesWhatDoesNotContinueTheChain(t *testing.T) {
	c := newTestChain(t)
	c.seal(3, nil)
	key := c.tip.Key
	for name, change := range map[string]func(*Header){
		"another chain":         func(h *Header) { h.Chain[0] ^= 1 },
		"a height left out":     func(h *Header) { h.Height++ },
		"another header before": func(h *Header) { h.Previous[0] ^= 1 },
		"another history":       func(h *Header) { h.History[0] ^= 1 },
		"entries left out":      func(h *Header) { h.First++ },
		"entries taken back":    func(h *Header) { h.First-- },
		"more than can be":      func(h *Header) { h.Count = math.MaxInt64 },
		"a root of nothing":     func(h *Header) { h.Count, h.Root = 0, Hash{1} },
		"the key that is there": func(h *Header) { h.NextKey = &key },
		"a second genesis":      func(h *Header) { h.Genesis = new(Genesis) },
	} {
		tip := c.tip.Clone()
		h := tip.Header(Hash{9}, 2, 0, Clock{})
		change(h)
		if err := tip.Extend(h, Hash{5}, nil); !errors.Is(err, ErrNotNext) {
			t.Errorf("%s: %v", name, err)
		}
		if tip.Height != c.tip.Height || tip.Hash != c.tip.Hash || tip.History.Root() != c.tip.History.Root() {
			t.Errorf("%s: the tip moved", name)
		}
	}
}
