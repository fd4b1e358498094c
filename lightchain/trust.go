package lightchain

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Trust says whom a verifier believes: which chains, which aggregators, and how many of these must agree.
type Trust struct {
	Chains      []ChainID
	Aggregators []Aggregator
	Quorum      uint64 // distinct names whose receipts a proof must show; 0 asks for none

	Devices []Device // this version checks nothing under their keys; see [Device]
	Persons []Person // whose signatures on notes are told by name; see [JudgeNote]
}

// Device is a key under which a device signs its own payloads. Such a signature is no part of a chain and is reported
// apart from it; its check has a place here and is not made yet.
type Device struct {
	Name string // spelled like an aggregator's
	Kind string // "ocmf", "cose" or "jws": in what form it signs
	Key  []byte // SubjectPublicKeyInfo (RFC 5280, section 4.1) in DER
}

// Person is a key of somebody who signs notes and attachments. A name may have several keys, a key has one name.
type Person struct {
	Name string // spelled like an aggregator's
	Key  PublicKey
}

const maxDeviceKey = 1024 // bytes

// Aggregator is one key of a trusted aggregator. A name may have several keys, a key has one name.
type Aggregator struct {
	Name string
	Key  PublicKey
}

// ParseTrust reads a trust file: lines of UTF-8 that say
//
//	chain <52 characters>
//	aggregator <name> ssh-ed25519 <base64>
//	quorum <n>
//	device <name> <kind> <base64>
//	person <name> ssh-ed25519 <base64>
//
// in any order, blank lines, and comments on lines of their own that begin with '#'. Anything else is refused with
// its line number.
//
// SPEC: words are separated by spaces and tabs; lines end in LF or CR LF; a byte order mark may precede the first
func ParseTrust(b []byte) (*Trust, error) {
	t := trustLines{Trust: new(Trust), chains: make(map[ChainID]bool), names: make(map[trustKey]string)}
	rest, found := strings.TrimPrefix(string(b), "\ufeff"), true
	for i := 0; found; i++ {
		var line string
		if line, rest, found = strings.Cut(rest, "\n"); found {
			line = strings.TrimSuffix(line, "\r") // a CR alone ends no line, not the last one either
		}
		if !utf8.ValidString(line) {
			return nil, fmt.Errorf("line %d: not UTF-8", i+1)
		}
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := t.parse(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return t.Trust, nil
}

// trustLines is a trust file as far as it is read. What may not stand twice is looked up: a fleet's file names very many.
type trustLines struct {
	*Trust
	chains map[ChainID]bool
	names  map[trustKey]string // under which a key stands
	quorum bool
}

// trustKey is a key as what it stands for. One key may be a person's and an aggregator's, or sign in two forms.
type trustKey struct{ as, key string }

func (t *trustLines) parse(words []string) error {
	switch {
	case words[0] == "chain" && len(words) == 2:
		chain, err := ParseChainID(words[1])
		if err != nil {
			return err
		}
		if t.chains[chain] {
			return fmt.Errorf("chain %s stands twice", chain)
		}
		t.chains[chain], t.Chains = true, append(t.Chains, chain)
		return nil
	case words[0] == "aggregator" && len(words) == 4:
		key, err := ParsePublicKey(words[2] + " " + words[3])
		if err != nil {
			return err
		}
		return t.addAggregator(Aggregator{words[1], key})
	case words[0] == "device" && len(words) == 4:
		return t.addDevice(words[1], words[2], words[3])
	case words[0] == "person" && len(words) == 4:
		key, err := ParsePublicKey(words[2] + " " + words[3])
		if err != nil {
			return err
		}
		return t.addPerson(Person{words[1], key})
	case words[0] == "quorum" && len(words) == 2:
		n, err := strconv.ParseUint(words[1], 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != words[1] {
			return fmt.Errorf("quorum %s: a whole number in plain digits", quoted(words[1]))
		}
		if t.quorum {
			return errors.New("quorum stands twice")
		}
		t.Quorum, t.quorum = n, true
		return nil
	}
	return errors.New(`expected "chain <52 characters>", "aggregator <name> ssh-ed25519 <base64>", "quorum <n>", "device <name> <kind> <base64>", "person <name> ssh-ed25519 <base64>", or a comment that begins with "#"`)
}

// SPEC: a name may have several keys, a key has one name
func (t *trustLines) once(name, as, key string) error {
	k := trustKey{as, key}
	if other, found := t.names[k]; found {
		return fmt.Errorf("the key of %s stands already, under the name %s", name, other)
	}
	t.names[k] = name
	return nil
}

func (t *trustLines) addAggregator(a Aggregator) error {
	if err := CheckAggregatorName(a.Name); err != nil {
		return err
	}
	if err := t.once(a.Name, "aggregator", string(a.Key[:])); err != nil {
		return err
	}
	t.Aggregators = append(t.Aggregators, a)
	return nil
}

func (t *trustLines) addDevice(name, kind, text string) error {
	if CheckAggregatorName(name) != nil {
		return fmt.Errorf("device %s: it is named like an aggregator", quoted(name))
	}
	if kind != "ocmf" && kind != "cose" && kind != "jws" {
		return fmt.Errorf("device %s: kind %s is not ocmf, cose or jws", name, quoted(kind))
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	// The decoder skips CR and LF wherever they stand.
	if err != nil || len(key) == 0 || len(key) > maxDeviceKey || base64.StdEncoding.EncodeToString(key) != text {
		return fmt.Errorf("device %s: expected the base64 of 1 to %d bytes, its public key in DER", name, maxDeviceKey)
	}
	if err := t.once(name, kind, string(key)); err != nil {
		return err
	}
	t.Devices = append(t.Devices, Device{name, kind, key})
	return nil
}

func (t *trustLines) addPerson(p Person) error {
	if CheckAggregatorName(p.Name) != nil {
		return fmt.Errorf("person %s: named like an aggregator", quoted(p.Name))
	}
	if err := t.once(p.Name, "person", string(p.Key[:])); err != nil {
		return err
	}
	t.Persons = append(t.Persons, p)
	return nil
}

// Format returns the trust file that says t.
func (t *Trust) Format() []byte {
	var b bytes.Buffer
	for _, c := range t.Chains {
		fmt.Fprintf(&b, "chain %s\n", c)
	}
	for _, a := range t.Aggregators {
		fmt.Fprintf(&b, "aggregator %s %s\n", a.Name, FormatPublicKey(a.Key))
	}
	if t.Quorum > 0 {
		fmt.Fprintf(&b, "quorum %d\n", t.Quorum)
	}
	for _, d := range t.Devices {
		fmt.Fprintf(&b, "device %s %s %s\n", d.Name, d.Kind, base64.StdEncoding.EncodeToString(d.Key))
	}
	for _, p := range t.Persons {
		fmt.Fprintf(&b, "person %s %s\n", p.Name, FormatPublicKey(p.Key))
	}
	return b.Bytes()
}

const sshEd25519 = "ssh-ed25519"

// ParsePublicKey reads "ssh-ed25519 <base64>", as OpenSSH writes a public key (RFC 8709, section 4), without comment.
func ParsePublicKey(s string) (key PublicKey, err error) {
	blob, found := strings.CutPrefix(s, sshEd25519+" ")
	b, err := base64.StdEncoding.Strict().DecodeString(blob)
	prefix := sshKeyPrefix()
	if !found || err != nil || len(b) != len(prefix)+len(key) || !bytes.HasPrefix(b, prefix) {
		return key, fmt.Errorf("key %s: expected ssh-ed25519 and 68 characters of base64, as in a .pub file", quoted(s))
	}
	copy(key[:], b[len(prefix):])
	if FormatPublicKey(key) != s { // the decoder skips CR and LF wherever they stand
		return PublicKey{}, fmt.Errorf("key %s: something stands between its characters", quoted(s))
	}
	if err := key.Check(); err != nil {
		return PublicKey{}, fmt.Errorf("key %s: %w", quoted(s), err)
	}
	return key, nil
}

// FormatPublicKey returns "ssh-ed25519 <base64>".
func FormatPublicKey(key PublicKey) string {
	return sshEd25519 + " " + base64.StdEncoding.EncodeToString(append(sshKeyPrefix(), key[:]...))
}

// sshKeyPrefix is what precedes the 32 bytes in the wire form of RFC 8709: two lengths and the algorithm.
func sshKeyPrefix() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(sshEd25519)))
	b = append(b, sshEd25519...)
	return binary.BigEndian.AppendUint32(b, uint32(len(PublicKey{})))
}
