package lightchain

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Entry is one leaf of the chain: one message as it arrived, and what the gateway understood of it.
type Entry struct {
	Salt     Salt
	Received int64  // the gateway's clock when it arrived, nanoseconds since the Unix epoch
	Source   string // where it came from, and from whom: "mqtt:<source>:<topic>", "broker:<user>/<client id>:<topic>", …
	Flags    Flags
	Payload  []byte    // the bytes exactly as they arrived: the evidence
	Decoder  string    // what read them, with its version: "json/1"; "" where nothing did
	Readings []Reading // their interpretation
}

// Reading is one measured value.
type Reading struct {
	Device  string // who measured
	Name    string // what
	Unit    string // SenML unit symbol where there is one, else what the device says; "" unknown
	Value   Value
	Time    int64 // when the device says it measured, nanoseconds since the Unix epoch; meaningful only if Timed
	Timed   bool  // the device said when
	Quality Quality

	Derived bool  // computed by the gateway; the payload does not say it
	Meaning *Hash // SHA-256 of what gave it its name and unit: the payload of a birth message, a table, a description
}

// Flags qualify an entry.
type Flags uint64

// The flags of an entry.
const (
	Retained      Flags = 1 << iota // a replay of state, not a new message
	Redelivered                     // MQTT DUP
	QoS0                            // arrived with QoS 0: nothing was promised
	NotUnderstood                   // no decoder read it; there are no readings
	PayloadHashed                   // the payload is the SHA-256 of one that was not kept
	ByAgent                         // made by the agent itself, about the chain itself
	allFlags      = ByAgent<<1 - 1
)

// Quality qualifies a reading.
type Quality uint64

// The bits of a reading's quality.
const (
	Historical Quality = 1 << iota // stored and forwarded by the device
	Bad                            // bad, stale, or with a time beyond belief
	Zoneless                       // the time came without a zone
	allQuality = Zoneless<<1 - 1
)

// Salt keeps an entry's neighbours secret: a proof shows their hashes only, and without a salt a temperature could
// be guessed from its hash.
type Salt [16]byte

// Seed is the random secret from which the salts of consecutive entries come. It never leaves the gateway.
type Seed [32]byte

// Salt returns the salt of the i-th entry under the seed, counted from 0.
//
// SPEC: salt(i) = SHA-256(seed || uint64be(i))[:16]
func (s *Seed) Salt(i uint64) (salt Salt) {
	var b [len(s) + 8]byte
	copy(b[:], s[:])
	binary.BigEndian.PutUint64(b[len(s):], i)
	sum := sha256.Sum256(b[:])
	copy(salt[:], sum[:])
	return salt
}

// Append appends the entry's encoding to b. It fails, and b is then as it was, if the entry cannot stand in a chain:
// text that is not UTF-8, a value that is not finite, an undefined flag, readings beside [NotUnderstood], or more
// than [MaxEntry] bytes.
func (e *Entry) Append(b []byte) ([]byte, error) {
	start := len(b)
	b = appendBytes(appendArray(b, entryElements), e.Salt[:])
	b = appendInt(b, e.Received)
	b, err := e.AppendBody(b)
	if err == nil && len(b)-start > MaxEntry {
		err = fmt.Errorf("an entry of %d bytes is above the limit of %d", len(b)-start, MaxEntry)
	}
	if err != nil {
		return b[:start], err
	}
	return b, nil
}

// AppendBody appends what follows salt and time of arrival in the entry's encoding: source, flags, payload,
// decoder and readings. With [AppendEntry] it lets a store keep neither the salt, which its seed gives back, nor the whole time.
func (e *Entry) AppendBody(b []byte) ([]byte, error) {
	start := len(b)
	b, err := e.appendBody(b)
	if err != nil {
		return b[:start], fmt.Errorf("entry from %s: %w", quoted(e.Source), err)
	}
	return b, nil
}

func (e *Entry) appendBody(b []byte) (_ []byte, err error) {
	if b, err = appendText(b, e.Source); err != nil {
		return b, err
	}
	if err := e.Flags.check(len(e.Readings)); err != nil {
		return b, err
	}
	b = appendUint(b, uint64(e.Flags))
	b = appendBytes(b, e.Payload)
	if err := CheckDecoder(e.Decoder); err != nil {
		return b, err
	}
	b, _ = appendText(b, e.Decoder) // its characters are ASCII
	if len(e.Readings) > MaxReadings {
		return b, fmt.Errorf("%d readings are above the limit of %d", len(e.Readings), MaxReadings)
	}
	b = appendArray(b, len(e.Readings))
	for i := range e.Readings {
		if b, err = e.Readings[i].append(b); err != nil {
			return b, fmt.Errorf("reading %d: %w", i, err)
		}
	}
	return b, nil
}

// AppendEntry appends the encoding of the entry whose body [Entry.AppendBody] gave.
func AppendEntry(b []byte, salt Salt, received int64, body []byte) []byte {
	b = appendBytes(appendArray(b, entryElements), salt[:])
	return append(appendInt(b, received), body...)
}

// CheckDecoder refuses what cannot stand where an entry names its decoder.
//
// SPEC: its name as an aggregator's, a slash, and its version, 1 to 2^31−1 in plain digits
func CheckDecoder(decoder string) error {
	if !isDecoder(decoder) {
		return fmt.Errorf("decoder %s: a name, a slash and a version, like json/1", quoted(decoder))
	}
	return nil
}

// maxDecoder is the most bytes that a decoder's name with its version has.
const maxDecoder = maxName + len("/2147483647")

