package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
)

// Which reading is the newest at a time, and what a proof of it shows. What a device stored and sent later has a higher number
// than what was measured after it: the times decide, not the numbers.

// choice is the entry that a command names, and what it names it by.
type choice struct {
	number       uint64
	device, name string
	asked        *int64   // the time of --at, nanoseconds since the Unix epoch; nil: none
	extreme      *extreme // what --max, --min or --last has found; nil: none is asked for
}

// newestOf returns the number of the newest entry that answers a question.
func newestOf(c *cobra.Command, client *api.Client, values url.Values) (uint64, error) {
	values.Set("reverse", "true")
	values.Set("limit", "1")
	for e, err := range client.Entries(c.Context(), values) {
		if err != nil {
			return 0, err
		}
		return e.Number, nil
	}
	return 0, noReading(c, client, "")
}

func noReading(c *cobra.Command, client *api.Client, when string) error {
	return command.Failf(command.ExitNotFound, "no such reading%s in %s", when, chainName(c.Context(), client))
}

// newestAt returns the number of the entry with the reading that was measured last at a time or before, of all that answer
// a question. It looks at the minute before that time, then at the rest of the four minutes before it, and so on: what is
// near needs no long search.
func newestAt(c *cobra.Command, client *api.Client, values url.Values, at int64) (uint64, error) {
	until := at + 1
	var gone *api.Entry // with the highest number: it may have held what is looked for
	for width := int64(time.Minute); until > math.MinInt64+1; width *= 4 {
		since := int64(math.MinInt64 + 1)
		if width < int64(100*365*24*time.Hour) && at-width > since {
			since = at - width
		}
		best, err := newestIn(c, client, values, since, until, &gone)
		if err != nil {
			return 0, err
		}
		if best != nil {
			if gone != nil && gone.Number > best.Number {
				fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: a later reading may be among what is gone: entry %d: %s\n", gone.Number, gone.Gone)
			}
			return best.Number, nil
		}
		until = since
	}
	if gone != nil {
		return gone.Number, nil // whose proof says why there is none
	}
	return 0, noReading(c, client, " at "+command.Instant(lighttime.Instant(at))+" or before")
}

// newestIn returns the entry with the reading that was measured last in a span of time; nil if there is none. Of what was
// measured at once it is the one with the highest number.
func newestIn(c *cobra.Command, client *api.Client, values url.Values, since, until int64, gone **api.Entry) (best *api.Entry, err error) {
	asked := maps.Clone(values)
	asked.Set("since", strconv.FormatInt(since, 10))
	asked.Set("until", strconv.FormatInt(until, 10))
	var newest int64
	for e, err := range client.Entries(c.Context(), asked) {
		if err != nil {
			return nil, err
		}
		if e.Gone != "" {
			if *gone == nil || e.Number > (*gone).Number {
				*gone = &e
			}
			continue
		}
		if t := lastMeasured(&e); best == nil || t >= newest {
			best, newest = &e, t
		}
	}
	return best, nil
}

// lastMeasured returns the last time at which a reading of an entry was measured, or when the entry came.
func lastMeasured(e *api.Entry) int64 {
	last := int64(math.MinInt64)
	for i := range e.Readings {
		r := &e.Readings[i]
		t := e.Received
		if !r.Time.IsZero() && !slices.Contains(r.Quality, "bad") {
			t = r.Time
		}
		last = max(last, t.UnixNano())
	}
	if len(e.Readings) == 0 {
		return e.Received.UnixNano()
	}
	return last
}

// proved is a reading that a proof shows.
type proved struct {
	Device   string          `json:"device"`
	Name     string          `json:"name"`
	Value    json.RawMessage `json:"value"`
	Unit     string          `json:"unit,omitempty"`
	Time     time.Time       `json:"time"`
	ByDevice bool            `json:"time_by_device"`
	Before   *float64        `json:"before_asked_seconds,omitempty"` // from it to the time of --at
}

// proved returns the readings of an entry that the command has asked for; all of them where it named the entry.
func (o *choice) proved(e *lightchain.Entry) []proved {
	all := []proved{}
	for i := range e.Readings {
		r := &e.Readings[i]
		t := store.MeasuredAt(e, r)
		if o.extreme != nil && i != o.extreme.reading {
			continue
		}
		if o.device != "" && o.device != r.Device || o.name != "" && o.name != r.Name || o.asked != nil && t > *o.asked {
			continue
		}
		value, err := json.Marshal(r.Value)
		if err != nil {
			value = []byte("null")
		}
		p := proved{Device: r.Device, Name: r.Name, Value: value, Unit: r.Unit, Time: lighttime.Instant(t), ByDevice: r.Timed && t == r.Time}
		if o.asked != nil {
			before := time.Duration(*o.asked - t).Seconds()
			p.Before = &before
		}
		all = append(all, p)
	}
	return all
}

// writeProved says which readings a proof shows, and how far they are from the time that was asked for.
func writeProved(w io.Writer, all []proved) {
	const most = 8
	for i := range all[:min(len(all), most)] {
		p := &all[i]
		value := valueText(p.Value)
		if p.Unit != "" {
			value += " " + command.Printable(p.Unit)
		}
		when := "received " + command.Instant(p.Time) + " by the gateway's clock"
		if p.ByDevice {
			when = "measured " + command.Instant(p.Time) + " by the device's clock"
		}
		if p.Before != nil {
			when += ", " + distance(time.Duration(*p.Before*float64(time.Second)))
		}
		fmt.Fprintf(w, "It shows: %s %s = %s, %s\n", command.Printable(p.Device), command.Printable(p.Name), value, when)
	}
	if len(all) > most {
		fmt.Fprintf(w, "It shows %d readings more.\n", len(all)-most)
	}
}

// distance says how long a reading was measured before the time that was asked for.
func distance(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "the time asked for"
	case d >= 2*day:
		return fmt.Sprintf("%d days before the time asked for", d/day)
	case d >= time.Minute:
		d = d.Round(time.Second)
	}
	text := d.String()
	for _, none := range [...]string{"m0s", "h0m"} {
		if strings.HasSuffix(text, none) {
			text = text[:len(text)-2]
		}
	}
	return text + " before the time asked for"
}
