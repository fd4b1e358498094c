package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors/suggest"
	"edgechain.example/tomlconf"
)

// passwordVariable holds the password where no flag does: a command line is seen by others.
const passwordVariable = "MQTT_PASSWORD"

// suggestFlags are what config suggest is told.
type suggestFlags struct {
	source, server, file, table              string
	username, password, passwordFile, caFile string
	topics                                   []string
	length                                   *time.Duration
}

func newSuggest() *cobra.Command {
	var f suggestFlags
	c := &cobra.Command{
		Use:   "suggest (--source NAME | --server URL | --file FILE)",
		Short: "Listen to what devices publish, and print the configuration that reads it",
		Long: `suggest hears what comes at a broker for a while, retained messages too, or reads a file of messages, and prints which preset or
dialect reads it on which topics, how one message of each kind reads then, what is not understood and why, where two topics would give
one device the same reading, and the tables to paste. All but the tables is comments, so the whole may be a file of conf.d where
--server is given, and is put below its [[mqtt]] where --source is.

    edgeagent config suggest --server mqtt://192.168.1.5 --for 1m
    edgeagent config suggest --source line-1 --topic 'factory/#'
    mosquitto_sub -h 192.168.1.5 -t '#' -F %j -W 60 | edgeagent config suggest --file -

It records nothing, and disturbs nobody: it has a client id of its own, a session that ends with it, and QoS 0. --source broker is the
embedded broker, beside a running agent. Ctrl-C ends the listening early, and what came until then is reported. A file has what
"mosquitto_sub -v" or "mosquitto_sub -F %j" writes.

Exit codes: 0 done, 2 wrong words, or a file of something else, 4 no message came, or the file or the source is not there, 5 the broker is not reached, or lets this
user read nothing.`,
		Args: command.Args(cobra.NoArgs),
	}
	flags := c.Flags()
	flags.StringVar(&f.source, "source", "", "listen at the broker of the [[mqtt]] with this `NAME`; broker: at the embedded one")
	flags.StringVar(&f.server, "server", "", "listen at this broker: `URL` is mqtt://, mqtts://, ws:// or wss:// and a host")
	flags.StringVar(&f.file, "file", "", "read messages from `FILE`, as mosquitto_sub -v or -F %j writes them; - is standard input")
	flags.StringArrayVar(&f.topics, "topic", []string{"#"}, "listen to topics of this `FILTER`; may be repeated")
	flags.StringVar(&f.table, "table", "", "print [[`TABLE`]]: mqtt.subscribe, or broker.decode as for the embedded broker")
	flags.StringVar(&f.username, "username", "", "`USER` at the broker of --server, or the embedded one")
	flags.StringVar(&f.password, "password", "", "its password, as `TEXT` that others may see; better in the variable "+passwordVariable)
	flags.StringVar(&f.passwordFile, "password-file", "", "`FILE` that holds it")
	flags.StringVar(&f.caFile, "tls-ca", "", "PEM `FILE` of whom to trust instead of the system's authorities")
	f.length = command.Duration(c, "for", 30*time.Second, "listen for this `TIME`, as in 30s or 5m")
	c.MarkFlagsMutuallyExclusive("source", "server", "file")
	c.RunE = func(c *cobra.Command, _ []string) error { return runSuggest(c, &f) }
	return c
}

func runSuggest(c *cobra.Command, f *suggestFlags) error {
	out, err := command.NewOutput(c)
	if err != nil {
		return err
	}
	if f.source == "" && f.server == "" && f.file == "" {
		return command.Failf(command.ExitUsage, "expected --source, --server or --file: where the messages come from\nSee %s --help.", c.CommandPath())
	}
	switch f.table {
	case suggest.Subscribe, suggest.Decode:
	case "":
		f.table = suggest.Subscribe
		if f.source == agent.EmbeddedBroker {
			f.table = suggest.Decode
		}
	default:
		return command.Failf(command.ExitUsage, "--table %q: expected %s or %s", f.table, suggest.Subscribe, suggest.Decode)
	}
	for _, filter := range f.topics {
		if err := mqttwire.CheckFilter(filter); err != nil {
			return command.Failf(command.ExitUsage, "--topic %q: %w", filter, err)
		}
		if _, rest, shared := mqttwire.SplitShare(filter); shared {
			return command.Failf(command.ExitUsage, "--topic %q: expected %q, for a member more of a shared subscription takes messages away from the others", filter, rest)
		}
	}
	from := agent.NewSuggestions()
	var heard agent.Heard
	var broker mqttconn.Config
	if f.file != "" {
		err = readMessages(c, f.file, from)
	} else if broker, err = f.listen(c, from, &heard); err != nil && from.Messages() > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: this is what came before: %v\n", err) // it ends with the code of that
	} else if err != nil {
		return err
	}
	if f.file != "" && err != nil {
		return err
	}
	s := agent.Suggest(from, heard, f.table)
	if printed := out.Print(s, func(w io.Writer) { writeSuggestion(w, &s, &broker, f) }); printed != nil {
		return printed
	}
	if err == nil && from.Messages() == 0 {
		return command.Failf(command.ExitNotFound, "no message came: listen for longer (--for 5m), to other topics (--topic), or as another user, whom the broker lets read")
	}
	return err
}

