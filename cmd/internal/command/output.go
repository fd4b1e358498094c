package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// JSON says whether the output is for programs.
func (o *Output) JSON() bool { return o.json }

// Writer returns where the output goes.
func (o *Output) Writer() io.Writer { return o.w }

// Print writes v as one line of JSON, or what text writes for people.
func (o *Output) Print(v any, text func(w io.Writer)) error {
	if o.json {
		return json.NewEncoder(o.w).Encode(v)
	}
	text(o.w)
	return nil
}

// Table aligns rows for people. It writes when it is flushed, and after every few rows, so that a long answer is
// seen to come.
type Table struct {
	w    *tabwriter.Writer
	rows int
}

// NewTable begins a table with the given heading.
func NewTable(w io.Writer, heading ...string) *Table {
	t := &Table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.Row(heading...)
	return t
}

// Row adds one row.
func (t *Table) Row(cells ...string) {
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	if t.rows++; t.rows%64 == 0 {
		t.w.Flush()
	}
}

// Flush writes what is left.
func (t *Table) Flush() error { return t.w.Flush() }

// Printable escapes what could steer a terminal: names and payloads are whatever a device sent.
func Printable(s string) string {
	clean := true
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		s = s[n:]
	}
	return b.String()
}

const instant = "2006-01-02T15:04:05.000Z07:00"

// Instant formats a time for people, in local time with its zone.
func Instant(t time.Time) string { return t.Local().Format(instant) }

// UTC formats a time for programs that take text, for whom it is the same wherever the command runs.
func UTC(t time.Time) string { return t.UTC().Format(instant) }

// Progress shows how a long work goes on, on one line of a terminal; elsewhere it is silent.
type Progress struct {
	w    *os.File
	last time.Time
	used bool
}

// NewProgress shows progress on w if that is a terminal.
func NewProgress(w *os.File) *Progress {
	if !term.IsTerminal(int(w.Fd())) {
		w = nil
	}
	return &Progress{w: w}
}

// Show replaces the line, at most a few times a second.
func (p *Progress) Show(format string, args ...any) {
	if now := time.Now(); p.w != nil && now.Sub(p.last) > 200*time.Millisecond {
		p.last, p.used = now, true
		fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
	}
}

// Done clears the line.
func (p *Progress) Done() {
	if p.used {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
