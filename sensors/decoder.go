package sensors

import (
	"math"
	"strings"
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
const DecoderVersion = 2

// maxReadingsSize bounds the bytes that the readings of one message take in its entry: a long name around a thousand
// numbers must not grow into an entry above [lightchain.MaxEntry].
const maxReadingsSize = 4 << 20

// Decoder turns payloads into readings, as its [Config] says. It is safe for concurrent use.
type Decoder struct {
	dialect    dialect
	deviceFrom deviceFrom
	rules      []topicRule
	device     string
	unit       string
	units      map[string]string
	anyUnits   []anyUnit // of names with a "*"
	numbers    [][]string

	// Fields by the name that they would have as a reading, and where messages lie. named says that any of them is set.
	named                                      bool
	timePath, unitPath, valuePath, qualityPath string
	devicePath, namePath                       []string
	qualityGood                                []string
	fields, ignore                             [][]string
	messages                                   []string
	messagesOnly                               bool
	clock                                      clock

	columns   []string
	separator string
	pattern   matcher
	zoned     bool // the configuration says where times without a zone are from

	cbor  cbor.DecMode
	walks sync.Pool // of *walk: room for the readings, keys and paths of one payload
}

type anyUnit struct {
	name []string
	unit string
}

// arrival is one message on its way through a decoder.
type arrival struct {
	payload  []byte
	place    place
	received int64 // nanoseconds since the Unix epoch

	by    dialect // whose decoder was the last to try
	doubt string  // what could not be read of a payload that was read
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

// Result is what a decoder understood of a payload.
type Result struct {
	Readings []lightchain.Reading
	Decoder  string // that read it, as an entry names it: of "auto" the one that was chosen
	Doubt    string // what the payload should have said, and did not; "" if nothing
}

// SparkplugNamespace begins the topics of Sparkplug B.
const SparkplugNamespace = "spBv1.0/"

// SparkplugCertificates stands before it where a broker that is aware of Sparkplug keeps the newest births.
const SparkplugCertificates = "$sparkplug/certificates/"

// SparkplugName is the decoder of its payloads, as an entry names it.
func SparkplugName() string { return decoderNames[sparkplugB] }

// Stateful reports whether messages on a topic are read by what other messages said, which a Decoder does not remember: those
// of Sparkplug B, where the configuration says so, or leaves it to the topic.
func (d *Decoder) Stateful(topic string) bool {
	return d.dialect == sparkplugB || d.dialect == auto && strings.HasPrefix(strings.TrimPrefix(topic, SparkplugCertificates), SparkplugNamespace)
}

// Read is [Decoder.Decode] that tells more.
func (d *Decoder) Read(topic, clientID string, payload []byte, received time.Time) (Result, error) {
	readings, in, err := d.read(topic, clientID, payload, received)
	if err != nil {
		return Result{}, err
	}
	return Result{readings, decoderNames[in.by], in.doubt}, nil
}

// Again reads a payload once more by the decoder that an entry names, without the configuration that it had there. It is
// not known here if it is none of this package, or of another version.
func Again(decoder, topic, clientID string, payload []byte, received time.Time) (readings []lightchain.Reading, known bool, err error) {
	decoders, err := unconfigured()
	if err != nil {
		return nil, false, err
	}
	d, known := decoders[decoder]
	if !known {
		return nil, false, nil
	}
	readings, err = d.Decode(topic, clientID, payload, received)
	return readings, true, err
}

// unconfigured returns the decoders that need no configuration, by their names: what [New] makes of none, but for the dialect. It does
// not call that, since a verifier is smaller by what reads a configuration. How lines of CSV, pairs and patterns are parted
// says the configuration, and what a payload of Sparkplug means a birth.
var unconfigured = sync.OnceValues(func() (map[string]*Decoder, error) {
	modes, err := cborModes()
	if err != nil {
		return nil, err
	}
	decoders := map[string]*Decoder{}
	for by, name := range decoderNames {
		if by := dialect(by); name == "" || by == csvLines || by == pairs || by == byPattern || by == sparkplugB {
			continue
		}
		decoders[name] = &Decoder{dialect: dialect(by), deviceFrom: fromTopic, clock: anyTime, cbor: modes}
	}
	return decoders, nil
})

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

func (d *Decoder) read(topic, clientID string, payload []byte, received time.Time) ([]lightchain.Reading, arrival, error) {
	if !utf8.ValidString(topic) || !utf8.ValidString(clientID) {
		return nil, arrival{}, refuse(BadUTF8, "the topic or the client id is not UTF-8")
	}
	in := arrival{payload: payload, place: d.locate(topic, clientID), received: Nanoseconds(received)}
	out, err := d.decode(&in)
	if err != nil {
		return nil, in, err
	}
	for _, r := range in.place.fields {
		r.Device = in.place.device
		out = append(out, r)
	}
	if size := readingsSize(out); size > maxReadingsSize {
		return nil, in, refuse(TooLarge, "%d readings of %d bytes, above the limit of %d", len(out), size, maxReadingsSize)
	}
	return out, in, nil
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
	case jsonLines:
		return d.decodeLines(in)
	case cborMap:
		return d.decodeCBOR(in)
	case influx:
		return d.decodeInflux(in)
	case csvLines:
		return d.decodeCSV(in)
	case pairs:
		return d.decodePairs(in)
	case byPattern:
		return d.decodePattern(in)
	case p1:
		return d.decodeP1(in)
	case nmea:
		return d.decodeNMEA(in)
	case value:
		return d.decodeValue(in)
	case raw:
		return d.decodeRaw(in)
	case sparkplugB:
		return nil, refuse(NoBirth, "a message of Sparkplug is read by what knows the node's birth, which is not here")
	}
	return d.decodeAuto(in)
}

// decodeAuto takes the first of senml, json, influx, value and raw that decodes the whole payload; influx only with times in it.
//
// A payload that begins as a JSON object or array, or ends as one, is JSON or nobody's: if raw took what is cut short, nothing
// would ever be told as not understood. So are a bare number that overflows, a bare NaN, and bytes that are no text. An empty
// payload, with which MQTT erases a retained message, is understood and has no readings.
func (d *Decoder) decodeAuto(in *arrival) ([]lightchain.Reading, error) {
	if len(in.payload) == 0 {
		in.by = raw
		return nil, nil
	}
	if first := in.payload[0]; 0x80 <= first && first <= 0x9f { // a CBOR array; no UTF-8 begins so
		in.by = senmlCBOR
		if out, err := d.decodeSenMLCBOR(in); err == nil {
			return out, nil
		}
	}
	text, err := textOf(in.payload)
	if err != nil {
		return nil, refuse(ReasonOf(err), "the bytes are no text in UTF-8, and no SenML in CBOR; a dialect that reads them must be named, raw keeps them as they are")
	}
	first := firstByte(text)
	if first == '[' {
		in.by = senmlJSON
		out, err := d.decodeSenMLJSON(in)
		if r := ReasonOf(err); err == nil || r == UnknownLabel || r == NewVersion || r == DuplicateKey {
			return out, err // what SenML forbids to use is not used as something else
		}
	}
	in.by = jsonText
	out, err := d.decodeJSON(in)
	if err == nil || first == '{' || first == '[' || first == '"' && ReasonOf(err) != Syntax {
		return out, err
	}
	if out, err := d.decodeInfluxWithTimes(in); err == nil {
		in.by = influx
		return out, nil
	}
	in.by = value
	out, err = d.decodeValue(in)
	if r := ReasonOf(err); err == nil && !behindGarbage(text) || r == Overflow || r == NotFinite {
		return out, err
	}
	if err == nil {
		return nil, refuse(Syntax, "a JSON text stands behind %.40q", text)
	}
	if text != "" && strings.Trim(text, " \t\r\n") == "" {
		in.by = raw
		return d.decodeRaw(in)
	}
	return nil, err
}

// firstByte returns the first byte that is not white space, or 0.
func firstByte(s string) byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// unitOf returns the unit of a reading: the one configured for its name, else, for a number, the message's.
func (d *Decoder) unitOf(r *lightchain.Reading, messageUnit string) string {
	name := r.Name
	if r.Derived { // of an array's samples: in its unit, but for how many there are
		at := strings.LastIndexByte(name, '/')
		if name[at+1:] == "count" {
			return ""
		}
		name = name[:at]
	}
	if u, ok := d.units[name]; ok {
		return u
	}
	for _, p := range d.anyUnits {
		if matchesField(p.name, name) {
			return p.unit
		}
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
