package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
)

// showSummary shows what the readings have in common that a log would show one by one.
func showSummary(c *cobra.Command, client *api.Client, values url.Values, out *command.Output) error {
	all, err := client.Summary(c.Context(), values)
	if err != nil {
		return err
	}
	if all.More {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: there are more than %d readings by device, name and unit: of the others nothing is said. Ask for fewer, with --device or --name\n", api.MostReadings)
	}
	warnOfGaps(c, all.HeldSince, all.Gone)
	if len(all.Series) == 0 && !out.JSON() {
		fmt.Fprintln(c.ErrOrStderr(), nothingMatches)
		return nil
	}
	return out.Print(all, func(w io.Writer) { writeSummary(w, &all) })
}

// warnOfGaps says that what is counted, or looked for, may have been more.
func warnOfGaps(c *cobra.Command, heldSince time.Time, gone []string) {
	if !heldSince.IsZero() {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: what arrived before %s was deleted (edgeagent log --source agent:prune)\n", command.Instant(heldSince))
	}
	if len(gone) > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: others may be among what is gone, in %s: %s\n", counted(len(gone), "place"), gone[0])
	}
}

// The widths of a summary's columns leave ten characters for a name, of the 80 that a terminal has.
const (
	summaryWidth = 80
	nameLeast    = 10
	valueMost    = 9
	unitMost     = 6
)

// writeSummary writes a table that fits a terminal: each device on a line of its own, its readings below it.
func writeSummary(w io.Writer, all *api.Summary) {
	rows := [][]string{{"DEVICE, NAME", "COUNT", "BAD", "MIN", "MEAN", "MAX", "LAST", "UNIT"}}
	devices := map[int]string{} // by the row that they stand above
	for i := range all.Series {
		s := &all.Series[i]
		if i == 0 || s.Device != all.Series[i-1].Device {
			devices[len(rows)] = s.Device
		}
		mean := "-"
		if s.Mean != nil {
			mean = shortNumber(*s.Mean)
		}
		rows = append(rows, []string{"  " + command.Printable(s.Name), strconv.FormatUint(s.Count, 10), strconv.FormatUint(s.Bad, 10),
			pointText(s.Min), mean, pointText(s.Max), pointText(s.Last), shortened(command.Printable(s.Unit), unitMost)})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	left := summaryWidth
	for _, width := range widths[1:] {
		left -= width + 2
	}
	widths[0] = min(widths[0], max(left, nameLeast))
	for i, row := range rows {
		if device, there := devices[i]; there {
			fmt.Fprintln(w, shortened(command.Printable(device), summaryWidth))
		}
		line := fmt.Sprintf("%-*s", widths[0], shortened(row[0], widths[0]))
		for i, cell := range row[1:7] {
			line += fmt.Sprintf("  %*s", widths[i+1], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(line+"  "+row[7], " "))
	}
	fmt.Fprintf(w, "%s of %s\n", counted(int(all.Readings), "reading"), counted(len(devices), "device"))
	var others uint64
	for i := range all.Series {
		others += all.Series[i].NotNumbers
	}
	if others > 0 {
		fmt.Fprintf(w, "%d of them are no numbers, or whole ones from 2^63 on, which are kept\nas texts: in no MIN, MEAN or MAX\n", others)
	}
	if all.Readings > 0 {
		fmt.Fprintf(w, "from %s to %s\n", command.Instant(all.First), command.Instant(all.Last))
	}
}

// pointText shows a value in few characters; JSON has all of it.
func pointText(p *api.Point) string {
	if p == nil {
		return "-"
	}
	text := valueText(p.Value)
	var number float64
	if utf8.RuneCountInString(text) > valueMost && json.Unmarshal(p.Value, &number) == nil {
		return shortNumber(number)
	}
	return shortened(text, valueMost)
}

// shortNumber writes a number with as many digits as there is room for.
func shortNumber(f float64) (text string) {
	for digits := 6; digits > 1; digits-- {
		if text = strconv.FormatFloat(f, 'g', digits, 64); len(text) <= valueMost {
			break
		}
	}
	return text
}
