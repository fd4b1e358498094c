package lightchain

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The payload of a person's entry is JSON, and the statement that was signed is made of it. So it is read strictly: what
// two readers of JSON take for different things (a member twice, a name in other letters) is no note.

// Limits of a note's JSON.
const (
	maxMembers   = 64                // those included that are not known
	maxDepth     = 8                 // arrays and objects inside one another
	maxSpansText = 64 * maxSpans * 2 // bytes of a list of stretches without its spaces: more than the longest has
)

var errNotNote = errors.New("the entry says that it is a person's, and cannot be read as that")

// ReadableNote is a note as its entry holds it.
type ReadableNote struct {
	Note
	Data []byte // an attachment's bytes in base64, as they stand in the payload; nil: they are not there
}

// ReadNote reads a person's entry, and its signature where it has one, which is not checked.
func ReadNote(e *Entry) (n *ReadableNote, signature string, err error) {
	if n, signature, err = readNote(e); err != nil {
		return nil, "", fmt.Errorf("%w: %w", errNotNote, err)
	}
	return n, signature, nil
}

func readNote(e *Entry) (n *ReadableNote, signature string, err error) {
	if e.Flags&PayloadHashed != 0 {
		return nil, "", errors.New("its payload is not there")
	}
	all, err := members(e.Payload)
	if err != nil {
		return nil, "", err
	}
	n = new(ReadableNote)
	m := memberReader{all: all}
	n.Who, n.When = m.text("who", true), m.text("when", true)
	n.Entries, n.Heights, n.Head = m.spans("entries"), m.spans("heights"), m.head("head")
	n.Reason, n.Meaning, n.Text = m.text("reason", false), m.text("meaning", false), m.text("text", false)
	signature = m.text("signature", false)
	if e.Source == SourceAttach {
		n.File = &File{Name: m.text("name", true), MediaType: m.text("media_type", true), Size: m.uint("size")}
		sum, err := ParseHash(m.text("sha256", true))
		if err != nil && m.err == nil {
			m.err = err
		}
		n.File.SHA256 = sum
		n.Data = m.data("data", n.File)
	}
	if m.err != nil {
		return nil, "", m.err
	}
	return n, signature, n.Check()
}

// Bytes returns an attachment's bytes; nil: they are not there.
func (n *ReadableNote) Bytes() ([]byte, error) {
	if n.Data == nil {
		return nil, nil
	}
	return base64.StdEncoding.Strict().DecodeString(string(n.Data))
}

// ParseHash reads 64 hexadecimal digits in lower case.
func ParseHash(text string) (h Hash, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(h) || strings.ToLower(text) != text {
		return h, fmt.Errorf("hash %.80q: 64 hexadecimal digits in lower case are expected", text)
	}
	copy(h[:], b)
	return h, nil
}

// replacement is U+FFFD. The library, asked for it as a rune, looks for what is no UTF-8, too, rune by rune; here all is.
var replacement = []byte("\uFFFD")

var errNoJSON = errors.New("not JSON in UTF-8")

// member is one of a JSON object, as it stands there; in its name escapes are resolved.
type member struct{ name, value []byte }

// members returns those of a JSON object, and copies none: one of them may be megabytes long, and a bundle may hold millions.
func members(b []byte) ([]member, error) {
	if !utf8.Valid(b) {
		return nil, errNoJSON
	}
	s := jsonScanner{b: b}
	if s.space(); s.next() != '{' {
		if s.value(0); s.err != nil {
			return nil, s.err
		}
		return nil, errors.New("not a JSON object")
	}
	all := make([]member, 0, 8) // a note has hardly ever more
	s.items('{', '}', 1, func() {
		begin := s.at
		s.text()
		raw := b[begin:s.at]
		s.space()
		s.take(':')
		s.space()
		begin = s.at
		if s.value(1); s.err == nil {
			all, s.err = addMember(all, raw, b[begin:s.at])
		}
	})
	if s.space(); s.err == nil && s.at < len(b) {
		s.err = errNoJSON
	}
	return all, s.err
}

func addMember(all []member, raw, value []byte) ([]member, error) {
	if len(raw) > maxNoteWords {
		return all, errors.New("a member's name is too long")
	}
	name, _ := unquote(raw)                // it was scanned
	if bytes.Contains(name, replacement) { // of half a surrogate pair, escaped, each reader makes something else
		return all, errors.New("U+FFFD stands in a member's name")
	}
	if slices.ContainsFunc(all, func(m member) bool { return bytes.Equal(m.name, name) }) {
		return all, fmt.Errorf("the member %.40q stands twice", name)
	}
	if len(all) == maxMembers {
		return all, fmt.Errorf("more than %d members", maxMembers)
	}
	return append(all, member{name, value}), nil
}

