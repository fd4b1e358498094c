package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/store"
	syncgateway "edgechain.example/sync/gateway"
)

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		GroupID: "chain",
		Short:   "Say how the gateway stands",
		Long: `status begins with OK, or with NOT OK and the gravest reason: what is wrong, for how long, and what to do. Each other reason has a
line of its own. Below stands how the gateway stands. It ends with 0 where all is well, with 7 where the agent runs and something is
wrong, and with 5 where it does not run, or does not answer; where it cannot be known how it stands, with the code of what is in the
way. /readyz and the metric edgeagent_ok say the same.`,
		Args: command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			s, err := standing(c)
			if errors.Is(err, context.Canceled) {
				return err
			} else if err != nil {
				s = unknown(err)
			}
			if err := out.Print(seen(&s), func(w io.Writer) { writeStatus(w, &s) }); err != nil {
				return err
			}
			switch late := c.Context().Err(); {
			case late != nil && !s.Running && out.JSON():
				return command.Said(command.ExitUnreachable)
			case late != nil && !s.Running:
				return late // what ended the waiting is told beside what was found
			case err != nil:
				return command.Said(command.Code(err, exitCode))
			}
			return ending(&s)
		},
	}
}

// ending returns what the command ends with.
func ending(s *api.Status) error {
	switch {
	case !s.Running:
		return command.Said(command.ExitUnreachable)
	case !s.OK:
		return command.Said(command.ExitPartly)
	}
	return nil
}

// standing asks how the gateway stands; an agent that is opening its chain at once.
func standing(c *cobra.Command) (s api.Status, err error) {
	config, err := quietConfig(c)
	if err != nil {
		return s, err
	}
	if client, err := api.Dial(c.Context(), config.API.Socket); err == nil {
		ctx, cancel := context.WithTimeout(c.Context(), answersWithin)
		defer cancel()
		began := time.Now()
		switch s, err := client.Status(ctx); {
		case err == nil && s.Opening != nil:
			return s, nil
		case err == nil:
			return s, config.CheckChain(s.Chain)
		case err != nil && ctx.Err() != nil:
			return unanswered(began), nil
		}
	}
	client, done, err := connect(c)
	if err != nil {
		return s, err
	}
	defer done()
	return client.Status(c.Context())
}

// answersWithin is how long an agent has to say how it stands. One that is well takes some milliseconds.
const answersWithin = 15 * time.Second

// unanswered is the status of an agent that has the socket, and says nothing.
func unanswered(since time.Time) api.Status {
	return api.Status{Verdict: api.Verdict{Reasons: []api.Reason{{
		Code: api.NotAnswering, Since: since.UTC(),
		Text: fmt.Sprintf("the agent runs, and has not answered for %v: it is stopped, or hangs, and most likely records nothing. "+
			"Look at it with systemctl status edgeagent and journalctl -u edgeagent; systemctl restart edgeagent starts it anew", time.Since(since).Round(100*time.Millisecond)),
	}}}}
}

// unknown is the status of a gateway of which something keeps it from being known how it stands: no chain, a mistake in the
// configuration, no right to look.
func unknown(err error) api.Status {
	text := "it is not known how the gateway stands: " + strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
	return api.Status{Verdict: api.Verdict{Reasons: []api.Reason{{Code: api.NotKnown, Text: text}}}}
}

// seen is what programs get of a status: of a gateway of which nothing could be seen the verdict, and no numbers that nobody read.
func seen(s *api.Status) any {
	type unseen struct {
		api.Verdict
		Running *bool `json:"running"` // null: it is not known
	}
	switch yes := true; {
	case s.Has(api.NotAnswering):
		return unseen{s.Verdict, &yes}
	case s.Has(api.NotKnown):
		return unseen{s.Verdict, nil}
	}
	return s
}

