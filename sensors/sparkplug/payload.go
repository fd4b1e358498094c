package sparkplug

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"edgechain.example/sensors"
)

// Bounds of one payload.
const (
	maxMetrics  = 16384   // those of templates counted, too
	maxInflated = 4 << 20 // bytes that a compressed payload may become
	maxDepth    = 8       // templates and property sets inside one another
)

// payload is a message of the protocol. What is []byte points into the bytes that it was read from.
type payload struct {
	timestamp  uint64 // milliseconds since the Unix epoch
	timed      bool
	seq        uint64
	sequenced  bool
	uuid, body []byte
	metrics    []metric
	inflated   bool // it was compressed
}

// metric is one of its metrics, and also a member of a template, a parameter, a property, or a cell of a dataset, which are
// written alike but for their field numbers.
type metric struct {
	name       []byte
	named      bool
	alias      uint64
	aliased    bool
	timestamp  uint64
	timed      bool
	datatype   uint32 // 0: it does not say
	historical bool
	null       bool
	properties []byte // a PropertySet as it is encoded

	field protowire.Number // valueInt to valueTemplate; 0: there is no value; valueOther: one that this version does not know
	bits  uint64           // of a number
	data  []byte           // of all else
}

// The fields of a metric that are its value.
const (
	valueInt protowire.Number = 10 + iota
	valueLong
	valueFloat
	valueDouble
	valueBool
	valueString
	valueBytes
	valueDataSet
	valueTemplate
	valueOther
)

var errMetrics = errors.New("more metrics than are read of one message")

// fields calls do for each field of a message. Fields that do not have the wire type that a reader expects are skipped by it, as
// they are by every reader of protocol buffers.
func fields(b []byte, do func(n protowire.Number, t protowire.Type, bits uint64, data []byte) error) error {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		var bits uint64
		var data []byte
		switch t {
		case protowire.VarintType:
			bits, size = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, size = protowire.ConsumeFixed32(b)
			bits = uint64(v)
		case protowire.Fixed64Type:
			bits, size = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			data, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, t, b)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if err := do(n, t, bits, data); err != nil {
			return err
		}
	}
	return nil
}

// read reads a payload, over what p held.
func (p *payload) read(b []byte) error {
	*p = payload{metrics: p.metrics[:0]}
	return fields(b, func(n protowire.Number, t protowire.Type, bits uint64, data []byte) error {
		switch {
		case n == 1 && t == protowire.VarintType:
			p.timestamp, p.timed = bits, true
		case n == 2 && t == protowire.BytesType:
			if len(p.metrics) >= maxMetrics {
				return errMetrics
			}
			p.metrics = append(p.metrics, metric{})
			return p.metrics[len(p.metrics)-1].read(data)
		case n == 3 && t == protowire.VarintType:
			p.seq, p.sequenced = bits, true
		case n == 4 && t == protowire.BytesType:
			p.uuid = data
		case n == 5 && t == protowire.BytesType:
			p.body = data
		}
		return nil
	})
}

// forget lets go of the bytes that it was read from.
func (p *payload) forget() {
	clear(p.metrics)
	*p = payload{metrics: p.metrics[:0]}
}

// read reads a metric.
func (m *metric) read(b []byte) error {
	return fields(b, func(n protowire.Number, t protowire.Type, bits uint64, data []byte) error {
		if n >= valueInt && n <= valueOther {
			m.value(n, t, bits, data)
			return nil
		}
		if t == protowire.BytesType {
			switch n {
			case 1:
				m.name, m.named = data, len(data) > 0
			case 9:
				m.properties = data
			}
			return nil
		}
		if t != protowire.VarintType {
			return nil
		}
		switch n {
		case 2:
			m.alias, m.aliased = bits, true
		case 3:
			m.timestamp, m.timed = bits, true
		case 4:
			m.datatype = uint32(bits)
		case 5:
			m.historical = bits != 0
		case 7:
			m.null = bits != 0
		}
		return nil
	})
}

// value takes a field as the value if it has the wire type of one. Of several the last one counts, as in every oneof.
func (m *metric) value(n protowire.Number, t protowire.Type, bits uint64, data []byte) {
	want := protowire.BytesType
	switch n {
	case valueInt, valueLong, valueBool:
		want = protowire.VarintType
	case valueFloat:
		want = protowire.Fixed32Type
	case valueDouble:
		want = protowire.Fixed64Type
	}
	if t == want {
		m.field, m.bits, m.data = n, bits, data
	}
}

