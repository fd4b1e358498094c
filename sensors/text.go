package sensors

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// textOf returns a payload as text, without what programs put around text by mistake: a byte order mark, which also says
// that the text is UTF-16, and the zero bytes that end a string in C.
func textOf(payload []byte) (string, error) {
	const mark = "\xef\xbb\xbf"
	switch {
	case bytes.HasPrefix(payload, []byte("\xff\xfe")), bytes.HasPrefix(payload, []byte("\xfe\xff")):
		return textOf16(payload)
	case bytes.HasPrefix(payload, []byte(mark)):
		payload = payload[len(mark):]
	}
	payload = bytes.TrimRight(payload, "\x00")
	// SPEC: Invalid UTF-8 […] make the message not understood
	if !utf8.Valid(payload) {
		return "", refuse(BadUTF8, "the payload is not UTF-8")
	}
	return string(payload), nil
}

// textOf16 reads UTF-16, whose byte order the mark at its beginning tells.
func textOf16(payload []byte) (string, error) {
	if len(payload)%2 != 0 {
		return "", refuse(BadUTF8, "the payload begins as UTF-16, and has an odd number of bytes")
	}
	high, low := 1, 0
	if payload[0] == 0xfe {
		high, low = 0, 1
	}
	units := make([]uint16, 0, len(payload)/2)
	for at := 2; at < len(payload); at += 2 {
		units = append(units, uint16(payload[at+high])<<8|uint16(payload[at+low]))
	}
	for len(units) > 0 && units[len(units)-1] == 0 {
		units = units[:len(units)-1]
	}
	var s strings.Builder
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i++; i == len(units) {
				r = utf8.RuneError
			} else {
				r = utf16.DecodeRune(r, rune(units[i]))
			}
			if r == utf8.RuneError {
				return "", refuse(BadUTF8, "a surrogate of UTF-16 without its other half")
			}
		}
		s.WriteRune(r)
	}
	return s.String(), nil
}

// behindGarbage reports whether a JSON object or array with something in it stands at the end of a text that begins as
// something else: as a text it would be taken for what it is not.
func behindGarbage(s string) bool {
	at := strings.IndexAny(s, "{[")
	if at <= 0 {
		return false
	}
	if open := s[at]; open == '{' && !strings.Contains(s[at:], `"`) || open == '[' && !strings.ContainsAny(s[at:], `",{`) {
		return false // "{ok}", "Zone [1]"
	}
	json := scanner{s: strings.TrimRight(s[at:], " \t\r\n"), lenient: true}
	return json.skip() == nil && json.i == len(json.s)
}