// writeStatus shows what is wrong before all else: who looks at it is called when a gateway does not behave.
func writeStatus(w io.Writer, s *api.Status) {
	for _, text := range s.Lines() { // not folded: programs read the first line too
		fmt.Fprintln(w, command.Printable(text))
	}
	if s.Has(api.NotAnswering) || s.Has(api.NotKnown) {
		return
	}
	line := func(label, format string, args ...any) { writeLine(w, label, fmt.Sprintf(format, args...)) }
	if s.Opening != nil {
		line("gateway", "%s", command.Printable(s.Gateway))
		line("agent", "is opening its chain since %s, version %s: nothing is recorded yet", s.Opening.Since.UTC().Format(time.RFC3339), s.Version)
		line("", "%s", command.Printable(s.Opening.String()))
		return
	}
	line("chain", "%s", s.Chain)
	if s.Gateway != "" {
		line("gateway", "%s", command.Printable(s.Gateway))
	}
	writeAlarms(line, s)
	line("height", "%d, sealed %s", s.Height, command.Instant(s.Sealed))
	line("entries", "%d, %d of them not sealed yet", s.Entries, s.Open)
	if s.Held > 0 {
		line("", "those below %d are not held any more", s.Held)
	}
	line("on disk", "%s", size(s.Bytes))
	if s.Scrub != nil {
		line("scrub", "%s", scrubText(s))
	}
	l := s.Live
	if l == nil {
		line("agent", "does not run")
		return
	}
	line("agent", "runs since %s, version %s, boot %d", l.Started.UTC().Format(time.RFC3339), s.Version, l.Boot)
	line("", "start %d, after %s; %d of them after a run that was not stopped in order", l.Starts, afterText(l.After), l.Unclean)
	line("clock", "%s, off by %.3f s at most", l.Clock, l.ClockError)
	line("free", "%s, of which %s stay free", size(l.Free), size(l.Reserve))
	line("buffer", "%s", bufferText(&l.Buffer))
	for _, text := range cardText(&l.Card) {
		line("card", "%s", text)
	}
	line("in flight", "%d messages, %s", l.InFlight, size(uint64(l.InFlightBytes)))
	for _, u := range l.Upstreams {
		line("upstream", "%s: %s, head %s", u.Name, connected(&u, s.About(api.UpstreamDisconnected, u.Name)), standingText(u.Standing))
		for i := range u.Aggregators {
			line("", "%s", receiptedText(&u, &u.Aggregators[i]))
		}
	}
	line("devices", "%d are watched, %d of them are late", l.Devices, len(l.Late))
	for _, r := range l.Renamed {
		line("note", "device %s is called %s now, after its topic: %s in its [[mqtt.subscribe]] or [[broker.decode]] names it as before",
			command.Printable(r.Was), command.Printable(r.Now), r.Rule)
	}
	for i, u := range l.Unread {
		if i == mostUnread {
			line("", "%d more topics and reasons: --output json names them", len(l.Unread)-i)
			break
		}
		how := "not understood"
		if u.Reason == "doubt" {
			how = "read with a doubt"
		}
		line("unread", "%s, topic %s: %d messages %s, the last at %s: %s", u.Source, command.Printable(u.Topic), u.Messages, how, u.Last.UTC().Format(time.RFC3339), command.Printable(u.Detail))
	}
	for _, source := range l.Sources {
		line("source", "%s: %d messages, %s", source.Name, source.Received, command.Printable(source.Text()))
		line("", "%s", pulseText(&source))
		if b := source.Broker; b != nil {
			line("", "%d clients, %d sessions, %d subscriptions; %d retained messages of %s; %s wait for subscribers; %d clients refused, %d cut off",
				source.Clients, b.Sessions, b.Subscriptions, b.Retained, size(uint64(b.RetainedBytes)), size(uint64(b.QueuedBytes)), b.Strangers, b.Cut)
		}
		writeSparkplug(line, source.Sparkplug)
		if source.Slowed > 0 || source.Exceeded > 0 {
			line("", "max_rate: %d messages came late, %d with QoS 0 are lost", source.Slowed, source.Exceeded)
		}
		for i := range source.Groups {
			g := &source.Groups[i]
			line("", "group %s: %s; %d polls, %d failed, %d missed", g.Name, command.Printable(g.Text()), g.Polls, g.Failed, g.Missed)
		}
		for _, f := range source.Filters {
			line("", "filter %s: %s", command.Printable(f.Topics), filterText(&f))
		}
	}
}

// writeSparkplug shows what is known of Sparkplug's nodes; nil: nothing.
func writeSparkplug(line func(label, format string, args ...any), s *api.Sparkplug) {
	if s == nil {
		return
	}
	as := "listening alone"
	if s.HostID != "" {
		as = "as host " + command.Printable(s.HostID)
	}
	line("", "Sparkplug, %s: %d nodes, %d of them online with %d devices; %d messages are missing by their numbers, in %d gaps", as, s.Nodes, s.Online, s.Devices, s.Missing, s.Gaps)
	if s.Unborn > 0 || s.Nameless > 0 {
		line("", "%d nodes send without a birth that is known; %d metrics had no name; births were asked for %d times", s.Unborn, s.Nameless, s.Requests)
	}
	if s.Full > 0 {
		line("", "there was no room for %d messages of nodes and devices, and births", s.Full)
	}
	for i, odd := range s.Oddities {
		if i == mostUnread {
			line("", "%d more ways in which nodes break the specification: --output json names them", len(s.Oddities)-i)
			break
		}
		line("", "against the specification, and read all the same: %s in %d messages, last of %s", odd.What, odd.Messages, command.Printable(odd.Node))
	}
}