// readMessages reads a file, and tells which lines of it were passed over.
func readMessages(c *cobra.Command, name string, into *suggest.Collector) error {
	skipped, first, err := suggest.ReadFile(untilEnd(c.Context(), c.InOrStdin(), name), time.Now(), into.Add)
	if skipped > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: passed over %s: %v\n", counted(skipped, "line"), first)
	}
	switch n := into.Messages(); {
	case errors.Is(err, suggest.ErrLine):
		return command.Fail(command.ExitUsage, err)
	case err != nil:
		return err
	case skipped > n:
		return command.Failf(command.ExitUsage, "--file %s: that is no file of MQTT messages, of which %d lines are one and %d are not: %w", name, n, skipped, first)
	case n == 0 && c.Context().Err() == nil:
		return command.Failf(command.ExitNotFound, "--file %s: no message is in it", name)
	}
	return nil
}

// untilEnd reads a file, which ends where the command is told to end. A pipe into which nobody writes holds up whoever opens it, or
// reads: that goroutine is left behind.
func untilEnd(ctx context.Context, stdin io.Reader, name string) io.Reader {
	r, w := io.Pipe()
	go func() {
		from := stdin
		if name != "-" {
			file, err := os.Open(name)
			if err != nil {
				w.CloseWithError(err)
				return
			}
			defer file.Close()
			from = file
		}
		_, err := io.Copy(w, from)
		w.CloseWithError(err) // nil is the end
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(io.EOF) })
	return r
}

// listen hears what comes at the broker that the flags name.
func (f *suggestFlags) listen(c *cobra.Command, into *suggest.Collector, heard *agent.Heard) (broker mqttconn.Config, err error) {
	config := agent.DefaultConfig()
	if f.source != "" {
		if config, err = keysOf(c, agent.SuggestKeys()); err != nil {
			return broker, err
		}
		if broker, err = config.Source(f.source); err != nil {
			return broker, err
		}
	} else {
		var server mqttconn.Server
		if err := server.UnmarshalText([]byte(f.server)); err != nil {
			return broker, command.Failf(command.ExitUsage, "--server: %w", err)
		}
		broker = mqttconn.Config{Name: "plant", Servers: []mqttconn.Server{server}}
	}
	if f.source == "" || f.source == agent.EmbeddedBroker {
		if broker.TLSCA = f.caFile; f.caFile != "" && f.source != "" {
			return broker, command.Failf(command.ExitUsage, "--tls-ca: expected --server beside it")
		}
		broker.Username, broker.PasswordFile, broker.Password = f.username, f.passwordFile, tomlconf.Secret(f.password)
		if broker.Username != "" && broker.Password == "" && broker.PasswordFile == "" {
			broker.Password = tomlconf.Secret(os.Getenv(passwordVariable))
		}
	} else if f.username != "" || f.password != "" || f.passwordFile != "" || f.caFile != "" {
		return broker, command.Failf(command.ExitUsage, "--username, --password, --password-file and --tls-ca: they are for --server; [[mqtt]] %q has its own", f.source)
	}
	progress := command.NewProgress(os.Stderr)
	where, end := "", time.Time{}
	err = config.Listen(c.Context(), broker, agent.Listening{
		Filters: f.topics, For: *f.length,
		Granted: func(server string, refused []string) {
			where, end = server, time.Now().Add(*f.length)
			if len(refused) > 0 && len(refused) < len(f.topics) {
				fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: %s refuses the subscription to %s: this user may not read there\n", server, strings.Join(refused, " "))
			}
		},
		Tick: func() {
			if where != "" {
				progress.Show("listening at %s: %d messages on %d topics, %v left, Ctrl-C to end", where, into.Messages(), into.Topics(), time.Until(end).Round(time.Second))
			}
		},
	}, into, heard)
	progress.Done()
	if errors.Is(err, context.Canceled) {
		return broker, err
	}
	if err != nil && broker.Username != "" && broker.Password == "" && broker.PasswordFile == "" {
		err = fmt.Errorf("%w. No password was given: it is taken from the variable %s, or --password-file", err, passwordVariable)
	}
	if errors.Is(err, mqttconn.ErrRefused) && slices.Equal(f.topics, []string{"#"}) {
		err = fmt.Errorf("%w: name topics that it may read, such as --topic 'factory/#'", err)
	}
	return broker, command.Fail(command.ExitUnreachable, err)
}

