package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/cmd/internal/moment"
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
	complete(c, "device", deviceWords)
	complete(c, "name", nameWords)
	f.StringVar(&s.since, "since", "", "measured at this `TIME` or later: "+moment.Forms)
	f.StringVar(&s.until, "until", "", "measured before this `TIME`, written as for --since")
	f.BoolVar(&s.received, "received", false, "--since and --until mean when it arrived, not what the device's clock said")
}

// values returns the selection as the local API takes it.
func (s *selection) values(c *cobra.Command) (url.Values, error) {
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
	since, err := parseTime(c, "since", s.since, 1)
	if err != nil {
		return nil, err
	}
	until, err := parseTime(c, "until", s.until, 1<<63-1)
	if err != nil {
		return nil, err
	}
	if until <= since {
		return nil, command.Failf(command.ExitUsage, "--until %q is not after --since %q: nothing can lie between them", s.until, s.since)
	}
	values.Set("since", strconv.FormatInt(since, 10))
	values.Set("until", strconv.FormatInt(until, 10))
	return values, nil
}

// inOrder refuses a range that ends before it begins.
func inOrder(c *cobra.Command, from, to uint64) error {
	if c.Flags().Changed("to") && to < from {
		return command.Failf(command.ExitUsage, "--to %d is below --from %d: nothing lies between them", to, from)
	}
	return nil
}

// setTo bounds a question by --to where that is given, and reports whether it is. People mean the last one by it; the
// local API is asked for those before the next.
func setTo(c *cobra.Command, values url.Values, to uint64) bool {
	if !c.Flags().Changed("to") {
		return false
	}
	if to < math.MaxInt64 { // else it bounds nothing
		values.Set("to", strconv.FormatUint(to+1, 10))
	}
	return true
}

// parseTime reads the time that a flag names, in nanoseconds since the Unix epoch.
func parseTime(c *cobra.Command, flag, text string, absent int64) (int64, error) {
	if text == "" {
		return absent, nil
	}
	t, err := command.Moment(c, flag, text)
	return t.UnixNano(), err
}

func newLog() *cobra.Command {
	c := &cobra.Command{
		Use:     "log",
		GroupID: "chain",
		Short:   "Show readings, by device, name and time",
		Long: `log shows the newest readings that the flags select, the newest last. With --summary it shows of all that they select how many there
are by device, name and unit, with the least, the mean, the largest and the last value. Readings that are marked bad are counted,
and count for nothing else; of what is no number there is the last value alone, and so of whole numbers of 2^63 or more, which are
kept as texts:

    edgeagent log --device line1/press-07/state --name temperature --since 2h
    edgeagent log --since yesterday --until today --summary`,
		Args: command.Args(cobra.NoArgs),
	}
	var s selection
	s.flags(c)
	limit := c.Flags().IntP("limit", "n", 50, "the newest so `MANY` entries; 0 for all")
	follow := c.Flags().BoolP("follow", "f", false, "go on as entries come in")
	raw := c.Flags().Bool("raw", false, "show payloads as they arrived")
	summary := c.Flags().Bool("summary", false, "show of all that is selected how many readings there are, the least, mean, largest and last value")
	for _, other := range [...]string{"limit", "follow", "raw"} {
		c.MarkFlagsMutuallyExclusive("summary", other)
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		values, err := s.values(c)
		if err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		if err := s.known(c, client); err != nil && *follow { // it may be heard yet
			fmt.Fprintf(c.ErrOrStderr(), "edgeagent: %v\n", err)
		} else if err != nil {
			return err
		}
		if *summary {
			return showSummary(c, client, values, out)
		}
		w := newEntryWriter(out, *raw)
		defer w.flush()
		next, err := showNewest(c, client, values, *limit, w)
		if err != nil {
			return err
		}
		if w.written == 0 && !out.JSON() {
			fmt.Fprintln(c.ErrOrStderr(), nothingMatches)
		}
		if err := tellLostEnd(c, client, w); err != nil {
			return err
		}
		if !*follow {
			return nil
		}
		w.flush() // the next entry may be long in coming
		if status, err := client.Status(c.Context()); err == nil && !status.Running {
			return followsAgent(c)
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

// tellLostEnd says to programs what people get as a warning: that the chain's end is lost here, and may have held more.
func tellLostEnd(c *cobra.Command, client *api.Client, w *entryWriter) error {
	if !w.out.JSON() {
		return nil
	}
	s, err := client.Status(c.Context())
	if err == nil && s.SetBack != "" {
		w.write(&api.Entry{Number: s.Entries, Gone: s.SetBack, Why: "not_held"})
	}
	return err
}

const nothingMatches = "edgeagent: nothing in the chain matches"

// followsAgent says that nothing comes in to follow.
func followsAgent(c *cobra.Command) error {
	config, err := callersConfig(c)
	if err != nil {
		return err
	}
	return notRunning(api.ErrNotRunning, config, "nothing comes in that could be followed")
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
	out     *command.Output
	raw     bool
	table   *command.Table
	written int // rows of entries, or of what is gone
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
	w.written++
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
		if !r.Time.IsZero() {
			measured = command.Instant(r.Time)
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
