package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
	"edgechain.example/tomlconf"
)

func newCheckConfig() *cobra.Command {
	c := command.NewCheckConfig("gateway", func(c *cobra.Command) (any, fmt.Stringer, error) {
		config, err := loadConfig(c)
		if err != nil {
			return nil, nil, err
		}
		return config, config.Hash(sensors.DecoderVersion), nil
	})
	c.Long = `check-config says everything that is wrong with the configuration. With --connect it also reaches every broker that the
configuration names ([[mqtt]] and [[upstream]]), asks for the filters, and shows how the next few messages read; and it reads once what
is polled. It records nothing and disturbs nobody: it has client ids of its own, sessions that end with it, and QoS 0; what is polled
the running agent asks, if there is one.

Exit codes: 0 sound, and with --connect all is reached; 2 the configuration is wrong; 5 something is not reached, or refuses what is
asked for.`
	connect := c.Flags().Bool("connect", false, "reach every broker, and what is polled, and show how messages read")
	length := command.Duration(c, "for", 5*time.Second, "with --connect, wait for messages for this `TIME` at most")
	sound := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if !*connect {
			return sound(c, args)
		}
		return checkConnections(c, *length)
	}
	return c
}

func checkConnections(c *cobra.Command, length time.Duration) error {
	out, err := command.NewOutput(c)
	if err != nil {
		return err
	}
	config, err := loadConfig(c)
	if err != nil {
		return err
	}
	all := config.TryConnections(c.Context(), agent.Trying{For: length, Built: buildTime(), Poll: func(name string) ([]api.Polled, error) {
		client, err := api.Dial(c.Context(), config.API.Socket)
		if err == nil {
			polled, err := client.Poll(c.Context(), name)
			if err == nil || !errors.Is(err, store.ErrNotFound) { // it has not read of this one yet
				return polled, err
			}
		}
		return agent.PollOnce(c.Context(), config, name)
	}})
	var failed []string
	for i := range all {
		if !all[i].Reached {
			failed = append(failed, fmt.Sprintf("[[%s]] %s", all[i].Table, all[i].Name))
		}
	}
	hash := config.Hash(sensors.DecoderVersion)
	show, err := c.Flags().GetBool("show")
	if err != nil {
		return err
	}
	answer := map[string]any{"ok": true, "sha256": hash, "reached": len(failed) == 0, "connections": all}
	if show {
		answer["config"] = tomlconf.Format(config)
	}
	if err := out.Print(answer, func(w io.Writer) {
		if show {
			fmt.Fprint(w, tomlconf.Format(config))
		}
		fmt.Fprintf(w, "The configuration is sound (sha256 %s).\n", hash)
		for i := range all {
			writeConnection(w, &all[i])
		}
		if len(all) == 0 {
			fmt.Fprintln(w, "It names nothing that could be reached.")
		}
	}); err != nil {
		return err
	}
	if len(failed) > 0 {
		return command.Failf(command.ExitUnreachable, "not reached, or not all that is asked for: %s", strings.Join(failed, ", "))
	}
	return nil
}

func writeConnection(w io.Writer, t *agent.Connection) {
	say := lines{w, ""}
	say.line("")
	switch {
	case !t.Reached:
		say.line("[[%s]] %s: %s", t.Table, t.Name, t.Error)
	case t.Server != "":
		say.line("[[%s]] %s: connected to %s", t.Table, t.Name, t.Server)
	default:
		say.line("[[%s]] %s: answers", t.Table, t.Name)
	}
	for i := range t.Messages {
		m := &t.Messages[i]
		writeReading(say, &m.SuggestedReading)
		switch {
		case m.Hash:
			say.line("    the chain has its hash alone, by a filter")
		case m.Error != "":
			say.line("    not understood: %s", m.Error)
		case m.Doubt != "":
			say.line("    in doubt: %s", m.Doubt)
		}
	}
	if t.Reached && t.Table == "mqtt" && len(t.Messages) == 0 {
		say.line("  no message came: none is retained there, and none was sent meanwhile, or this user may not read them")
	}
	if t.Unwanted > 0 {
		say.line("  a filter keeps %s out of the chain", counted(t.Unwanted, "message"))
	}
	if len(t.Polled) > 0 {
		writePolled(w, t.Polled)
	}
}
