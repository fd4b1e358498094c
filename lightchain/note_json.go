package lightchain

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	n.Entries, n.Heights = m.spans("entries"), m.spans("heights")
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

// members returns the values of a JSON object as they stand in it, and copies none: one of them may be megabytes long.
func members(b []byte) (map[string][]byte, error) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, errors.New("not JSON in UTF-8")
	}
	// From here on the text is known to be one JSON value: what follows only finds where its parts end.
	b = bytes.TrimSpace(b)
	if b[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	if _, deepest := valueEnd(b); deepest > maxDepth {
		return nil, fmt.Errorf("more than %d arrays and objects inside one another", maxDepth)
	}
	all := map[string][]byte{}
	b = bytes.TrimSpace(b[1:])
	for b[0] != '}' {
		end, _ := valueEnd(b)
		var name string
		if err := json.Unmarshal(b[:min(end, maxNoteWords)], &name); err != nil {
			return nil, errors.New("a member's name is too long")
		}
		if strings.ContainsRune(name, utf8.RuneError) { // of half a surrogate pair, escaped, each reader makes something else
			return nil, errors.New("U+FFFD stands in a member's name")
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("the member %.40q stands twice", name)
		}
		if len(all) == maxMembers {
			return nil, fmt.Errorf("more than %d members", maxMembers)
		}
		b = bytes.TrimSpace(b[end:])
		b = bytes.TrimSpace(b[1:]) // the colon
		end, _ = valueEnd(b)
		all[name] = b[:end]
		if b = bytes.TrimSpace(b[end:]); b[0] == ',' {
			b = bytes.TrimSpace(b[1:])
		}
	}
	return all, nil
}

// valueEnd returns where the JSON value ends that valid JSON begins with, and how deep it is.
func valueEnd(b []byte) (end, deepest int) {
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			if text = !text; !text && depth == 0 {
				return i + 1, deepest
			}
		case text:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case (c == '}' || c == ']') && depth > 0:
			if depth--; depth == 0 {
				return i + 1, deepest
			}
		case depth == 0 && strings.IndexByte(",:}] \t\r\n", c) >= 0: // behind a number or a word
			return i, deepest
		}
	}
	return len(b), deepest
}

// memberReader takes members one by one; the first that is wrong is remembered.
type memberReader struct {
	all map[string][]byte
	err error
}

func (m *memberReader) fail(name string, format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
}

// text reads a text, which is never empty where it stands.
func (m *memberReader) text(name string, needed bool) (text string) {
	raw, there := m.all[name]
	if !there {
		if needed {
			m.fail(name, "it is missing")
		}
		return ""
	}
	if raw[0] != '"' || len(raw) > 8*maxNoteText || json.Unmarshal(raw, &text) != nil || text == "" {
		m.fail(name, "a text is expected, not empty and not that long")
		return ""
	}
	// Half of a surrogate pair, escaped, becomes this here and something else elsewhere.
	if strings.ContainsRune(text, utf8.RuneError) {
		m.fail(name, "U+FFFD stands in it")
	}
	return text
}

func (m *memberReader) uint(name string) uint64 {
	n, err := strconv.ParseUint(string(m.all[name]), 10, 53)
	if err != nil {
		m.fail(name, "a whole number in plain digits is expected")
	}
	return n
}

func (m *memberReader) spans(name string) (all []Span) {
	raw, there := m.all[name]
	if !there {
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

// data compares an attachment's bytes with their hash, a piece at a time.
func (m *memberReader) data(name string, f *File) []byte {
	raw, there := m.all[name]
	if !there {
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