// filterText says what a filter kept out of the chain.
func filterText(f *api.Filter) string {
	switch f.Record {
	case "nothing":
		return fmt.Sprintf("%d messages were not recorded", f.Ignored)
	case "hash":
		return fmt.Sprintf("of %d payloads the hash was recorded", f.Hashed)
	}
	return fmt.Sprintf("all is recorded, of %d large payloads the hash", f.Hashed)
}

// mostLate is how many devices that are late are named, mostUnread of how many topics what was not understood is.
const mostLate, mostUnread = 10, 5

// afterText says how the run before ended.
func afterText(after string) string {
	switch after {
	case "stop":
		return "a stop of the program"
	case "shutdown":
		return "a shutdown of the machine"
	case "crash":
		return "A CRASH of the program"
	case "power_cut":
		return "a power cut"
	}
	return after
}

// writeAlarms shows what somebody has to see to, the worst first: recording, then sealing, then what is lost already.
func writeAlarms(line func(label, format string, args ...any), s *api.Status) {
	l := s.Live
	if l == nil {
		l = &api.Live{}
	}
	if l.Waiting {
		line("WARNING", "recording has stopped: the disk's reserve is reached; acknowledgements wait until there is room")
	}
	for _, source := range l.Sources {
		if !source.Connected && s.About(api.SourceDisconnected, source.Name) { // else it is only starting
			line("WARNING", "nothing comes from source %s: %s", source.Name, command.Printable(source.Text()))
		}
		for i := range source.Groups {
			if g := &source.Groups[i]; source.Connected && (g.Failing > 0 || g.Late) {
				line("WARNING", "source %s, group %s: %s", source.Name, g.Name, command.Printable(g.Text()))
			}
		}
		if source.Broker != nil && source.Broker.Unkept != "" {
			line("WARNING", "sessions and retained messages of the embedded broker: %s", command.Printable(source.Broker.Unkept))
		}
	}
	for _, a := range l.Abandoned {
		line("WARNING", "%s", command.Printable(a.String()))
	}
	if l.Deaf != "" {
		line("WARNING", "nobody is answered over TCP: %s", command.Printable(l.Deaf))
	}
	for i, device := range l.Late {
		if i == mostLate {
			line("WARNING", "%d more devices are late: --output json names them", len(l.Late)-i)
			break
		}
		line("WARNING", "nothing comes from device %s since %s: so far it was silent for %s at most", command.Printable(device.Name),
			device.Last.UTC().Format(time.RFC3339), time.Duration(device.Usual*float64(time.Second)).Round(time.Second))
	}
	if s.Volatile != "" {
		line("WARNING", "the data folder is on %s: a power cut takes it", s.Volatile)
	}
	if s.Mark != "" {
		line("WARNING", "%s", command.Printable(s.Mark))
	}
	for i, reason := range l.HeldBy {
		if i > 0 && reason.Kind == sealgate.Unsettled {
			continue // it waits for what the others say
		}
		if reason.Kind == sealgate.Unsettled && !s.Has(api.SealingHeld) {
			continue // it has only begun to ask
		}
		line("WARNING", "nothing is sealed: %s", command.Printable(reason.String()))
	}
	for _, text := range l.KeyFiles {
		line("WARNING", "%s", command.Printable(text))
	}
	if s.KeyChanges > 0 {
		line("WARNING", "the key was changed %d times, and a chain bears %d: a longer key.rotate_every, or in time a new chain that names this one (edgeagent init --continue)", s.KeyChanges, store.MaxKeyChanges)
	}
	if lost := s.Lost; lost.Entries+lost.Unproved+lost.Headers > 0 {
		line("DAMAGE", "%d entries are lost, %d more cannot be proved, %d headers are lost: `edgeagent log --source agent:damage` says which", lost.Entries, lost.Unproved, lost.Headers)
	}
	if s.Lost.Tables > 0 {
		line("DAMAGE", "%d files with receipts, keys or notes are damaged: `edgeagent log --source agent:damage` says which", s.Lost.Tables)
	}
	for _, u := range l.Upstreams {
		for _, g := range u.Aggregators {
			if g.CutOff {
				line("WARNING", "%s cannot follow this chain any more: the headers that it would need are lost. To have what comes countersigned again, begin a new chain that names this one: edgeagent init --continue", g.Name)
			}
			if g.Complaint != "" {
				line("WARNING", "%s is not to be relied on: %s", g.Name, command.Printable(g.Complaint))
			}
		}
	}
	if l.HeldBack != nil {
		line("WARNING", "retention holds back %s in blocks %d to %d: not enough aggregators have countersigned them", size(l.HeldBack.Bytes), l.HeldBack.From, l.HeldBack.To)
	}
	for i := range l.Kept {
		k := &l.Kept[i]
		line("WARNING", "there is no room for %s in blocks %d to %d, and retention keeps them: %s. If the disk's reserve is reached recording waits", size(k.Bytes), k.From, k.To, keptText(k))
	}
}

