package sensors

import (
	"fmt"
	"math"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"edgechain.example/lightchain"
)

// DecoderVersion counts changes in what the decoders of this package make of a payload. It belongs into what the
// configuration's hash covers, so that an entry's readings can be derived again from its payload.
//
// SPEC: Decoders have versions, and an entry names the one that read it
const DecoderVersion = 1

// maxReadingsSize bounds the bytes that the readings of one message take in its entry: a long name around a thousand
// numbers must not grow into an entry above [lightchain.MaxEntry].
const maxReadingsSize = 4 << 20

// Decoder turns payloads into readings, as its [Config] says. It is safe for concurrent use.
type Decoder struct {
	dialect dialect
	rules   []topicRule
	device  string
	unit    string
	units   map[string]string

	// Of the json dialect: fields by the name that they would have as a reading, and where messages lie in it.
	timePath, devicePath, unitPath string
	messages                       []string
	clock                          clock

	cbor  cbor.DecMode
	walks sync.Pool // of *walk: room for the readings, keys and paths of one payload
}

// arrival is one message on its way through a decoder.
type arrival struct {
	payload  []byte
	place    place
	received int64 // nanoseconds since the Unix epoch

	by dialect // whose decoder was the last to try
}

// Nanoseconds returns a time as an entry holds it: nanoseconds since the Unix epoch. One that 64 bits do not hold, as a
// clock may show before it is set, is the last or first that they do.
func Nanoseconds(t time.Time) int64 {
	switch s := t.Unix(); {
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	case s <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	}
	return t.UnixNano()
}

// decoderNames are those of the built-in decoders in an entry, each with the version of them all.
var decoderNames = func() (names [raw + 1]string) {
	for d, name := range [...]string{senmlJSON: "senml-json", senmlCBOR: "senml-cbor", jsonText: "json", value: "value", raw: "raw"} {
		names[d] = fmt.Sprintf("%s/%d", name, DecoderVersion)
	}
	return names
}()

// Read is [Decoder.Decode] that also names the decoder that read the payload, as an entry does: of "auto" the one that it
// chose. Where none did it is "".
func (d *Decoder) Read(topic, clientID string, payload []byte, received time.Time) (readings []lightchain.Reading, decoder string, err error) {
	readings, by, err := d.read(topic, clientID, payload, received)
	if err != nil {
		return nil, "", err
	}
	return readings, decoderNames[by], nil
}

// Again reads a payload once more by the decoder that an entry names, without the configuration that it had there. It is
// not known here if it is none of this package, or of another version.
func Again(decoder, topic, clientID string, payload []byte, received time.Time) (readings []lightchain.Reading, known bool, err error) {
	d, err := New(Config{})
	if err != nil {
		return nil, false, err
	}
	for by, name := range decoderNames {
		if name == decoder && name != "" {
			d.dialect = dialect(by)
			readings, err = d.Decode(topic, clientID, payload, received)
			return readings, true, err
		}
	}
	return nil, false, nil
}

// Decode returns the readings of a payload that arrived on a topic at a time, by the gateway's clock. clientID is
// who published it at the embedded broker, else "". Readings may be none. An error is a [*NotUnderstoodError]: the
// message is then sealed without readings, and with the flag that says so.
//
// What Decode returns can stand in an entry: text is UTF-8, numbers are finite, and they take at most 4 MiB. Neither
// payload nor topic is kept or changed.
func (d *Decoder) Decode(topic, clientID string, payload []byte, received time.Time) ([]lightchain.Reading, error) {
	readings, _, err := d.read(topic, clientID, payload, received)
	return readings, err
}

func (d *Decoder) read(topic, clientID string, payload []byte, received time.Time) ([]lightchain.Reading, dialect, error) {
	if !utf8.ValidString(topic) || !utf8.ValidString(clientID) {
		return nil, d.dialect, refuse(BadUTF8, "the topic or the client id is not UTF-8")
	}
	in := arrival{payload: payload, place: d.locate(topic, clientID), received: Nanoseconds(received)}
	out, err := d.decode(&in)
	if err != nil {
		return nil, in.by, err
	}
	for _, r := range in.place.fields {
		r.Device = in.place.device
		out = append(out, r)
	}
	if size := readingsSize(out); size > maxReadingsSize {
		return nil, in.by, refuse(TooLarge, "%d readings of %d bytes, above the limit of %d", len(out), size, maxReadingsSize)
	}
	return out, in.by, nil
}

func (d *Decoder) decode(in *arrival) ([]lightchain.Reading, error) {
	in.by = d.dialect
	switch d.dialect {
	case senmlJSON:
		return d.decodeSenMLJSON(in)
	case senmlCBOR:
		return d.decodeSenMLCBOR(in)
	case jsonText:
		return d.decodeJSON(in)
	case value:
		return d.decodeValue(in)
	case raw:
		return d.decodeRaw(in)
	}
	return d.decodeAuto(in)
}

// decodeAuto takes the first of senml, json, value and raw that decodes the whole payload.
//
// A payload that begins as a JSON object or array is JSON or nobody's: if raw took what is cut short or repeats a
// key, nothing would ever be told as not understood. So are a bare number that overflows and a bare NaN. An empty
// payload, with which MQTT erases a retained message, is understood and has no readings.
func (d *Decoder) decodeAuto(in *arrival) ([]lightchain.Reading, error) {
	first := firstByte(in.payload)
	if first == '[' {
		in.by = senmlJSON
		out, err := d.decodeSenMLJSON(in)
		if r := ReasonOf(err); err == nil || r == UnknownLabel || r == NewVersion {
			return out, err // what SenML forbids to use is not used as something else
		}
	}
	if 0x80 <= first && first <= 0x9f { // a CBOR array; no UTF-8 begins so
		in.by = senmlCBOR
		if out, err := d.decodeSenMLCBOR(in); err == nil {
			return out, nil
		}
		in.by = raw
		return d.decodeRaw(in)
	}
	in.by = jsonText
	out, err := d.decodeJSON(in)
	if err == nil || first == '{' || first == '[' || first == '"' && ReasonOf(err) != Syntax {
		return out, err
	}
	in.by = value
	out, err = d.decodeValue(in)
	if r := ReasonOf(err); err == nil || r == Overflow || r == NotFinite {
		return out, err
	}
	in.by = raw
	return d.decodeRaw(in)
}

// firstByte returns the first byte that is not white space, or 0.
func firstByte(b []byte) byte {
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// unitOf returns the unit of a reading: the one configured for its name, else, for a number, the message's.
func (d *Decoder) unitOf(r *lightchain.Reading, messageUnit string) string {
	if u, ok := d.units[r.Name]; ok {
		return u
	}
	switch r.Value.Kind() {
	case lightchain.KindInt, lightchain.KindFloat:
		return messageUnit
	}
	return ""
}

// readingsSize is at least what the readings take in an entry's encoding.
func readingsSize(rs []lightchain.Reading) (n int) {
	for i := range rs {
		r := &rs[i]
		text, _ := r.Value.Text()
		n += len(r.Device) + len(r.Name) + len(r.Unit) + len(text) + 48
	}
	return n
}