// unquote reads a JSON text that was scanned, if it is one. The library is asked about escapes alone; without them the result
// is a part of raw.
func unquote(raw []byte) (text []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return []byte(s), err == nil
}

// jsonScanner finds where the values of a JSON text end (RFC 8259), once over its bytes: a verifier may be given many
// megabytes of it, and json.Valid alone takes ten times as long as their hash. After an error it stands still.
type jsonScanner struct {
	b   []byte
	at  int
	err error
}

// next returns the byte that comes, 0 behind the last one: no NUL may stand between what JSON consists of.
func (s *jsonScanner) next() byte {
	if s.err != nil || s.at >= len(s.b) {
		return 0
	}
	return s.b[s.at]
}

func (s *jsonScanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *jsonScanner) take(c byte) {
	if s.next() != c {
		s.fail(errNoJSON)
		return
	}
	s.at++
}

func (s *jsonScanner) space() {
	i := s.at
	for i < len(s.b) && (s.b[i] == ' ' || s.b[i] == '\n' || s.b[i] == '\t' || s.b[i] == '\r') {
		i++
	}
	s.at = i
}

// value passes over a value inside so many arrays and objects.
func (s *jsonScanner) value(outside int) {
	switch c := s.next(); c {
	case '"':
		s.text()
	case '[':
		s.items('[', ']', outside+1, func() { s.value(outside + 1) })
	case '{':
		s.items('{', '}', outside+1, func() {
			s.text()
			s.space()
			s.take(':')
			s.space()
			s.value(outside + 1)
		})
	case 't':
		s.word("true")
	case 'f':
		s.word("false")
	case 'n':
		s.word("null")
	default:
		s.number()
	}
}

// items passes over what stands between two brackets, parted by commas.
func (s *jsonScanner) items(open, end byte, depth int, item func()) {
	if depth > maxDepth {
		s.fail(fmt.Errorf("more than %d arrays and objects inside one another", maxDepth))
	}
	s.take(open)
	if s.space(); s.next() == end {
		s.at++
		return
	}
	for s.err == nil {
		item()
		s.space()
		switch s.next() {
		case end:
			s.at++
			return
		case ',':
			s.at++
			s.space()
		default:
			s.fail(errNoJSON)
		}
	}
}

func (s *jsonScanner) word(w string) {
	for i := range len(w) {
		s.take(w[i])
	}
}

// digits returns where the digits end that must stand at i.
func (s *jsonScanner) digits(i int) int {
	begin := i
	for i < len(s.b) && '0' <= s.b[i] && s.b[i] <= '9' {
		i++
	}
	if i == begin {
		s.fail(errNoJSON)
	}
	return i
}

func (s *jsonScanner) number() {
	is := func(i int, c byte) bool { return i < len(s.b) && s.b[i] == c }
	i := s.at
	if is(i, '-') {
		i++
	}
	if is(i, '0') {
		i++
	} else {
		i = s.digits(i)
	}
	if is(i, '.') {
		i = s.digits(i + 1)
	}
	if is(i, 'e') || is(i, 'E') {
		if i++; is(i, '+') || is(i, '-') {
			i++
		}
		i = s.digits(i)
	}
	s.at = i
}

func (s *jsonScanner) text() {
	s.take('"')
	for i := s.at; s.err == nil; i = s.at {
		for i < len(s.b) && s.b[i] != '"' && s.b[i] != '\\' && s.b[i] >= ' ' {
			i++
		}
		s.at = i
		switch s.next() {
		case '"':
			s.at++
			return
		case '\\':
			s.escape()
		default:
			s.fail(errNoJSON)
		}
	}
}

func (s *jsonScanner) escape() {
	s.at++
	switch s.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
	case 'u':
		s.at++
		for range 4 {
			switch c := s.next(); {
			case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
				s.at++
			default:
				s.fail(errNoJSON)
			}
		}
	default:
		s.fail(errNoJSON)
	}
}

// memberReader takes members one by one; the first that is wrong is remembered.
type memberReader struct {
	all []member
	err error
}

