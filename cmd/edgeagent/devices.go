package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/cmd/internal/moment"
	"edgechain.example/lightchain/lighttime"
)

func newDevices() *cobra.Command {
	c := &cobra.Command{
		Use:     "devices",
		GroupID: "chain",
		Short:   "Show each device with its readings: the last value, and how long ago it was measured",
		Long: `devices lists the devices that were heard lately, and of each reading the value that was measured last. What arrived since a
time is looked at, in the last 7 days unless --since says otherwise. A device that is silent for longer than its own rhythm explains is
late; the running agent knows that.

    edgeagent devices
    edgeagent devices --device "line1/*"
    edgeagent devices --since 30d --output json`,
		Args: command.Args(cobra.NoArgs),
	}
	device := c.Flags().String("device", "", "only this `DEVICE`, or those like a pattern: * stands for any characters, / among them, ? for one")
	since := c.Flags().String("since", "7d", "arrived at this `TIME` or later: "+moment.Forms)
	complete(c, "device", deviceWords)
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		from, err := parseTime(c, "since", *since, 0)
		if err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		values := url.Values{"since": {strconv.FormatInt(from, 10)}}
		if *device != "" {
			values.Set("device", *device)
		}
		all, err := client.Devices(c.Context(), values)
		if err != nil {
			return err
		}
		if len(all.Devices) == 0 && *device != "" {
			values.Del("device")
			others, err := client.Devices(c.Context(), values)
			if err != nil {
				return err
			}
			hint := alike(*device, deviceNames(&others))
			if !strings.HasSuffix(hint, "?") {
				hint += "."
			}
			return command.Failf(command.ExitNotFound, "no device %q was heard since %s%s An earlier --since looks further back", *device, command.Instant(lighttime.Instant(from)), hint)
		}
		warnOfDevices(c, &all)
		if status, err := client.Status(c.Context()); err == nil && len(all.Devices) == 0 && status.Sealed.Before(all.Since) { // an image, years later
			fmt.Fprintf(c.ErrOrStderr(), "edgeagent: the newest block is of %s: an earlier --since shows what was heard then\n", command.Instant(status.Sealed))
		}
		return out.Print(all, func(w io.Writer) { writeDevices(w, &all) })
	}
	return c
}

func deviceNames(all *api.Devices) (names []string) {
	for i := range all.Devices {
		names = append(names, all.Devices[i].Name)
	}
	return names
}

// warnOfDevices says why a list may lack something.
func warnOfDevices(c *cobra.Command, all *api.Devices) {
	if all.More {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: there are more than %d readings: these arrived last. Ask for fewer, with --device or a later --since\n", api.MostReadings)
	}
	warnOfGaps(c, all.HeldSince, all.Gone)
}

func writeDevices(w io.Writer, all *api.Devices) {
	t := command.NewTable(w, "DEVICE", "NAME", "VALUE", "UNIT", "AGE", "MEASURED", "NOTES")
	readings, late := 0, 0
	for i := range all.Devices {
		d := &all.Devices[i]
		notes := []string{}
		if d.Late {
			late++
			notes = append(notes, "late")
			if d.Usual > 0 {
				notes[0] += ", usually silent for " + ageText(seconds(d.Usual)) + " at most"
			}
		}
		if len(d.Readings) == 0 {
			t.Row(nameText(d.Name), "-", "-", "", ageText(all.Now.Sub(d.Heard)), command.Instant(d.Heard), strings.Join(notes, " "))
		}
		for j := range d.Readings {
			r := &d.Readings[j]
			readings++
			t.Row(nameText(d.Name), nameText(r.Name), shortened(valueText(r.Value), 32), shortened(command.Printable(r.Unit), 16),
				ageText(seconds(r.Age)), command.Instant(r.Time), strings.Join(append(slices.Clone(r.Quality), notes...), " "))
		}
	}
	_ = t.Flush()
	judged := fmt.Sprintf("%d of them late", late)
	if !all.Running {
		judged = "which of them are late a running agent alone knows"
	}
	fmt.Fprintf(w, "%s, %s that arrived since %s; %s\n", counted(len(all.Devices), "device"), counted(readings, "reading"), command.Instant(all.Since), judged)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// shortened cuts a text that has more characters than most.
func shortened(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// ageText says how long something is ago in its two largest units; what is in the future a device's clock has said.
func ageText(d time.Duration) string {
	const day = 24 * time.Hour
	ahead := ""
	if d < 0 {
		d, ahead = -d, " ahead"
	}
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%dd", d/day) + ahead
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour) + ahead
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute) + ahead
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second) + ahead
	}
	return fmt.Sprintf("%ds", d/time.Second) + ahead
}

// completionPatience is how long whoever presses the tab key waits for words at most.
const completionPatience = 3 * time.Second

// complete offers words for a flag in the shell, of the devices that were heard lately. Where they cannot be had there are none.
func complete(c *cobra.Command, flag string, words func(c *cobra.Command, all *api.Devices) []string) {
	_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), completionPatience)
		defer cancel()
		c.SetContext(ctx)
		client, done, err := connect(c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer done()
		all, err := client.Devices(ctx, nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		offered := words(c, &all)
		slices.Sort(offered)
		return slices.DeleteFunc(slices.Compact(offered), func(word string) bool {
			return !strings.HasPrefix(word, begun) || command.Printable(word) != word
		}), cobra.ShellCompDirectiveNoFileComp
	})
}

func deviceWords(_ *cobra.Command, all *api.Devices) []string { return deviceNames(all) }

// nameWords are the names of what the device measures that the command names, or of what any does.
func nameWords(c *cobra.Command, all *api.Devices) (words []string) {
	device, _ := c.Flags().GetString("device")
	for i := range all.Devices {
		if d := &all.Devices[i]; device == "" || device == d.Name {
			for j := range d.Readings {
				words = append(words, d.Readings[j].Name)
			}
		}
	}
	return words
}

// nameText shows a name in a column or a sentence, which one of a thousand characters would make unreadable; JSON has all of it.
func nameText(name string) string { return shortened(command.Printable(name), 48) }
