package main

import (
	"bufio"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// An entry may have 16 MiB of characters that JSON escapes, six bytes for one. encoding/json makes the whole text of an object
// before it writes a byte; this writes character by character what that would make, but for one thing: what steers a terminal,
// or turns the direction of a line, is escaped, too.

// writeJSON writes one object on a line of its own.
func writeJSON(w io.Writer, v any) error {
	s := newJSONStream(w)
	s.value(reflect.ValueOf(v))
	return s.end("\n")
}

// jsonStream writes JSON of structs with tags. Its writer keeps the first error until the end.
type jsonStream struct{ w *bufio.Writer }

func newJSONStream(w io.Writer) jsonStream { return jsonStream{bufio.NewWriterSize(w, 1<<16)} }

func (s jsonStream) end(with string) error {
	s.w.WriteString(with)
	return s.w.Flush()
}

func (s jsonStream) value(v reflect.Value) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if one, is := v.Interface().(lightchain.Value); is {
		s.measured(one)
		return
	}
	_, itself := v.Interface().(json.Marshaler)
	_, asText := v.Interface().(encoding.TextMarshaler)
	switch bytes := reflect.TypeFor[[]byte](); {
	case itself || asText:
		s.small(v)
	case v.Kind() == reflect.String:
		s.text(v.String())
	case v.Type() == bytes && !v.IsNil():
		s.w.WriteByte('"')
		e := base64.NewEncoder(base64.StdEncoding, s.w)
		e.Write(v.Bytes())
		e.Close()
		s.w.WriteByte('"')
	case v.Kind() == reflect.Array || v.Kind() == reflect.Slice && v.Type() != bytes && !v.IsNil():
		s.w.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				s.w.WriteByte(',')
			}
			s.value(v.Index(i))
		}
		s.w.WriteByte(']')
	case v.Kind() == reflect.Struct:
		s.w.WriteByte('{')
		s.members(v)
		s.w.WriteByte('}')
	default:
		s.small(v)
	}
}

// members writes the fields of a struct, those of structs in it among them.
func (s jsonStream) members(v reflect.Value) {
	first := true
	for _, f := range reflect.VisibleFields(v.Type()) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		one, err := v.FieldByIndexErr(f.Index)
		if name == "" || err != nil || options == "omitempty" && isEmpty(one) { // of a struct in it; of one that is not there
			continue
		}
		if !first {
			s.w.WriteByte(',')
		}
		first = false
		s.text(name)
		s.w.WriteByte(':')
		s.value(one)
	}
}

// isEmpty is what encoding/json leaves out.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	case reflect.Struct, reflect.Array:
		return false
	}
	return v.IsZero()
}

// small writes what has a few bytes: numbers, hashes.
func (s jsonStream) small(v reflect.Value) {
	b, err := json.Marshal(v.Interface())
	if err != nil {
		panic(err) // no report has a value that JSON does not know
	}
	s.w.Write(b)
}

func (s jsonStream) measured(v lightchain.Value) {
	switch text, _ := v.Text(); v.Kind() {
	case lightchain.KindText:
		s.text(text)
	case lightchain.KindBytes:
		s.w.WriteByte('"')
		io.Copy(hex.NewEncoder(s.w), strings.NewReader(text))
		s.w.WriteByte('"')
	default:
		b, err := v.MarshalJSON()
		if err != nil {
			panic(err) // no entry can hold it
		}
		s.w.Write(b)
	}
}

func (s jsonStream) text(t string) {
	s.w.WriteByte('"')
	for _, r := range t {
		switch {
		case r == '"' || r == '\\':
			s.w.WriteByte('\\')
			s.w.WriteByte(byte(r))
		case r == '\n':
			s.w.WriteString(`\n`)
		case r == '\t':
			s.w.WriteString(`\t`)
		case r == '\r':
			s.w.WriteString(`\r`)
		case r == '<' || r == '>' || r == '&': // for who puts it into a page
			s.escape(r)
		case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
			s.w.WriteByte(byte(r))
		case r != utf8.RuneError && unicode.IsPrint(r):
			s.w.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			s.escape(high)
			s.escape(low)
		default:
			s.escape(r)
		}
	}
	s.w.WriteByte('"')
}

func (s jsonStream) escape(r rune) {
	const digits = "0123456789abcdef"
	s.w.Write([]byte{'\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}
