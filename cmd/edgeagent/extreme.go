package main

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/lighttime"
)

// extremeFlags ask for the largest, the least or the last reading of a time.
type extremeFlags struct {
	max, min, last, complete bool
	since, until             string
}

func (x *extremeFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&x.max, "max", false, "the largest reading from --since to --until")
	f.BoolVar(&x.min, "min", false, "the least reading from --since to --until")
	f.BoolVar(&x.last, "last", false, "the reading measured last from --since to --until")
	f.StringVar(&x.since, "since", "", "with --max, --min or --last: measured at this `TIME` or later, written as for --at")
	f.StringVar(&x.until, "until", "", "with --max, --min or --last: measured before this `TIME`")
	f.BoolVar(&x.complete, "complete", false, "write the bundle, too, which shows that none was left out, and with that all readings of all devices in its blocks")
}

// kind is what of the readings is asked for, and what a proof of it leaves open.
type kind struct {
	flag, word, other string
	point             func(*api.Series) *api.Point
}

var kinds = [...]kind{
	{"max", "largest", "larger", func(s *api.Series) *api.Point { return s.Max }},
	{"min", "least", "smaller", func(s *api.Series) *api.Point { return s.Min }},
	{"last", "last", "later", func(s *api.Series) *api.Point { return s.Last }},
}

// of returns what is asked for; nil: none of them.
func (x *extremeFlags) of() *kind {
	for i, set := range [...]bool{x.max, x.min, x.last} {
		if set {
			return &kinds[i]
		}
	}
	return nil
}

// check refuses flags that do not go together.
func (x *extremeFlags) check(args []string, device, name, at string) error {
	var set []string
	for _, f := range [...]struct {
		name string
		set  bool
	}{{"--max", x.max}, {"--min", x.min}, {"--last", x.last}, {"--at", at != ""}, {"the number of an entry", len(args) > 0}} {
		if f.set {
			set = append(set, f.name)
		}
	}
	switch {
	case x.of() == nil && (x.since != "" || x.until != "" || x.complete):
		return command.Failf(command.ExitUsage, "--since, --until and --complete go with --max, --min or --last: say which reading of that time is meant")
	case x.of() == nil:
	case len(set) > 1:
		return command.Failf(command.ExitUsage, "%s name different readings: leave all of them out but one", strings.Join(set, " and "))
	case device == "" || name == "":
		return command.Failf(command.ExitUsage, "%s of which reading? Name both --device and --name", set[0])
	}
	return nil
}

// extreme is the reading that was found, and among what.
type extreme struct {
	kind    *kind
	reading int // its index in the entry

	Of         string       `json:"of"`
	Since      *time.Time   `json:"since"` // null: from the beginning
	Until      *time.Time   `json:"until"` // null: to the end
	Count      uint64       `json:"count"` // of the readings that were compared
	Bad        uint64       `json:"bad"`   // that were passed over,
	NotNumbers uint64       `json:"not_numbers"`
	Blocks     *api.Heights `json:"blocks,omitempty"`
	Gone       []string     `json:"gone"` // what could not be read, and may have held more
	HeldSince  time.Time    `json:"held_since,omitzero"`
	NotProved  string       `json:"not_proved"`
}

// find returns the entry with the reading that is asked for.
func (x *extremeFlags) find(c *cobra.Command, client *api.Client, device, name string) (*choice, error) {
	s := selection{device: device, name: name, since: x.since, until: x.until}
	values, err := s.values(c)
	if err != nil {
		return nil, err
	}
	if err := s.known(c, client); err != nil {
		return nil, err
	}
	all, err := client.Summary(c.Context(), values)
	if err != nil {
		return nil, err
	}
	warnOfGaps(c, all.HeldSince, all.Gone)
	found := &extreme{kind: x.of(), Of: x.of().flag, Since: timeOf(values, "since", x.since), Until: timeOf(values, "until", x.until),
		Blocks: all.Blocks, Gone: all.Gone, HeldSince: all.HeldSince}
	if all.Readings == 0 {
		return nil, command.Failf(command.ExitNotFound, "no such reading%s in %s", found.span(), chainName(c.Context(), client))
	}
	p, err := found.among(all.Series)
	if err != nil {
		return nil, err
	}
	found.reading = p.Index
	found.NotProved = fmt.Sprintf("that no %s reading was left out: a bundle of the blocks shows all that was recorded in them, of every device", found.kind.other)
	return &choice{number: p.Number, device: device, name: name, extreme: found}, nil
}