func isDecoder[T string | []byte](decoder T) bool {
	slash, version := 0, uint64(0)
	for slash < len(decoder) && decoder[slash] != '/' {
		slash++
	}
	digits := len(decoder) - slash - 1
	if digits < 1 || digits > len("2147483647") || decoder[slash+1] == '0' {
		return len(decoder) == 0
	}
	for i := slash + 1; i < len(decoder); i++ {
		c := decoder[i]
		if c < '0' || c > '9' {
			return false
		}
		version = 10*version + uint64(c-'0')
	}
	return version <= math.MaxInt32 && isName(decoder[:slash])
}

func (f Flags) check(readings int) error {
	switch {
	case f&^allFlags != 0:
		return fmt.Errorf("flags %#x: undefined bits", uint64(f))
	// SPEC: 3 not understood (readings is empty)
	case f&NotUnderstood != 0 && readings > 0:
		return errors.New("readings in an entry flagged as not understood")
	}
	return nil
}

func (r *Reading) append(b []byte) (_ []byte, err error) {
	more := count(r.Derived) + count(r.Meaning != nil)
	b = appendArray(b, 6+min(more, 1))
	for _, s := range [...]string{r.Device, r.Name, r.Unit} {
		if b, err = appendText(b, s); err != nil {
			return b, err
		}
	}
	if b, err = r.Value.append(b); err != nil {
		return b, err
	}
	if r.Timed {
		b = appendInt(b, r.Time)
	} else {
		b = append(b, cborNull)
	}
	if r.Quality&^allQuality != 0 {
		return b, fmt.Errorf("quality %#x: undefined bits", uint64(r.Quality))
	}
	b = appendUint(b, uint64(r.Quality))
	if more > 0 {
		b = appendMap(b, more)
	}
	if r.Derived {
		b = append(b, readingDerived, cborTrue)
	}
	if r.Meaning != nil {
		b = appendBytes(append(b, readingMeaning), r.Meaning[:])
	}
	return b, nil
}

// The keys of what a reading may have more.
const (
	readingDerived = 1
	readingMeaning = 2
)

// entryElements is how many elements the array has that an entry is.
const entryElements = 7

// leastReading is the fewest bytes that an encoded reading takes: three texts of none, a value, a time, a quality.
const leastReading = 7

// DecodeEntry reads one encoded entry. The entry keeps nothing of b.
func DecodeEntry(b []byte) (Entry, error) {
	e, err := decodeEntry(b)
	if err != nil {
		return Entry{}, fmt.Errorf("entry: %w", err)
	}
	return e, nil
}

func decodeEntry(b []byte) (e Entry, err error) {
	payload, _, err := e.read(b, false)
	if err == nil {
		e.Payload = append(make([]byte, 0, len(payload)), payload...)
	}
	return e, err
}

// checkEntry checks that b is an entry, as [DecodeEntry] does, and allocates nothing: a bundle may hold a million entries, of
// which no more is wanted. Of one of a person it returns what makes it a note; the payload is a part of b.
func checkEntry(b []byte) (note *Entry, err error) {
	var e Entry
	payload, source, err := e.read(b, true)
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	for _, s := range [...]string{SourceNote, SourceAttach} {
		if string(source) == s {
			note = &Entry{Source: s, Flags: e.Flags, Payload: payload}
		}
	}
	return note, nil
}

// read reads an entry but for its payload, which is a part of b, as source is; or it only checks that it is one.
func (e *Entry) read(b []byte, only bool) (payload, source []byte, err error) {
	if len(b) > MaxEntry {
		return nil, nil, fmt.Errorf("%d bytes are above the limit of %d", len(b), MaxEntry)
	}
	r := reader{b: b, only: only}
	r.tuple(entryElements)
	r.fixed(e.Salt[:])
	e.Received, source = r.int(), r.textBytes()
	e.Source, e.Flags = r.kept(source), Flags(r.uint())
	payload = r.bytes(MaxEntry)
	decoder := r.shortText(maxDecoder)
	if r.err == nil && !isDecoder(decoder) {
		return nil, nil, CheckDecoder(string(decoder))
	}
	e.Decoder = r.kept(decoder)
	readings := r.array(0, MaxReadings, leastReading)
	if err := e.Flags.check(readings); r.err == nil && err != nil {
		return nil, nil, err
	}
	if readings > 0 && !only {
		e.Readings = make([]Reading, readings)
	}
	for i := range readings {
		var one Reading
		if one.decode(&r); r.err != nil {
			return nil, nil, fmt.Errorf("reading %d: %w", i, r.err)
		}
		if !only {
			e.Readings[i] = one
		}
	}
	return payload, source, r.end()
}

func (m *Reading) decode(r *reader) {
	elements := r.array(6, 7, 1)
	m.Device, m.Name, m.Unit, m.Value = r.text(), r.text(), r.text(), r.value()
	if m.Timed = !r.null(); m.Timed {
		m.Time = r.int()
	}
	if m.Quality = Quality(r.uint()); m.Quality&^allQuality != 0 {
		r.fail(fmt.Errorf("quality %#x: undefined bits", uint64(m.Quality)))
	}
	if elements < 7 {
		return
	}
	set := r.fields(func(key uint64) {
		switch key {
		case readingDerived:
			// SPEC: derived: true, never false
			if !r.true() {
				r.fail(errors.New("a derived bit that is not true"))
			}
			m.Derived = true
		case readingMeaning:
			if r.only {
				var passed Hash
				r.fixed(passed[:])
				return
			}
			m.Meaning = new(Hash)
			r.fixed(m.Meaning[:])
		default:
			r.unknown(key)
		}
	})
	if r.err == nil && set == 0 {
		r.fail(errors.New("a reading with an empty map"))
	}
}