// value returns what a member holds; nil: it is not there.
func (m *memberReader) value(name string) []byte {
	for i := range m.all {
		if string(m.all[i].name) == name {
			return m.all[i].value
		}
	}
	return nil
}

func (m *memberReader) fail(name string, format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
}

// text reads a text, which is never empty where it stands.
func (m *memberReader) text(name string, needed bool) string {
	raw := m.value(name)
	if raw == nil {
		if needed {
			m.fail(name, "it is missing")
		}
		return ""
	}
	if len(raw) > 8*maxNoteText {
		m.fail(name, "it is too long")
		return ""
	}
	text, ok := unquote(raw)
	if !ok || len(text) == 0 {
		m.fail(name, "a text is expected, and not an empty one")
		return ""
	}
	// Half of a surrogate pair, escaped, becomes this here and something else elsewhere.
	if bytes.Contains(text, replacement) {
		m.fail(name, "U+FFFD stands in it")
	}
	return string(text)
}

func (m *memberReader) uint(name string) uint64 {
	n, err := strconv.ParseUint(string(m.value(name)), 10, 53)
	if err != nil {
		m.fail(name, "a whole number in plain digits is expected")
	}
	return n
}

func (m *memberReader) spans(name string) (all []Span) {
	raw := m.value(name)
	if raw == nil {
		return nil
	}
	plain := make([]byte, 0, maxSpansText)
	for _, c := range raw { // spaces are free in JSON, however many
		if strings.IndexByte(" \t\r\n", c) < 0 && len(plain) < maxSpansText {
			plain = append(plain, c)
		}
	}
	var list [][]json.RawMessage
	if json.Unmarshal(plain, &list) != nil || len(list) == 0 {
		m.fail(name, "a list of stretches [first, last] is expected")
		return nil
	}
	for _, pair := range list {
		if len(pair) != len(Span{}) {
			m.fail(name, "a list of stretches [first, last] is expected")
			return nil
		}
		var s Span
		for i, raw := range pair {
			n, err := strconv.ParseUint(string(raw), 10, 53)
			if err != nil {
				m.fail(name, "whole numbers in plain digits are expected")
			}
			s[i] = n
		}
		all = append(all, s)
	}
	return all
}

func (m *memberReader) head(name string) *Head {
	raw := m.value(name)
	if raw == nil {
		return nil
	}
	h, err := parseHead(raw)
	if err != nil {
		m.fail(name, "%v", err)
		return nil
	}
	return &h
}

// parseHead reads [height, "hash"].
func parseHead(raw []byte) (h Head, err error) {
	var parts [2][]byte
	n, s := 0, jsonScanner{b: raw}
	s.items('[', ']', 1, func() {
		begin := s.at
		if s.value(1); n < len(parts) {
			parts[n] = raw[begin:s.at]
		}
		n++
	})
	if s.err != nil || s.at != len(raw) || n != len(parts) || len(parts[1]) > maxNoteWords {
		return h, errors.New("[height, hash] is expected")
	}
	text, ok := unquote(parts[1])
	if !ok {
		return h, errors.New("[height, hash] is expected")
	}
	if h.Height, err = strconv.ParseUint(string(parts[0]), 10, 53); err != nil {
		return h, errors.New("a height in plain digits is expected")
	}
	h.Hash, err = ParseHash(string(text))
	return h, err
}

// data compares an attachment's bytes with their hash, a piece at a time.
func (m *memberReader) data(name string, f *File) []byte {
	raw := m.value(name)
	if raw == nil {
		return nil
	}
	if len(raw) < 2 || raw[0] != '"' {
		m.fail(name, "a text is expected")
		return nil
	}
	raw = raw[1 : len(raw)-1]
	// A piece at a time, each whole by itself: padding may stand in the last one alone.
	hash, size, whole := sha256.New(), uint64(0), true
	var decoded [3 << 10]byte
	for rest := raw; len(rest) > 0 && whole; {
		piece := rest[:min(len(rest), 4<<10)]
		rest = rest[len(piece):]
		n, err := base64.StdEncoding.Strict().Decode(decoded[:], piece)
		whole = err == nil && (len(rest) == 0 || n == len(decoded))
		hash.Write(decoded[:n])
		size += uint64(n)
	}
	if !whole {
		m.fail(name, "padded base64 is expected, without escapes")
		return nil
	}
	if !f.matches(size, [sha256.Size]byte(hash.Sum(nil))) {
		m.fail(name, "these are not the %d bytes with the hash %s", f.Size, f.SHA256)
	}
	return raw
}
