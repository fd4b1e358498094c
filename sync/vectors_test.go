package headersync_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/internal/wire"
	"edgechain.example/sync/synctest"

	"github.com/fxamacker/cbor/v2"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// messageVector is one file of testdata/vectors: its form is that of lightchain's, with the key of a signed message.
type messageVector struct {
	About  string `json:"about"`
	Kind   string `json:"kind"`
	Bytes  []byte `json:"bytes"`
	Key    string `json:"key,omitempty"`
	Expect string `json:"expect"`
}

// message is a kind of message, and how it is read.
type message struct {
	media    string // "": it is a page, which nobody signs
	decode   func([]byte) (*wire.Sealed, error)
	optional []int // keys that may be left out
	open     int   // the lowest key that may hold anything; 0: none
}

// signedBy says how a signed message is read.
func signedBy[T any](media string, decode func([]byte) (T, *wire.Sealed, error), open int, optional ...int) message {
	return message{media, func(b []byte) (*wire.Sealed, error) {
		_, s, err := decode(b)
		return s, err
	}, optional, open}
}

func paged[T any](decode func([]byte) (T, error), optional ...int) message {
	return message{"", func(b []byte) (*wire.Sealed, error) {
		_, err := decode(b)
		return nil, err
	}, optional, 0}
}

var messages = map[string]message{
	"hello":    signedBy("application/vnd.edgechain.hello+cbor", headersync.DecodeHello, 0, 6, 7),
	"welcome":  signedBy("application/vnd.edgechain.welcome+cbor", headersync.DecodeWelcome, 0, 7, 8, 9, 10, 13),
	"pull":     signedBy("application/vnd.edgechain.pull+cbor", headersync.DecodePull, 0),
	"report":   signedBy(headersync.MediaReport, headersync.DecodeReport, 13, 13, 40),
	"pulled":   paged(headersync.DecodePulled, 4, 5, 6, 7, 8, 9),
	"restored": paged(headersync.DecodeRestored),
}

func (v *messageVector) refusal() error {
	s, err := messages[v.Kind].decode(v.Bytes)
	if err != nil || v.Key == "" {
		return err
	}
	key, err := lightchain.ParsePublicKey(v.Key)
	if err != nil {
		return err
	}
	if !s.Check(key) {
		return fmt.Errorf("the signature does not check under %s", key)
	}
	return nil
}

// goodMessages returns messages with as little and with as much as they may hold.
func goodMessages(t *testing.T) map[string][]byte {
	c := synctest.NewChain(1)
	signer, north := c.Signer, synctest.Signer("north")
	hello := headersync.Hello{Chain: c.Tip.Chain, Nonce: headersync.Nonce{0: 1, 7: 9}, Height: 7, Hash: lightchain.Hash{2}}
	restoring := hello
	restoring.Restore = &headersync.RestoreRequest{Aggregator: "north", Session: headersync.Nonce{3}, Sequence: 4, Most: 65536}
	restoring.Enrol = headersync.NewEnrolment("a token", c.Tip.Chain)
	welcome := headersync.Welcome{Chain: c.Tip.Chain, Name: "north", Nonce: hello.Nonce, Sequence: 9, Session: headersync.Nonce{2}}
	whole := welcome
	next := synctest.Signer("next")
	set := c.Seal(1, synctest.Time*1e9, next)
	whole.Head, whole.Keys = c.Seal(2, synctest.Time*1e9+60e9, nil), []*lightchain.SignedHeader{set}
	key := next.Public()
	whole.Key, whole.Held, whole.Restores, whole.Busy = &key, 2, 7, 600
	other := whole.Head.Header
	other.Sealed++
	twin := synctest.Must(other.Sign(next))
	whole.Fork = lightchain.NewFork([]*lightchain.SignedHeader{c.Headers[0], set}, lightchain.Side{Head: whole.Head, Leaf: whole.Head.Hash()}, lightchain.Side{Head: twin, Leaf: twin.Hash()})
	pull := headersync.Pull{Chain: c.Tip.Chain, Name: "north", Sequence: 1, Most: 65536, Want: headersync.Sparse, Last: headersync.NoCeiling}
	above := pull
	above.First, above.Below, above.Want, above.Last = 8, lightchain.Hash{5}, headersync.EveryHeader, 20
	report := testReport(c)
	later := *report
	later.Later = map[uint64]cbor.RawMessage{13: wire.Encode(uint64(90)), 40: wire.Encode([]any{"days", uint64(3), nil, true})}
	all := pages(t)
	good := map[string][]byte{
		"hello-least": synctest.Must(hello.Sign(signer)), "hello-whole": synctest.Must(restoring.Sign(signer)),
		"welcome-least": synctest.Must(welcome.Sign(north)), "welcome-whole": synctest.Must(whole.Sign(north)),
		"pull-genesis": synctest.Must(pull.Sign(north)), "pull-above": synctest.Must(above.Sign(north)),
		"report-least": synctest.Must(report.Sign(signer)), "report-unknown": synctest.Must(later.Sign(signer)),
		"restored-run": synctest.Must((&headersync.Restored{Correlation: 3, Run: all[0].Run}).Encode()),
		"restored-sparse": synctest.Must((&headersync.Restored{Correlation: 3, Sparse: &headersync.SparseCopy{
			all[1].Consistency.Head, make([]lightchain.Hash, 4), []*lightchain.SignedHeader{all[0].Genesis}}}).Encode()),
		"pulled-unavailable": synctest.Must((&headersync.Pulled{Correlation: 7, Head: 9, Unavailable: true}).Encode()),
		"pulled-nothing":     synctest.Must((&headersync.Pulled{Correlation: 7, Head: 9}).Encode()),
	}
	for i, p := range all {
		good[fmt.Sprintf("pulled-%d", i)] = synctest.Must(p.Encode())
	}
	return good
}

