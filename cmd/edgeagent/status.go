package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"edgechain/agent/api"
	"edgechain/cmd/internal/command"
)

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		GroupID: "chain",
		Short:   "Say how the gateway stands",
		Args:    command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			client, done, err := connect(c)
			if err != nil {
				return err
			}
			defer done()
			s, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			return out.Print(s, func(w io.Writer) { writeStatus(w, &s) })
		},
	}
}

func writeStatus(w io.Writer, s *api.Status) {
	fmt.Fprintf(w, "chain     %s\n", s.Chain)
	if s.Gateway != "" {
		fmt.Fprintf(w, "gateway   %s\n", command.Printable(s.Gateway))
	}
	fmt.Fprintf(w, "height    %d, sealed %s\n", s.Height, command.Instant(s.Sealed))
	fmt.Fprintf(w, "entries   %d, %d of them not sealed yet\n", s.Entries, s.Open)
	if s.Held > 0 {
		fmt.Fprintf(w, "          those below %d are not held any more\n", s.Held)
	}
	fmt.Fprintf(w, "on disk   %s\n", size(s.Bytes))
	writeScrub(w, s)
	if s.Volatile != "" {
		fmt.Fprintf(w, "WARNING   the data folder is on %s: a power cut takes it\n", s.Volatile)
	}
	l := s.Live
	if l == nil {
		fmt.Fprintln(w, "agent     does not run")
		return
	}
	fmt.Fprintf(w, "agent     runs since %s, version %s, boot %d\n", l.Started.UTC().Format(time.RFC3339), s.Version, l.Boot)
	fmt.Fprintf(w, "clock     %s, off by %.3f s at most\n", l.Clock, l.ClockError)
	fmt.Fprintf(w, "free      %s, of which %s stay free\n", size(l.Free), size(l.Reserve))
	fmt.Fprintf(w, "buffer    %s\n", bufferText(&l.Buffer))
	if l.HeldBack != nil {
		fmt.Fprintf(w, "WARNING   retention holds back %s in blocks %d to %d: not enough aggregators have countersigned them\n", size(l.HeldBack.Bytes), l.HeldBack.From, l.HeldBack.To)
	}
	if l.Waiting {
		fmt.Fprintln(w, "WARNING   recording has stopped: the disk's reserve is reached; acknowledgements wait until there is room")
	}
	if l.Held != "" {
		fmt.Fprintf(w, "WARNING   nothing is sealed: %s\n", l.Held)
	}
	fmt.Fprintf(w, "in flight %d messages, %s\n", l.InFlight, size(uint64(l.InFlightBytes)))
	for _, u := range l.Upstreams {
		state, standing := "connected", u.Standing
		if !u.Connected {
			state = "NOT CONNECTED"
		}
		if standing == "" {
			standing = "not settled yet"
		}
		fmt.Fprintf(w, "upstream  %s: %s, %s, head %s\n", u.Name, state, command.Printable(u.Detail), standing)
		for _, g := range u.Aggregators {
			if g.Complaint != "" {
				fmt.Fprintf(w, "WARNING   %s is not to be relied on: %s\n", g.Name, command.Printable(g.Complaint))
			}
			if g.Receipted == nil {
				fmt.Fprintf(w, "          %s has receipted nothing yet\n", g.Name)
				continue
			}
			fmt.Fprintf(w, "          %s has receipted up to height %d\n", g.Name, *g.Receipted)
		}
	}
	for _, source := range l.Sources {
		state := "connected"
		if !source.Connected {
			state = "NOT CONNECTED"
		}
		fmt.Fprintf(w, "source    %s: %s, %d messages, %s\n", source.Name, state, source.Received, command.Printable(source.Detail))
	}
}

// bufferText says how long recording could go on without receipts.
func bufferText(b *api.Buffer) string {
	rate := fmt.Sprintf("at %s a day", size(uint64(b.Rate)))
	switch {
	case b.Rate == 0:
		return "not known yet: the chain is too young to tell how fast it grows"
	case b.Endless:
		return "endless: retention may delete what nobody has countersigned; " + rate
	case b.Days == nil:
		return "not known: the file system does not tell its free space; " + rate
	}
	text := fmt.Sprintf("%.1f days without receipts, %s: %s are free above the reserve", *b.Days, rate, size(b.Room))
	if b.Deletable > 0 {
		text += fmt.Sprintf(", %s may be deleted", size(b.Deletable))
	}
	return text
}

// writeScrub says when the store was last read through, and what is lost.
func writeScrub(w io.Writer, s *api.Status) {
	if c := s.Scrub; c != nil {
		said := "the store was never read through to its end"
		if l := c.Last; l != nil {
			said = fmt.Sprintf("last read through %s, %s in %s", l.Ended.UTC().Format(time.RFC3339), size(l.Bytes), time.Duration(l.Seconds*float64(time.Second)).Round(time.Second/10))
		}
		if n := c.Now; n != nil {
			said += fmt.Sprintf("; now at block %d of %d", min(n.Height, s.Height), s.Height)
		}
		fmt.Fprintf(w, "scrub     %s\n", said)
	}
	l := s.Lost
	if l.Entries+l.Unproved+l.Headers > 0 {
		fmt.Fprintf(w, "DAMAGE    %d entries are lost, %d more cannot be proved, %d headers are lost: `edgeagent log --source agent:damage` says which\n", l.Entries, l.Unproved, l.Headers)
	}
	if l.Tables > 0 {
		fmt.Fprintf(w, "DAMAGE    %d files with receipts, keys or notes are damaged: `edgeagent log --source agent:damage` says which\n", l.Tables)
	}
}

func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
