package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
)

// selection is which entries a command is about.
type selection struct {
	device, name, source string
	since, until         string
	received             bool
}

func (s *selection) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.device, "device", "", "only readings of this `DEVICE`")
	f.StringVar(&s.name, "name", "", "only readings of this `NAME`")
	f.StringVar(&s.source, "source", "", "only entries from exactly this `SOURCE`")
	f.StringVar(&s.since, "since", "", "measured at this `TIME` or later: 2026-03-01, 2026-03-01T08:00:00Z, or 2h for two hours ago")
	f.StringVar(&s.until, "until", "", "measured before this `TIME`")
	f.BoolVar(&s.received, "received", false, "--since and --until mean when it arrived, not what the device's clock said")
}

// values returns the selection as the local API takes it.
func (s *selection) values() (url.Values, error) {
	values := url.Values{}
	for key, text := range map[string]string{"device": s.device, "name": s.name, "source": s.source} {
		if text != "" {
			values.Set(key, text)
		}
	}
	if s.received {
		values.Set("received", "true")
	}
	if s.since == "" && s.until == "" {
		return values, nil
	}
	since, err := parseTime("since", s.since, 1)
	if err != nil {
		return nil, err
	}
	until, err := parseTime("until", s.until, 1<<63-1)
	if err != nil {
		return nil, err
	}
	values.Set("since", strconv.FormatInt(since, 10))
	values.Set("until", strconv.FormatInt(until, 10))
	return values, nil
}

// parseTime reads a time as people write one, in nanoseconds since the Unix epoch.
func parseTime(flag, text string, absent int64) (int64, error) {
	if text == "" {
		return absent, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago).UnixNano(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixNano(), nil
		}
	}
	return 0, command.Failf(command.ExitUsage, "--%s %q: expected a time such as 2026-03-01T08:00:00Z (UTC where no zone is written), or a duration ago such as 2h", flag, text)
}

func newLog() *cobra.Command {
	c := &cobra.Command{
		Use:     "log",
		GroupID: "chain",
		Short:   "Show readings, by device, name and time",
		Args:    command.Args(cobra.NoArgs),
	}
	var s selection
	s.flags(c)
	limit := c.Flags().IntP("limit", "n", 50, "the newest so `MANY` entries; 0 for all")
	follow := c.Flags().BoolP("follow", "f", false, "go on as entries come in")
	raw := c.Flags().Bool("raw", false, "show payloads as they arrived")
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		values, err := s.values()
		if err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		w := newEntryWriter(out, *raw)
		defer w.flush()
		next, err := showNewest(c, client, values, *limit, w)
		if err != nil || !*follow {
			return err
		}
		w.flush() // the next entry may be long in coming
		if status, err := client.Status(c.Context()); err == nil && !status.Running {
			return command.Fail(command.ExitUnreachable, api.ErrNotRunning)
		}
		values.Set("follow", "true")
		values.Set("from", strconv.FormatUint(next, 10))
		for e, err := range client.Entries(c.Context(), values) {
			if err != nil {
				return err
			}
			w.write(&e)
			w.flush()
		}
		return nil
	}
	return c
}

// showNewest writes the newest entries in ascending order and returns the number to go on from.
func showNewest(c *cobra.Command, client *api.Client, values url.Values, limit int, w *entryWriter) (next uint64, err error) {
	status, err := client.Status(c.Context())
	if err != nil {
		return 0, err
	}
	next = status.Entries
	shown := func(e *api.Entry) { // it may have come since
		if e.Gone == "" {
			next = max(next, e.Number+1)
		}
		w.write(e)
	}
	if limit == 0 {
		for e, err := range client.Entries(c.Context(), values) {
			if err != nil {
				return 0, err
			}
			shown(&e)
		}
		return next, nil
	}
	newest := url.Values{"reverse": {"true"}, "limit": {strconv.Itoa(limit)}}
	for key, value := range values {
		newest[key] = value
	}
	var entries []api.Entry
	for e, err := range client.Entries(c.Context(), newest) {
		if err != nil {
			return 0, err
		}
		entries = append(entries, e)
	}
	slices.Reverse(entries)
	for i := range entries {
		shown(&entries[i])
	}
	return next, nil
}

// entryWriter shows entries: a row a reading, or with raw a row an entry.
type entryWriter struct {
	out   *command.Output
	raw   bool
	table *command.Table
}

func newEntryWriter(out *command.Output, raw bool) *entryWriter {
	w := &entryWriter{out: out, raw: raw}
	switch {
	case out.JSON():
	case raw:
		w.table = command.NewTable(out.Writer(), "NUMBER", "RECEIVED", "SOURCE", "FLAGS", "PAYLOAD")
	default:
		w.table = command.NewTable(out.Writer(), "NUMBER", "RECEIVED", "DEVICE", "NAME", "VALUE", "UNIT", "MEASURED", "NOTES")
	}
	return w
}

func (w *entryWriter) flush() {
	if w.table != nil {
		w.table.Flush()
	}
}

func (w *entryWriter) write(e *api.Entry) {
	if w.table == nil {
		_ = json.NewEncoder(w.out.Writer()).Encode(e)
		return
	}
	if e.Gone != "" {
		number := "-"
		if e.Count > 0 {
			number = strconv.FormatUint(e.Number, 10)
		}
		w.table.Row(number, "-", e.Gone)
		return
	}
	number, received, flags := strconv.FormatUint(e.Number, 10), command.Instant(e.Received), strings.Join(e.Flags, " ")
	if w.raw {
		w.table.Row(number, received, command.Printable(e.Source), flags, payloadText(e.Payload))
		return
	}
	if len(e.Readings) == 0 {
		text := payloadText(e.Payload)
		if e.Note != nil && e.Note.Who != "" {
			text = command.Printable(noteText(e.Note))
		}
		if e.Note != nil {
			flags = strings.TrimSpace(flags + " " + string(e.Note.Standing))
		}
		w.table.Row(number, received, command.Printable(e.Source), "-", text, "", "", flags)
		return
	}
	for _, r := range e.Readings {
		measured := ""
		if r.Time != nil {
			measured = command.Instant(*r.Time)
		}
		notes := strings.TrimSpace(flags + " " + strings.Join(r.Quality, " "))
		w.table.Row(number, received, command.Printable(r.Device), command.Printable(r.Name), valueText(r.Value), command.Printable(r.Unit), measured, notes)
	}
}

// valueText shows a JSON value as a person reads it.
func valueText(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil && len(v) > 0 && v[0] == '"' {
		return command.Printable(text)
	}
	return string(v)
}

// isBinary reports whether no text has a character.
func isBinary(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\r\f\v\a\b\x1b", r) }

// payloadText shows text as it is, anything else in hexadecimal, and the beginning of what is long.
func payloadText(b []byte) string {
	const most = 120
	rest := ""
	if len(b) > most {
		b, rest = b[:most], "…"
	}
	if utf8.Valid(b) && !bytes.ContainsFunc(b, isBinary) {
		return command.Printable(string(b)) + rest
	}
	const digits = "0123456789abcdef"
	var text strings.Builder
	for _, c := range b {
		text.WriteByte(digits[c>>4])
		text.WriteByte(digits[c&15])
	}
	return text.String() + rest
}