// makeMessageVectors returns the published vectors by their names: good messages, and each of them with one thing wrong.
func makeMessageVectors(t *testing.T) map[string]messageVector {
	made := map[string]messageVector{}
	put := func(name string, v messageVector) {
		t.Helper()
		if _, twice := made[name]; twice {
			t.Fatalf("two vectors %s", name)
		}
		made[name] = v
	}
	good, spoilt := goodMessages(t), map[string]bool{} // of each kind each field once
	for _, name := range slices.Sorted(maps.Keys(good)) {
		b := good[name]
		kind, which, _ := strings.Cut(name, "-")
		m := messages[kind]
		v := messageVector{About: "a " + kind + ", " + which, Kind: kind, Bytes: b, Expect: "ok"}
		signer := synctest.NewChain(1).Signer
		if kind == "welcome" || kind == "pull" {
			signer = synctest.Signer("north")
		}
		payload := b
		if m.media != "" {
			v.Key = lightchain.FormatPublicKey(signer.Public())
			payload = synctest.Must(m.decode(b)).Payload
		}
		put(kind+"-good-"+which, v)
		bad := func(how, about string, payload []byte) {
			t.Helper()
			v := v
			v.About, v.Expect, v.Bytes = about, "fail", payload
			if m.media != "" {
				v.Bytes = synctest.Must(wire.Seal(m.media, signer, payload))
			}
			if v.refusal() == nil {
				t.Errorf("%s-bad-%s-%s, %s: it is read", kind, which, how, about)
			}
			put(kind+"-bad-"+which+"-"+how, v)
		}
		var fields map[int]cbor.RawMessage
		if err := cbor.Unmarshal(payload, &fields); err != nil {
			t.Fatal(err)
		}
		with := func(change func(map[int]cbor.RawMessage)) []byte {
			changed := maps.Clone(fields)
			change(changed)
			b := []byte{0xa0 | byte(len(changed))} // by hand: the library writes nothing that is wrong
			for _, key := range slices.Sorted(maps.Keys(changed)) {
				if key > 23 {
					b = append(b, 0x18)
				}
				b = append(append(b, byte(key)), changed[key]...)
			}
			return b
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			field := fmt.Sprint(kind, key)
			if m.open > 0 && key >= m.open || spoilt[field] {
				continue
			}
			spoilt[field] = true
			value := fields[key]
			if !slices.Contains(m.optional, key) {
				bad(fmt.Sprintf("%d-missing", key), fmt.Sprintf("no field %d", key), with(func(f map[int]cbor.RawMessage) { delete(f, key) }))
			}
			kindOf := value[0] & 0xe0
			if kindOf == 0 {
				bad(fmt.Sprintf("%d-negative", key), fmt.Sprintf("a field %d of -1", key), with(func(f map[int]cbor.RawMessage) { f[key] = []byte{0x20} }))
				bad(fmt.Sprintf("%d-beyond", key), fmt.Sprintf("a field %d of 2^63", key), with(func(f map[int]cbor.RawMessage) { f[key] = []byte{0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0} }))
			}
			bad(fmt.Sprintf("%d-other-kind", key), fmt.Sprintf("a map in place of field %d", key), with(func(f map[int]cbor.RawMessage) { f[key] = []byte{0xa0} }))
			if kindOf == 0x40 || kindOf == 0x80 {
				bad(fmt.Sprintf("%d-empty", key), fmt.Sprintf("nothing in field %d", key), with(func(f map[int]cbor.RawMessage) { f[key] = []byte{kindOf} }))
			}
		}
		if which == "least" || which == "genesis" || which == "run" || which == "nothing" {
			bad("version", "version 2", with(func(f map[int]cbor.RawMessage) { f[1] = []byte{2} }))
			bad("field-0", "field 0", with(func(f map[int]cbor.RawMessage) { f[0] = []byte{0} }))
			if m.open == 0 {
				bad("field-63", "field 63", with(func(f map[int]cbor.RawMessage) { f[63] = []byte{0} }))
			} else {
				bad("field-63-float", "a float that is not in its shortest form, in a field that is not known", with(func(f map[int]cbor.RawMessage) { f[63] = []byte{0xfa, 0x3f, 0xc0, 0, 0} }))
				bad("field-63-nan", "NaN in a field that is not known", with(func(f map[int]cbor.RawMessage) { f[63] = []byte{0xf9, 0x7e, 0} }))
				bad("field-63-tag", "a tag in a field that is not known", with(func(f map[int]cbor.RawMessage) { f[63] = []byte{0xc1, 0} }))
				bad("field-63-undefined", "undefined in a field that is not known", with(func(f map[int]cbor.RawMessage) { f[63] = []byte{0xf7} }))
			}
			bad("trailing", "a byte after the end of what is in it", append(bytes.Clone(payload), 0))
			bad("long-key", "a key in a longer form", slices.Concat(payload[:1], []byte{0x18, 0x01}, payload[2:]))
			bad("array", "an array", []byte{0x80})
			bad("nothing", "nothing", []byte{})
		}
		if m.media == "" || which != "least" && which != "genesis" {
			continue
		}
		raw := func(how, about string, b []byte) {
			t.Helper()
			v := v
			v.About, v.Expect, v.Bytes = about, "fail", b
			if v.refusal() == nil {
				t.Errorf("%s-bad-%s: it is taken", kind, how)
			}
			put(kind+"-bad-"+how, v)
		}
		last := bytes.Clone(b)
		last[len(last)-1] ^= 1
		raw("signature", "a signature that does not check", last)
		raw("signer", "signed by another key", synctest.Must(wire.Seal(m.media, synctest.Signer("mallory"), payload)))
		raw("media-type", "another media type", synctest.Must(wire.Seal("application/vnd.edgechain.header+cbor", signer, payload)))
		raw("untagged", "no tag", b[1:])
		raw("tag", "another tag", append([]byte{0xd1}, b[1:]...))
		raw("behind", "a byte behind it", append(bytes.Clone(b), 0))
		raw("cut", "its last byte missing", b[:len(b)-1])
		raw("unprotected", "a label that is not protected", bytes.Replace(b, []byte{0xa0, 0x58}, []byte{0xa1, 0x0b, 0x40, 0x58}, 1))
		if m.open > 0 {
			raw("too-long", "a field that is not known, with which it is too long", synctest.Must(wire.Seal(m.media, signer, with(func(f map[int]cbor.RawMessage) { f[63] = wire.Encode(make([]byte, 1024)) }))))
		}
	}
	return made
}