// keptText says which rule keeps payloads.
func keptText(k *api.Kept) string {
	if k.By == "min_age" {
		return "they are younger than retention.min_age"
	}
	return "for want of room no more goes today than retention.room_per_day"
}

// writeLine writes a text beside its label, folded at blanks to the width of a terminal. A label is 9 characters at most.
func writeLine(w io.Writer, label, text string) {
	const width, indent = 80, 10
	for len(text) > width-indent {
		cut := strings.LastIndexByte(text[:width-indent+1], ' ')
		if cut < 0 {
			if cut = strings.IndexByte(text, ' '); cut < 0 {
				break
			}
		}
		fmt.Fprintf(w, "%-*s%s\n", indent, label, text[:cut])
		label, text = "", text[cut+1:]
	}
	fmt.Fprintf(w, "%-*s%s\n", indent, label, text)
}

// connected says how an upstream's broker stands. One that has only begun is no fault, and looks like none.
func connected(u *api.Upstream, away bool) string {
	switch {
	case u.Connected:
		return "connected, " + command.Printable(u.Detail)
	case away:
		return "NOT CONNECTED, " + command.Printable(u.Detail)
	case u.Detail == "":
		return "is connecting"
	}
	return "is connecting, " + command.Printable(u.Detail)
}

// receiptedText says what an aggregator has countersigned, or why that is nothing.
func receiptedText(u *api.Upstream, g *api.Aggregator) string {
	switch {
	case g.Receipted != nil:
		return fmt.Sprintf("%s has receipted up to height %d", g.Name, *g.Receipted)
	case g.Answered && !g.WaitingSince.IsZero() && time.Since(g.WaitingSince) > time.Minute:
		return g.Unapproved(u.Token, "")
	case !g.Answered:
		return g.Name + " has not answered yet"
	}
	return g.Name + " has receipted nothing yet"
}

// pulseText says when a source's newest message came, and how many do.
func pulseText(s *api.Source) string {
	if s.Last.IsZero() {
		return "no message since the agent's start"
	}
	silent := time.Duration(s.Silent * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("last message %s, %v ago; %g a minute over the last %.0f min", s.Last.UTC().Format(time.RFC3339), silent, s.PerMinute, s.Window/60)
}

// standingText says how the chain's head stands to what the aggregators know.
func standingText(standing string) string {
	switch standing {
	case "":
		return "not settled yet"
	case string(syncgateway.Unknown):
		return "new to them" // when they were asked: at the start, or at the reload that added them
	}
	return standing
}

// cardText says what the card suffers, how that stands to its budget, and how long a card lasts so.
func cardText(c *api.Card) []string {
	budget := "no budget"
	if c.Budget > 0 {
		budget = "budget " + megabytes(c.Budget)
	}
	if c.Wait > 0 {
		budget += fmt.Sprintf(", groups are up to %.2g s apart", c.Wait)
	}
	if c.Rate == 0 {
		return []string{"not known yet how much is written in a day; " + budget}
	}
	lines := []string{fmt.Sprintf("%s a day are written, %s", megabytes(uint64(c.Rate)), budget)}
	if c.Exceeded > 0 {
		lines = append(lines, fmt.Sprintf("budget exceeded by %s a day because %s", megabytes(c.Exceeded), command.Printable(c.Why)))
	}
	if c.Years != nil {
		lines = append(lines, fmt.Sprintf("%.1f years at this rate, if a card of %s bears %s", *c.Years, megabytes(c.Disk), megabytes(c.Endurance)))
	}
	return lines
}

// megabytes is size in the units of makers of cards, who are bought from by them.
func megabytes(n uint64) string {
	switch {
	case n >= 1e12:
		return fmt.Sprintf("%.1f TB", float64(n)/1e12)
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
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

// scrubText says when the store was last read through, and where the present round is.
func scrubText(s *api.Status) string {
	said := "the store was never read through to its end"
	if l := s.Scrub.Last; l != nil {
		said = fmt.Sprintf("last read through %s, %s in %s", l.Ended.UTC().Format(time.RFC3339), size(l.Bytes), time.Duration(l.Seconds*float64(time.Second)).Round(time.Second/10))
	}
	if n := s.Scrub.Now; n != nil {
		said += fmt.Sprintf("; now at block %d of %d", min(n.Height, s.Height), s.Height)
	}
	return said
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
