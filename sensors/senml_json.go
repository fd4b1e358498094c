package sensors

import (
	"encoding/base64"
	"strings"

	"edgechain.example/lightchain"
)

// decodeSenMLJSON reads application/senml+json (RFC 8428, section 5).
func (d *Decoder) decodeSenMLJSON(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, refuse(Empty, "no payload")
	}
	s := scanner{s: text}
	p := pack{arrival: *in, d: d}
	s.space()
	if s.peek() != '[' {
		if err := s.skip(); err != nil {
			return nil, err
		}
		return nil, refuse(NotSenML, "a SenML pack is an array")
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		ok, err := s.element(n)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		r, err := s.senmlRecord()
		if err == nil {
			err = p.add(&r)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	return p.end()
}

func (s *scanner) senmlRecord() (r record, err error) {
	if s.peek() != '{' {
		return r, refuse(NotSenML, "byte %d: a SenML record is an object", s.i)
	}
	if err := s.open(); err != nil {
		return r, err
	}
	mark := len(s.keys)
	for n := 0; ; n++ {
		label, ok, err := s.member(mark, n)
		if err != nil || !ok {
			return r, err
		}
		if err := s.senmlField(&r, label); err != nil {
			return r, err
		}
	}
}

func (s *scanner) senmlField(r *record, label string) error {
	f := jsonField(label)
	if f == fields {
		if err := unknownLabel(label); err != nil {
			return err
		}
		return s.skip()
	}
	if c := s.peek(); c == '{' || c == '[' {
		return refuse(NotSenML, "byte %d: the value of %q is an object or array", s.i, label)
	}
	v, literal, err := s.scalar()
	if err != nil {
		return err
	}
	if text, ok := v.Text(); ok && len(s.s) > copyAbove {
		v = lightchain.Text(strings.Clone(text))
	}
	if f == fieldVD && v.Kind() == lightchain.KindText {
		text, _ := v.Text()
		b, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || strings.ContainsAny(text, "\r\n") {
			return refuse(NotSenML, "vd is not base64url without padding")
		}
		v = lightchain.Bytes(b)
	}
	return r.put(f, v, decimal(literal))
}

// unknownLabel refuses a label that nobody may ignore.
//
// RFC 8428, section 4.4: "Implementations MUST ignore fields they don't recognize unless that field has a label name
// that ends with the '_' character, in which case an error MUST be generated."
func unknownLabel(label string) error {
	if strings.HasSuffix(label, "_") {
		return refuse(UnknownLabel, "the label %.40q must be understood", label)
	}
	return nil
}

// jsonField returns the field of a label, or fields for one that RFC 8428 does not have.
func jsonField(label string) field {
	switch label {
	case "bn":
		return fieldBN
	case "bt":
		return fieldBT
	case "bu":
		return fieldBU
	case "bv":
		return fieldBV
	case "bs":
		return fieldBS
	case "bver":
		return fieldBVer
	case "n":
		return fieldN
	case "u":
		return fieldU
	case "v":
		return fieldV
	case "vs":
		return fieldVS
	case "vb":
		return fieldVB
	case "vd":
		return fieldVD
	case "s":
		return fieldS
	case "t":
		return fieldT
	case "ut":
		return fieldUT
	}
	return fields
}
