package suggest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// Bounds of a file of messages.
const (
	maxLine = 16 << 20 // bytes
	maxMore = 256      // lines of one payload
)

// FileError is a line of a file that is no message.
type FileError struct {
	Line int
	Text string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("line %d, %.40q, is no message: expected what `mosquitto_sub -v -t '#'` writes, a topic, a space and a payload, or `mosquitto_sub -F %%j -t '#'`, "+
		"an object with topic and payload", e.Line, e.Text)
}

// ErrLine means that a line is longer than any message.
var ErrLine = errors.New("a line is longer than 16 MiB: expected a message a line")

// ReadFile reads what mosquitto_sub wrote, with -v or with -F %j, and gives each message to add. now is when those came of which
// the file does not say it. It returns how many lines were no message, and the first of them.
func ReadFile(r io.Reader, now time.Time, add func(Message)) (skipped int, first *FileError, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	f := file{lines: lines}
	for {
		line, ok := f.next()
		if !ok {
			break
		}
		at := f.line
		m, is := f.message(line, now)
		switch {
		case is:
			add(m)
		case len(bytes.TrimSpace(line)) > 0:
			if skipped++; first == nil {
				first = &FileError{at, string(line[:min(len(line), 200)])}
			}
		}
	}
	err = lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("line %d: %w", f.line+1, ErrLine)
	}
	return skipped, first, err
}

// file is lines with those that were read ahead.
type file struct {
	lines *bufio.Scanner
	ahead [][]byte
	line  int // of what next returned last
}

func (f *file) next() ([]byte, bool) {
	if len(f.ahead) > 0 {
		line := f.ahead[0]
		f.ahead = f.ahead[1:]
		f.line++
		return line, true
	}
	line, ok := f.scan()
	if ok {
		f.line++
	}
	return line, ok
}

func (f *file) scan() ([]byte, bool) {
	if !f.lines.Scan() {
		return nil, false
	}
	return bytes.Clone(f.lines.Bytes()), true
}

// message reads one that begins with a line.
func (f *file) message(line []byte, now time.Time) (Message, bool) {
	if m, is := jsonMessage(line, now); is {
		return m, true
	}
	topic, payload, found := bytes.Cut(bytes.TrimSuffix(line, []byte("\r")), []byte(" "))
	// A file of a configuration has lines such as `name = "press-hall"` and `# a comment`: those are no topics.
	if !found || len(topic) == 0 || bytes.ContainsAny(topic, "#+") || bytes.HasPrefix(payload, []byte("= ")) {
		return Message{}, false
	}
	if string(payload) == "(null)" { // how mosquitto_sub writes an empty one
		payload = nil
	}
	if len(payload) > 0 && (payload[0] == '{' || payload[0] == '[') && !json.Valid(payload) {
		payload = f.whole(payload)
	}
	return Message{Topic: string(topic), Payload: payload, Received: now}, true
}

// whole returns a JSON text that goes on in the lines behind it, or its first line where it never becomes one.
func (f *file) whole(first []byte) []byte {
	text := bytes.Clone(first)
	for n := range maxMore {
		if n == len(f.ahead) {
			line, ok := f.scan()
			if !ok {
				return first
			}
			f.ahead = append(f.ahead, line)
		}
		text = append(append(text, '\n'), f.ahead[n]...)
		if len(text) > maxLine {
			return first
		}
		if json.Valid(text) {
			f.ahead, f.line = f.ahead[n+1:], f.line+n+1
			return text
		}
	}
	return first
}

// jsonMessage reads a message as -F %j writes it, whose payload is a text, or -F %J, whose payload is the value itself.
func jsonMessage(line []byte, now time.Time) (m Message, is bool) {
	if !bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("{")) {
		return m, false
	}
	var said struct {
		Topic   *string         `json:"topic"`
		Payload json.RawMessage `json:"payload"`
		Retain  json.RawMessage `json:"retain"`
		Time    string          `json:"tst"`
	}
	if json.Unmarshal(line, &said) != nil || said.Topic == nil {
		return m, false
	}
	m = Message{Topic: *said.Topic, Payload: said.Payload, Received: now}
	var text string
	switch {
	case string(said.Payload) == "null":
		m.Payload = nil
	case json.Unmarshal(said.Payload, &text) == nil:
		m.Payload = []byte(text)
	}
	if retained := string(said.Retain); retained == "1" || retained == "true" {
		m.Flags |= lightchain.Retained
	}
	// mosquitto_sub writes local time with both a "Z" and its offset.
	for _, layout := range []string{"2006-01-02T15:04:05Z-0700", "2006-01-02T15:04:05Z0700", time.RFC3339} {
		if at, err := time.Parse(layout, strings.TrimSpace(said.Time)); err == nil {
			m.Received = at
			break
		}
	}
	return m, true
}
