package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
)

func newPoll() *cobra.Command {
	c := &cobra.Command{
		Use:     "poll",
		GroupID: "gateway",
		Short:   "Try what is polled, or listened to: Modbus, OPC UA, serial lines",
	}
	c.AddCommand(newPollOnce(), newPollTable())
	return c
}

func newPollOnce() *cobra.Command {
	c := &cobra.Command{
		Use:   "once NAME[/GROUP]",
		Short: "Ask a polled source for what it reads now, and record nothing",
		Long: `once asks a [[modbus]] or [[opcua]], or one of its requests or subscriptions, and shows what is answered: "edgeagent poll once line-1/press". The running
agent asks between two of its polls, with the configuration that it has; without an agent, or with --direct, the command asks by
the configuration's file, which needs the rights to do so and, of a serial line, that nobody else has it. Of a [[serial]] it waits for the
next telegram, and shows how that is read. Where two have one name, "modbus:line-1" and "serial:line-1" tell them apart.

Exit codes: 0 all was answered, 7 some of it, 1 nothing, for the device refused it all, 5 nothing was heard; 4 nothing has that
name; 2 the configuration is wrong.`,
		Args: command.Args(cobra.ExactArgs(1)),
	}
	direct := c.Flags().Bool("direct", false, "ask without the agent, by the configuration's file")
	c.RunE = func(c *cobra.Command, args []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		polled, err := pollOnce(c, args[0], *direct)
		if err != nil {
			return err
		}
		if err := out.Print(polled, func(w io.Writer) { writePolled(w, polled) }); err != nil {
			return err
		}
		return polledEnd(polled)
	}
	return c
}

func pollOnce(c *cobra.Command, name string, direct bool) ([]api.Polled, error) {
	if !direct {
		config, err := quietConfig(c)
		if err != nil {
			return nil, err
		}
		client, err := api.Dial(c.Context(), config.API.Socket)
		if err == nil {
			return client.Poll(c.Context(), name)
		}
		if !errors.Is(err, api.ErrNotRunning) {
			return nil, err
		}
	}
	config, _, err := readConfig(c)
	if err != nil {
		return nil, err
	}
	return agent.PollOnce(c.Context(), config, name)
}

// polledEnd is how the command ends that has shown what was answered.
func polledEnd(polled []api.Polled) error {
	answered, refused := 0, 0
	for i := range polled {
		switch {
		case polled[i].Error == "":
			answered++
		case polled[i].Refused:
			refused++
		}
	}
	switch all := len(polled); {
	case answered == all:
		return nil
	case answered > 0:
		return command.Failf(command.ExitPartly, "%d of %d reads are not answered", all-answered, all)
	case refused > 0:
		return command.Failf(command.ExitFailed, "the device gives none of what it was asked for")
	}
	return command.Failf(command.ExitUnreachable, "nothing is answered")
}

func writePolled(w io.Writer, polled []api.Polled) {
	table := command.NewTable(w, "GROUP", "READ", "DEVICE", "NAME", "VALUE", "UNIT", "")
	defer table.Flush()
	for i := range polled {
		p := &polled[i]
		group, read := cmp.Or(p.Group, "-"), cmp.Or(p.Read, "-") // a line has neither
		switch {
		case p.Error != "":
			table.Row(group, read, "-", "-", "-", "", command.Printable(p.Error))
		case len(p.Readings) == 0:
			table.Row(group, read, "-", "-", "-", "", fmt.Sprintf("no reading in %.60q", p.Payload))
		}
		for _, r := range p.Readings {
			quality := ""
			if len(r.Quality) > 0 {
				quality = fmt.Sprint(r.Quality)
			}
			table.Row(group, read, command.Printable(r.Device), command.Printable(r.Name), valueText(r.Value), command.Printable(r.Unit), quality)
		}
	}
}

func newPollTable() *cobra.Command {
	return &cobra.Command{
		Use:   "table NAME/GROUP",
		Short: "Print the table by which a group is read; its SHA-256 stands with each reading",
		Long: `table prints the bytes whose SHA-256 each reading of a group has as its meaning, and which an entry agent:config names. Keep them
with what is to be proved: "edgeagent poll table line-1/press | sha256sum".`,
		Args: command.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			config, _, err := readConfig(c)
			if err != nil {
				return err
			}
			text, err := config.Table(args[0])
			if err != nil {
				return err
			}
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			answer := map[string]string{"table": text, "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(text)))}
			return out.Print(answer, func(w io.Writer) { _, _ = io.WriteString(w, text) })
		},
	}
}
