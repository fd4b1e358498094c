package sparkplug

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"io"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// A message is bytes of protocol buffers, made field by field.
type message []byte

func (m message) uint(n protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), v)
}

func (m message) bytes(n protowire.Number, v []byte) message {
	return protowire.AppendBytes(protowire.AppendTag(m, n, protowire.BytesType), v)
}

func (m message) text(n protowire.Number, v string) message { return m.bytes(n, []byte(v)) }

func (m message) float(n protowire.Number, v float32) message {
	return protowire.AppendFixed32(protowire.AppendTag(m, n, protowire.Fixed32Type), math.Float32bits(v))
}

func (m message) double(n protowire.Number, v float64) message {
	return protowire.AppendFixed64(protowire.AppendTag(m, n, protowire.Fixed64Type), math.Float64bits(v))
}

const sent = 1700000000000 // milliseconds since the Unix epoch

var arrived = time.UnixMilli(sent + 40)

// payloadOf is a payload with its metrics, without a number where seq is below 0.
func payloadOf(seq int, metrics ...message) []byte {
	m := message{}.uint(1, sent)
	for _, each := range metrics {
		m = m.bytes(2, each)
	}
	if seq >= 0 {
		m = m.uint(3, uint64(seq))
	}
	return m
}

// metricOf begins a metric; an alias below 0, and an empty name, is none.
func metricOf(name string, alias int, datatype uint32) message {
	var m message
	if name != "" {
		m = m.text(1, name)
	}
	if alias >= 0 {
		m = m.uint(2, uint64(alias))
	}
	m = m.uint(3, sent-10)
	if datatype != 0 {
		m = m.uint(4, uint64(datatype))
	}
	return m
}

// property is a property set of one.
func property(key string, datatype uint32, value message) message {
	return message{}.text(1, key).bytes(2, append(message{}.uint(1, uint64(datatype)), value...))
}

// nbirthOf is the birth of a node that has a counter of births, the control that every node has, and metrics.
func nbirthOf(bdSeq int, metrics ...message) []byte {
	return payloadOf(0, append([]message{
		metricOf(bdSeqMetric, -1, typeInt64).uint(valueLong, uint64(bdSeq)),
		metricOf(rebirthMetric, -1, typeBoolean).uint(valueBool, 0),
	}, metrics...)...)
}

func ndeathOf(bdSeq int) []byte {
	return message{}.uint(1, sent).bytes(2, metricOf(bdSeqMetric, -1, typeInt64).uint(valueLong, uint64(bdSeq)))
}

// A plant is a Host with a clock of the test's own.
type plant struct {
	*Host
	t     testing.TB
	clock time.Time
}

func newPlant(t testing.TB, c Config) *plant {
	p := &plant{t: t, clock: time.UnixMilli(sent)}
	c.Now = func() time.Time { return p.clock }
	p.Host = New(c)
	return p
}

// flagsOf are those with which a conforming message arrives.
func flagsOf(topic string) lightchain.Flags {
	if t, ok := parseTopic(topic); ok && t.kind != ndeath && t.kind != state {
		return lightchain.QoS0
	}
	return 0
}

// hear reads a message, and requires that what is made of it can stand in an entry.
func (p *plant) hear(topic string, b []byte) (sensors.Result, error) {
	p.t.Helper()
	return p.hearFlagged(topic, flagsOf(topic), b)
}

func (p *plant) hearFlagged(topic string, flags lightchain.Flags, b []byte) (sensors.Result, error) {
	p.t.Helper()
	before := string(b)
	got, err := p.Read(topic, flags, b, arrived)
	if err != nil && sensors.ReasonOf(err) == "" {
		p.t.Fatalf("an error without a reason: %v", err)
	}
	e := lightchain.Entry{Source: "mqtt:plant:" + topic, Received: arrived.UnixNano(), Flags: flags, Payload: b, Decoder: got.Decoder, Readings: got.Readings}
	if _, bad := e.Append(nil); bad != nil {
		p.t.Fatalf("what was read cannot stand in an entry: %v", bad)
	}
	if before != string(b) {
		p.t.Fatal("the payload was changed")
	}
	return got, err
}

// must hears a message that has to be understood.
func (p *plant) must(topic string, b []byte) sensors.Result {
	p.t.Helper()
	got, err := p.hear(topic, b)
	if err != nil {
		p.t.Fatalf("%s: %v", topic, err)
	}
	return got
}

// events returns all that is to be told.
func (p *plant) events() []Event {
	events, more := p.Events(1000)
	if more != 0 {
		p.t.Errorf("%d more wait", more)
	}
	return events
}

// whatsOf are the words of events.
func whatsOf(events []Event) (all []string) {
	for _, e := range events {
		all = append(all, e.What.String())
	}
	return all
}

// reading returns the reading with a name.
func readingOf(t testing.TB, got sensors.Result, name string) lightchain.Reading {
	t.Helper()
	for _, r := range got.Readings {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no reading %q among %v", name, got.Readings)
	return lightchain.Reading{}
}

// squeeze compresses.
func squeeze(t testing.TB, kind string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch kind {
	case "GZIP":
		w = gzip.NewWriter(&out)
	case "DEFLATE":
		w = zlib.NewWriter(&out)
	default:
		w, _ = flate.NewWriter(&out, flate.DefaultCompression)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func little(width int, values ...int64) (b []byte) {
	for _, v := range values {
		var all [8]byte
		binary.LittleEndian.PutUint64(all[:], uint64(v))
		b = append(b, all[:width]...)
	}
	return b
}