// Each message of the protocol has vectors, for whoever writes a gateway or an aggregator of their own.
func TestPublishedMessages(t *testing.T) {
	const folder = "testdata/vectors"
	made := makeMessageVectors(t)
	files, err := filepath.Glob(folder + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		files = nil
		for name, v := range made {
			b, err := json.MarshalIndent(v, "", "  ")
			if err == nil {
				files = append(files, filepath.Join(folder, name+".json"))
				err = os.WriteFile(files[len(files)-1], append(b, '\n'), 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(files) != len(made) {
		t.Errorf("%d vectors are published, and %d are made", len(files), len(made))
	}
	kinds := map[string]int{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v messageVector
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if want := made[name]; sha256.Sum256(want.Bytes) != sha256.Sum256(v.Bytes) || want.Expect != v.Expect || want.About != v.About || want.Key != v.Key {
			t.Errorf("%s is not what is made: go test ./sync -run PublishedMessages -update", name)
		}
		if err := v.refusal(); (err == nil) != (v.Expect == "ok") {
			t.Errorf("%s, %s: expected %s: %v", name, v.About, v.Expect, err)
		}
		kinds[v.Kind]++
	}
	for kind := range messages {
		if kinds[kind] < 10 {
			t.Errorf("%d vectors of %s", kinds[kind], kind)
		}
	}
}