// readPart reads what is written like a metric but for its field numbers: shift is what takes the number of its int_value to a
// metric's; typeField is where its datatype stands, or 0.
func (m *metric) readPart(b []byte, shift, typeField, nameField, nullField protowire.Number) error {
	return fields(b, func(n protowire.Number, t protowire.Type, bits uint64, data []byte) error {
		switch {
		case n == typeField && t == protowire.VarintType:
			m.datatype = uint32(bits)
		case n == nullField && t == protowire.VarintType:
			m.null = bits != 0
		case n == nameField && t == protowire.BytesType:
			m.name, m.named = data, true
		case n+shift >= valueInt && n+shift <= valueString:
			m.value(n+shift, t, bits, data)
		case n+shift > valueString:
			m.field = valueOther
		}
		return nil
	})
}

func (m *metric) readParameter(b []byte) error { return m.readPart(b, 7, 2, 1, 0) }
func (m *metric) readProperty(b []byte) error  { return m.readPart(b, 7, 1, 0, 2) }
func (m *metric) readCell(b []byte) error      { return m.readPart(b, 9, 0, 0, 0) }

// numbers reads a repeated uint32, which may stand packed or one by one.
func numbers(into []uint32, t protowire.Type, bits uint64, data []byte) ([]uint32, error) {
	if t == protowire.VarintType {
		return append(into, uint32(bits)), nil
	}
	for t == protowire.BytesType && len(data) > 0 {
		v, size := protowire.ConsumeVarint(data)
		if size < 0 {
			return into, protowire.ParseError(size)
		}
		into, data = append(into, uint32(v)), data[size:]
	}
	return into, nil
}

// compressed is the uuid of a payload whose body is another one, compressed.
const compressed = "SPBV1.0_COMPRESSED"

// readAny reads a payload that may be compressed. The specification does not know these; the clients of its own project send
// them. What is outside of the body says only how it was compressed, and counts where the body says nothing else.
func (p *payload) readAny(b []byte) error {
	if err := p.read(b); err != nil || string(p.uuid) != compressed {
		return err
	}
	algorithm := ""
	for i := range p.metrics {
		if m := &p.metrics[i]; string(m.name) == "algorithm" && m.field == valueString {
			algorithm = string(m.data)
		}
	}
	body, err := inflate(algorithm, p.body)
	if err != nil {
		return err
	}
	outer := *p
	outer.metrics = nil
	if err := p.read(body); err != nil {
		return fmt.Errorf("the payload inside the compressed one: %w", err)
	}
	p.inflated = true
	if !p.sequenced {
		p.seq, p.sequenced = outer.seq, outer.sequenced
	}
	if !p.timed {
		p.timestamp, p.timed = outer.timestamp, outer.timed
	}
	return nil
}

// inflate decompresses a body: DEFLATE, with zlib's frame or without it, or GZIP, which its first bytes tell apart whatever the
// payload says.
func inflate(algorithm string, body []byte) ([]byte, error) {
	var r io.Reader
	var err error
	switch {
	case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(bytes.NewReader(body))
	case len(body) > 1 && body[0]&0x0f == 8 && (uint(body[0])<<8|uint(body[1]))%31 == 0:
		r, err = zlib.NewReader(bytes.NewReader(body))
	default:
		r = flate.NewReader(bytes.NewReader(body))
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing the body (%.20q): %w", algorithm, err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	if err != nil {
		return nil, fmt.Errorf("decompressing the body (%.20q): %w", algorithm, err)
	}
	if len(out) > maxInflated {
		return nil, sensors.NotUnderstood(sensors.TooLarge, "the compressed payload has more than %d bytes", maxInflated)
	}
	return out, nil
}

// appendRequest appends a command that asks a node for its birth.
//
// Sparkplug 3.0, tck-id-operational-behavior-data-commands-ncmd-rebirth-name and -value: "A Rebirth Request MUST include a metric
// with a name of 'Node Control/Rebirth' … a metric value of true"; tck-id-payloads-ncmd-seq: it has no sequence number.
func appendRequest(b []byte, ms uint64) []byte {
	var m []byte
	m = protowire.AppendTag(m, 1, protowire.BytesType)
	m = protowire.AppendString(m, rebirthMetric)
	m = protowire.AppendTag(m, 3, protowire.VarintType)
	m = protowire.AppendVarint(m, ms)
	m = protowire.AppendTag(m, 4, protowire.VarintType)
	m = protowire.AppendVarint(m, uint64(typeBoolean))
	m = protowire.AppendTag(m, valueBool, protowire.VarintType)
	m = protowire.AppendVarint(m, 1)
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, ms)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, m)
}

func float32Of(bits uint64) float32 { return math.Float32frombits(uint32(bits)) }
