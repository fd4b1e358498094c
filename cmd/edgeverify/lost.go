package main

import (
	"fmt"
	"strings"

	"edgechain.example/lightchain"
)

// A bundle has all entries between two numbers. What never became one, or was deleted since, the gateway tells in entries of its
// own: whoever reads that nothing is missing reads these beside it, and what people said of it.

// lossSources are the sources of entries that tell of something lost, left out or put back.
var lossSources = []string{"agent:gap", "agent:damage", "agent:prune", "agent:restore", "agent:filtered"}

const (
	mostTold   = 20  // entries of a bundle that are listed, of losses and of notes each
	lineOfTold = 300 // bytes of one of them
)

// told are the entries of one kind.
type told struct {
	count uint64
	lines []string // of the first ones
}

func (k *told) add(line func() string) {
	if k.count++; k.count <= mostTold {
		k.lines = append(k.lines, line())
	}
}

func (k *told) write(b *strings.Builder, heading string) {
	for _, line := range k.lines {
		fmt.Fprintf(b, "  %-9s %s\n", heading, line)
	}
	if more := k.count - uint64(len(k.lines)); more > 0 {
		fmt.Fprintf(b, "  %-9s and %d more; --output json has those that there is room for\n", heading, more)
	}
}

// look takes note of an entry that tells of a loss, or is a person's.
func (k *bundleEntries) look(number uint64, encoded []byte) {
	source := sourceOf(encoded)
	decoded := func(line func(*lightchain.Entry) string) func() string {
		return func() string {
			e, err := lightchain.DecodeEntry(encoded)
			if err != nil {
				return fmt.Sprintf("entry %d: %s", number, source)
			}
			return fmt.Sprintf("entry %d: %s", number, line(&e))
		}
	}
	if lightchain.IsNote(source) {
		k.notes.add(decoded(noteLine))
		return
	}
	for _, loss := range lossSources {
		if source == loss {
			k.losses.add(decoded(func(e *lightchain.Entry) string { return e.Source + " " + printable(shortened(string(e.Payload))) }))
		}
	}
}

// noteLine says what a note says, in one line. Whose word that is stands where the notes are counted.
func noteLine(e *lightchain.Entry) string {
	n, _, err := lightchain.ReadNote(e)
	if err != nil {
		return e.Source + ", which cannot be read as one"
	}
	text := fmt.Sprintf("names %s as its author, written %s", quoted(shortened(n.Who)), printable(n.When))
	if about := aboutText(&n.Note); about != "" {
		text += ", about " + shortened(about)
	}
	if n.File != nil {
		text += ", attaches " + quoted(shortened(n.File.Name))
	}
	for _, part := range []struct{ word, text string }{{"reason", n.Reason}, {"meaning", n.Meaning}, {"text", n.Text}} {
		if part.text != "" {
			text += ", " + part.word + " " + quoted(shortened(part.text))
		}
	}
	return text
}

// shortened cuts what is long; the caller quotes it, or prints it safely.
func shortened(s string) string {
	if len(s) <= lineOfTold {
		return s
	}
	return strings.ToValidUTF8(s[:lineOfTold], "") + "…"
}

// sourceOf returns the source of an encoded entry if it is a short one, such as the agent's own are.
func sourceOf(entry []byte) string {
	const at = 1 + 17 // the array's head, and the salt
	if len(entry) <= at {
		return ""
	}
	text := at + 1 // behind the time, which has 0, 1, 2, 4 or 8 bytes more
	if more := entry[at] & 0x1f; more >= 24 && more <= 27 {
		text += 1 << (more - 24)
	}
	if text >= len(entry) || entry[text]&0xe0 != 0x60 || entry[text]&0x1f >= 24 || text+1+int(entry[text]&0x1f) > len(entry) {
		return ""
	}
	return string(entry[text+1 : text+1+int(entry[text]&0x1f)])
}

// lossCaution says what "none missing" does not.
func (k *bundleEntries) lossCaution() []string {
	if k == nil || k.losses.count == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s of the gateway's own, listed above, tell that something was lost, deleted, left out or put back. No entry is missing here; messages may be", entries(int(k.losses.count)))}
}
