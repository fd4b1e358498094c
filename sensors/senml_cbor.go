package sensors

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strconv"

	"github.com/fxamacker/cbor/v2"

	"edgechain.example/lightchain"
)

// cborModes returns how the CBOR of a SenML record is read: any well-formed encoding, since a device's CBOR need not
// be deterministic as the chain's is.
func cborModes() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:       cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels: maxDepth - 1, // the pack is the outermost level
	}.DecMode()
}

// decodeSenMLCBOR reads application/senml+cbor, and one message of sensml+cbor (RFC 8428, section 6): an array of
// definite or indefinite length.
func (d *Decoder) decodeSenMLCBOR(in *arrival) ([]lightchain.Reading, error) {
	records, left, err := cborArray(in.payload)
	if err != nil {
		return nil, err
	}
	p := pack{arrival: *in, d: d}
	for left != 0 {
		if left < 0 && len(records) > 0 && records[0] == 0xff {
			records = records[1:]
			break
		}
		var labels map[any]cbor.RawMessage
		if records, err = d.cbor.UnmarshalFirst(records, &labels); err != nil {
			return nil, cborError(err)
		}
		var r record
		for label, raw := range labels {
			if err := d.cborField(&r, label, raw); err != nil {
				return nil, err
			}
		}
		if err := p.add(&r); err != nil {
			return nil, err
		}
		if left > 0 {
			left--
		}
	}
	if len(records) > 0 {
		return nil, refuse(Syntax, "%d bytes after the pack", len(records))
	}
	return p.end()
}

// cborArray reads the head of an array: what follows it, and how many elements that is, −1 for as many as come.
func cborArray(b []byte) (rest []byte, n int64, err error) {
	if len(b) == 0 {
		return nil, 0, refuse(Empty, "no payload")
	}
	if b[0]>>5 != 4 {
		return nil, 0, refuse(NotSenML, "a SenML pack is an array; this begins with the byte %#x", b[0])
	}
	var wide [8]byte
	switch info := b[0] & 31; {
	case info < 24:
		return b[1:], int64(info), nil
	case info == 31:
		return b[1:], -1, nil
	case info > 27 || len(b) < 1+1<<(info-24):
		return nil, 0, refuse(Syntax, "the head of the pack is cut short or reserved")
	default:
		size := 1 << (info - 24)
		copy(wide[8-size:], b[1:])
		b = b[1+size:]
	}
	count := binary.BigEndian.Uint64(wide[:])
	if count > uint64(len(b)) {
		return nil, 0, refuse(Syntax, "cut short: %d records announced in %d bytes", count, len(b))
	}
	return b, int64(count), nil
}

// cborField puts one label and its value into the record.
func (d *Decoder) cborField(r *record, label any, raw cbor.RawMessage) error {
	f := fields
	switch label := label.(type) {
	case uint64:
		if label <= 8 {
			f = fieldN + field(label)
		}
	case int64:
		if -6 <= label && label < 0 {
			f = fieldN - field(-label)
		}
	case string:
		return unknownLabel(label)
	default:
		return refuse(NotSenML, "a label that is neither an integer nor text")
	}
	if f == fields {
		return nil
	}
	var x any
	if err := d.cbor.Unmarshal(raw, &x); err != nil {
		return cborError(err)
	}
	v, text, err := cborValue(x)
	if err != nil {
		return err
	}
	return r.put(f, v, text)
}

// cborValue takes what the library made of a value.
func cborValue(x any) (v lightchain.Value, text decimal, err error) {
	switch x := x.(type) {
	case bool:
		return lightchain.Bool(x), "", nil
	case string:
		return lightchain.Text(x), "", nil
	case []byte:
		return lightchain.Bytes(x), "", nil
	case uint64:
		text = decimal(strconv.FormatUint(x, 10))
		if x > math.MaxInt64 {
			return lightchain.Float(float64(x)), text, nil
		}
		return lightchain.Int(int64(x)), text, nil
	case int64:
		return lightchain.Int(x), decimal(strconv.FormatInt(x, 10)), nil
	case big.Int: // a negative integer below −2^63
		f, _ := new(big.Float).SetInt(&x).Float64()
		v, err = finite(f)
		return v, decimal(formatFloat(f)), err
	case float64:
		v, err = finite(x)
		return v, decimal(formatFloat(x)), err
	case cbor.Tag:
		if text, ok := decimalFraction(x); ok {
			f, err := strconv.ParseFloat(string(text), 64)
			if err != nil {
				return v, "", refuse(Overflow, "the decimal fraction %.40q is beyond a 64-bit float", string(text))
			}
			return lightchain.Float(f), text, nil
		}
	}
	return v, "", refuse(NotSenML, "a value that no SenML field has")
}

// decimalFraction reads a decimal fraction, tag 4 (RFC 8949, section 3.4.4): exponent and mantissa, base ten.
func decimalFraction(t cbor.Tag) (decimal, bool) {
	const wide = 1024 // bits of a mantissa: more than a float's range; turning long ones into digits takes long
	parts, ok := t.Content.([]any)
	if t.Number != 4 || !ok || len(parts) != 2 {
		return "", false
	}
	var exponent, mantissa string
	switch e := parts[0].(type) {
	case uint64:
		exponent = strconv.FormatUint(e, 10)
	case int64:
		exponent = strconv.FormatInt(e, 10)
	default:
		return "", false
	}
	switch m := parts[1].(type) {
	case uint64:
		mantissa = strconv.FormatUint(m, 10)
	case int64:
		mantissa = strconv.FormatInt(m, 10)
	case big.Int:
		if m.BitLen() > wide {
			return "", false
		}
		mantissa = m.String()
	default:
		return "", false
	}
	return decimal(mantissa + "e" + exponent), true
}

// formatFloat writes the shortest decimal number that reads back as f: a time as the device meant it.
func formatFloat(f float64) string { return strconv.FormatFloat(f, 'e', -1, 64) }

// finite returns f as a value.
func finite(f float64) (lightchain.Value, error) {
	switch {
	// SPEC: NaN and infinities […] so does each of these in SenML
	case math.IsNaN(f):
		return lightchain.Value{}, refuse(NotFinite, "a value is NaN")
	case math.IsInf(f, 0):
		return lightchain.Value{}, refuse(Overflow, "a value is infinite")
	}
	return lightchain.Float(f), nil
}

// cborError gives an error of the library its reason.
func cborError(err error) error {
	var (
		repeated *cbor.DupMapKeyError
		deep     *cbor.MaxNestedLevelError
		text     *cbor.SemanticError
		kind     *cbor.UnmarshalTypeError
		key      *cbor.InvalidMapKeyTypeError
	)
	reason := Syntax
	switch {
	case errors.As(err, &repeated):
		reason = DuplicateKey
	case errors.As(err, &deep):
		reason = TooDeep
	case errors.As(err, &text):
		reason = BadUTF8
	case errors.As(err, &kind), errors.As(err, &key):
		reason = NotSenML
	}
	return refuse(reason, "%.120s", err)
}
