package sensors

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// decodeValue reads the value dialect: the payload is one bare number, boolean or text, named after the topic's last
// level unless a topic rule names it.
func (d *Decoder) decodeValue(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, refuse(NotText, "not UTF-8")
	}
	v, err := bareValue(text)
	if err != nil {
		return nil, err
	}
	return []lightchain.Reading{d.bare(in, v)}, nil
}

// decodeRaw reads the raw dialect: the payload as a whole is the value, as text if a person could read it, else as
// bytes. An empty payload has no reading: MQTT uses it to erase a retained message.
func (d *Decoder) decodeRaw(in *arrival) ([]lightchain.Reading, error) {
	if len(in.payload) == 0 {
		return nil, nil
	}
	if utf8.Valid(in.payload) {
		if s := string(in.payload); readable(s) {
			return []lightchain.Reading{d.bare(in, lightchain.Text(s))}, nil
		}
	}
	return []lightchain.Reading{d.bare(in, lightchain.Bytes(in.payload))}, nil
}

// bare makes the one reading of a payload that brings neither names nor a time.
func (d *Decoder) bare(in *arrival, v lightchain.Value) lightchain.Reading {
	r := lightchain.Reading{Device: in.place.owner, Name: in.place.name, Value: v}
	d.measure(&r, in.place.unit)
	return r
}

// bareValue reads a number, boolean or text, without the white space around it. A number is written as in JSON, but
// may begin with "+"; "007" is text. Anything else that a person could read is text too.
func bareValue(s string) (v lightchain.Value, err error) {
	s = strings.Trim(s, " \t\r\n")
	switch s {
	case "":
		return v, refuse(Empty, "no value")
	case "true", "True", "TRUE":
		return lightchain.Bool(true), nil
	case "false", "False", "FALSE":
		return lightchain.Bool(false), nil
	}
	num := scanner{s: strings.TrimPrefix(s, "+"), lenient: true}
	if c := num.peek(); isDigit(c) || c == '-' && len(num.s) == len(s) {
		switch v, _, err := num.number(); {
		case err != nil || num.i < len(num.s):
		case num.spoilt:
			return v, refuse(Overflow, "the number %.40q is beyond a 64-bit float", s)
		default:
			return v, nil
		}
	}
	// SPEC: makes the message not understood […] a bare value that is NaN
	switch strings.ToLower(strings.TrimLeft(s, "+-")) {
	case "nan", "inf", "infinity":
		return v, refuse(NotFinite, "the value is %.40q", s)
	}
	if !readable(s) {
		return v, refuse(NotText, "control characters in a bare value")
	}
	return lightchain.Text(s), nil
}

// readable reports whether a person could read s, which is valid UTF-8.
func readable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}