// writeSuggestion writes tables, and all else as comments.
func writeSuggestion(w io.Writer, s *agent.Suggestion, broker *mqttconn.Config, f *suggestFlags) {
	say := lines{w, "# "}
	say.line("%s on %s, %d of them retained.", counted(s.Messages, "message"), counted(s.Topics, "topic"), s.Retained)
	for i := range s.Groups {
		writeGroup(say, &s.Groups[i])
	}
	if len(s.Warnings) > 0 {
		say.line("")
		say.line("Beware:")
		for _, warning := range s.Warnings {
			say.line("  %s", warning)
		}
	}
	for _, left := range []struct {
		n   int
		why string
	}{
		{s.LeftOut.Topics, "of further topics: listen to fewer (--topic)"}, {s.LeftOut.Size, "too large to look at here"},
		{s.LeftOut.Memory, "of topics for which there was no memory left: listen to fewer (--topic)"}, {s.LeftOut.Invalid, "under what is no topic"},
		{s.Own, "of gateways and aggregators, which are not recorded"},
	} {
		if left.n > 0 {
			say.line("Left out: %s %s.", counted(left.n, "message"), left.why)
		}
	}
	fmt.Fprintln(w)
	if s.TOML == "" {
		return
	}
	if f.table == suggest.Subscribe {
		writeBroker(w, broker, f)
	}
	fmt.Fprint(w, s.TOML)
}

// writeBroker writes the [[mqtt]] that the tables belong to.
func writeBroker(w io.Writer, broker *mqttconn.Config, f *suggestFlags) {
	switch {
	case f.source != "":
		fmt.Fprintf(w, "# For the [[mqtt]] %q, in place of those of its [[mqtt.subscribe]] that cover the same topics:\n\n", f.source)
		return
	case f.file != "":
		fmt.Fprintf(w, "# Below the [[mqtt]] of the broker that this came from:\n\n")
		return
	}
	fmt.Fprintf(w, "[[mqtt]]\nname = %s\nservers = [%s]\n", suggest.Quote(broker.Name), suggest.Quote(f.server))
	if f.username != "" {
		fmt.Fprintf(w, "username = %s\n", suggest.Quote(f.username))
		if f.passwordFile != "" {
			fmt.Fprintf(w, "password_file = %s\n", suggest.Quote(f.passwordFile))
		} else {
			fmt.Fprintf(w, "password = \"${%s}\"\n", passwordVariable)
		}
	}
	if f.caFile != "" {
		fmt.Fprintf(w, "tls_ca = %s\n", suggest.Quote(f.caFile))
	}
	fmt.Fprintln(w)
}

// lines writes lines, as comments of TOML where they begin with "#".
type lines struct {
	w     io.Writer
	begin string
}

func (l lines) line(format string, args ...any) {
	fmt.Fprintln(l.w, strings.TrimRight(l.begin+command.Printable(fmt.Sprintf(format, args...)), " "))
}

func writeGroup(say lines, g *agent.SuggestionGroup) {
	read := "dialect auto"
	switch {
	case g.Preset != "":
		read = "preset " + g.Preset
	case g.Dialect != "":
		read = "dialect " + g.Dialect
	}
	say.line("")
	say.line("%s: %s, %s, %s", strings.Join(g.Filters, " "), counted(g.Topics, "topic"), counted(g.Messages, "message"), read)
	writeReading(say, &g.Example)
	for _, u := range g.Unread {
		if u.Reason == "doubt" {
			say.line("  in doubt: %s; %s, the first on %s", u.Detail, counted(u.Messages, "sample"), u.Topic)
		} else {
			say.line("  not understood: %s: %s; %s, the first on %s", u.Reason, u.Detail, counted(u.Messages, "sample"), u.Topic)
		}
	}
}

// writeReading shows one message and how it reads.
func writeReading(say lines, r *agent.SuggestedReading) {
	const most = 12 // rows
	say.line("  %s %s", r.Topic, payloadText(r.Payload))
	switch {
	case r.Error != "":
		return
	case len(r.Readings) == 0:
		say.line("    no readings")
		return
	}
	var text strings.Builder
	table := command.NewTable(&text, "DEVICE", "NAME", "VALUE", "UNIT", "MEASURED", "")
	for _, x := range r.Readings[:min(most, len(r.Readings))] {
		measured, quality := "", ""
		if !x.Time.IsZero() {
			measured = command.Instant(x.Time)
		}
		if len(x.Quality) > 0 {
			quality = fmt.Sprint(x.Quality)
		}
		table.Row(command.Printable(x.Device), command.Printable(x.Name), valueText(x.Value), command.Printable(x.Unit), measured, quality)
	}
	_ = table.Flush() // into memory
	for line := range strings.Lines(text.String()) {
		say.line("    %s", strings.TrimRight(line, " \n"))
	}
	if more := len(r.Readings) - most; more > 0 {
		say.line("    and %d more", more)
	}
}
