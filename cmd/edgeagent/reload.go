package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
)

func newReload() *cobra.Command {
	c := &cobra.Command{
		Use:     "reload",
		GroupID: "gateway",
		Short:   "Let the running agent read its configuration again",
		Long: `reload lets the running agent read its configuration again, as SIGHUP does. If anything in it is wrong the old one stays
in force, and reload says why. No message is dropped. Where it runs and what it writes to (gateway.data,
gateway.chain, key.file, [store], [api], log.format) changes at the next start only: reload names the keys that wait. A
source that cannot listen is named too, and tried again: then reload ends with 7.

--dry-run changes nothing, and says what a reload would do: which sources it starts, stops and starts anew, how many sessions of
the embedded broker's clients end, which filters are given up at brokers. The embedded broker takes over what is decoded how,
max_clients, max_packet, max_inflight, and is started anew for all else: its clients connect again, and what subscribers are to
find goes on, but for sessions that end with their connection. Filters and max_rate change under all connections.`,
		Args: command.Args(cobra.NoArgs),
	}
	dry := c.Flags().Bool("dry-run", false, "only say what a reload would do")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := warnedConfig(c, agent.ReadingKeys())
		if err != nil {
			return err
		}
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		client, err := api.Dial(c.Context(), config.API.Socket) // whatever its chain: the agent says what it cannot take over
		if errors.Is(err, api.ErrNotRunning) {
			return notRunning(err, config, "there is nothing to reload")
		}
		if err != nil {
			return err
		}
		reloaded, err := client.Reload(c.Context(), *dry)
		if err != nil {
			return err
		}
		err = out.Print(struct {
			Ok bool `json:"ok"`
			api.Reloaded
		}{true, reloaded}, func(w io.Writer) {
			if *dry {
				writePlan(w, &reloaded)
				return
			}
			fmt.Fprintln(w, "The new configuration is in force.")
			if len(reloaded.Waiting) > 0 {
				fmt.Fprintf(w, "Changes of these keys wait for the next start: %s\n", strings.Join(reloaded.Waiting, ", "))
			}
		})
		if err != nil || len(reloaded.Failing) == 0 {
			return err
		}
		var failing []string
		for _, source := range reloaded.Failing {
			failing = append(failing, command.Printable(source.String()))
		}
		return command.Failf(command.ExitPartly, "the new configuration is in force, but %s", strings.Join(failing, "; "))
	}
	return c
}

// writePlan says what a reload would do.
func writePlan(w io.Writer, r *api.Reloaded) {
	line := func(label string, words []string) {
		if len(words) > 0 {
			fmt.Fprintf(w, "%-12s%s\n", label, command.Printable(strings.Join(words, ", ")))
		}
	}
	line("changes", r.Changed)
	line("waits", r.Waiting) // for the next start
	line("starts", r.Starts)
	line("stops", r.Stops)
	line("restarts", r.Restarts)
	if r.Sessions > 0 {
		line("ends", []string{fmt.Sprintf("%d sessions of the embedded broker's clients", r.Sessions)})
	}
	var filters []string
	for _, g := range r.GivenUp {
		filters = append(filters, g.Filter+" at "+g.Source)
	}
	line("gives up", filters)
	line("forgotten", r.Forgotten)
	line("disconnects", r.Disconnects)
	if len(r.Changed)+len(r.Waiting)+len(r.GivenUp) == 0 {
		fmt.Fprintln(w, "Nothing would change.")
	}
}