// among chooses from series that differ in their units. The last of all has one, whatever the others have; but of which of two
// numbers with different units is the larger nobody can tell.
func (e *extreme) among(all []api.Series) (best *api.Point, err error) {
	var units []string
	for i := range all {
		s := &all[i]
		e.Count, e.Bad, e.NotNumbers = e.Count+s.Count, e.Bad+s.Bad, e.NotNumbers+s.NotNumbers
		p := e.kind.point(s)
		if p == nil {
			continue
		}
		units = append(units, fmt.Sprintf("%q", command.Printable(s.Unit)))
		if best == nil || p.Time.After(best.Time) || p.Time.Equal(best.Time) && p.Number > best.Number {
			best = p
		}
	}
	if e.Of == "last" { // which may be a text
		e.NotNumbers = 0
	}
	switch {
	case best == nil:
		return nil, command.Failf(command.ExitNotFound, "none of %s%s can be meant: %s", counted(int(e.Count), "reading"), e.span(), e.passed())
	case e.Of != "last" && len(units) > 1:
		return nil, command.Failf(command.ExitUsage, "the readings%s have different units, %s, and no %s value: choose a time, with --since and --until, in which they have one",
			e.span(), strings.Join(units, " and "), e.kind.word)
	}
	e.Count -= e.Bad + e.NotNumbers
	return best, nil
}

// timeOf returns the time of a question, where the flag behind it was given.
func timeOf(values url.Values, key, text string) *time.Time {
	ns, err := strconv.ParseInt(values.Get(key), 10, 64)
	if err != nil || text == "" {
		return nil
	}
	t := lighttime.Instant(ns)
	return &t
}

// span says of which time, as in " from … until …".
func (e *extreme) span() (text string) {
	if e.Since != nil {
		text = " from " + command.Instant(*e.Since)
	}
	if e.Until != nil {
		text += " until " + command.Instant(*e.Until)
	}
	return text
}

// passed says what was passed over; "" if nothing was.
func (e *extreme) passed() string {
	var parts []string
	if e.Bad > 0 {
		parts = append(parts, fmt.Sprintf("%d marked bad", e.Bad))
	}
	if e.NotNumbers > 0 {
		parts = append(parts, fmt.Sprintf("%d that are no numbers, or whole ones from 2^63 on, which are kept as texts", e.NotNumbers))
	}
	return strings.Join(parts, ", ")
}

// write says among what the reading was found, and what its proof does not show.
func (e *extreme) write(w io.Writer) {
	if e == nil {
		return
	}
	passed := ""
	if text := e.passed(); text != "" {
		passed = "; passed over: " + text
	}
	fmt.Fprintf(w, "It is the %s of %s%s%s\n", e.kind.word, counted(int(e.Count), "reading"), e.span(), passed)
	fmt.Fprintf(w, "The proof does not show that no %s reading was left out. A bundle does, with the readings of all devices in its blocks:\n", e.kind.other)
	if b := e.Blocks; b != nil {
		fmt.Fprintf(w, "  edgeagent export --bundle %d-%d", b.From, b.To)
		if b.Unsealed {
			fmt.Fprint(w, "    (and later blocks: some readings of that time are not sealed yet)")
		}
		fmt.Fprintln(w)
	}
}

// bundle writes the bundle, where --complete asks for it, and returns its file. That is before the proof is written, which goes to a
// file of its own: where one of them cannot be had the other is not left behind.
func (x *extremeFlags) bundle(c *cobra.Command, e *extreme, proof string, quorum int) (file string, err error) {
	if !x.complete || e.Blocks == nil {
		return "", nil
	}
	chain, done, err := openChain(c)
	if err != nil {
		return "", err
	}
	defer done()
	file = bundleFile(chain.Chain(), e.Blocks.From, e.Blocks.To)
	if filepath.Clean(proof) == file {
		return "", command.Failf(command.ExitUsage, "-o %s: that is what the bundle is called, which --complete writes: name another file for the proof", proof)
	}
	fmt.Fprintf(c.ErrOrStderr(), "edgeagent: the bundle shows all readings of all devices in blocks %d to %d: see that whoever gets it may see them\n", e.Blocks.From, e.Blocks.To)
	if err := writeBundle(c, chain, file, e.Blocks.From, e.Blocks.To, quorum); err != nil {
		return "", fmt.Errorf("nothing is written, for the bundle of --complete cannot be: %w", err)
	}
	return file, nil
}
