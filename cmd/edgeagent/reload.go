package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"edgechain/agent"
	"edgechain/agent/api"
	"edgechain/cmd/internal/command"
)

func newReload() *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		GroupID: "gateway",
		Short:   "Let the running agent read its configuration again",
		Long: `reload lets the running agent read its configuration again, as SIGHUP does. If anything in it is wrong the old one stays
in force, and reload says why. No session and no message is dropped. Where it runs and what it writes to (gateway.data,
gateway.chain, key.file, [store], [api], log.format) changes at the next start only: reload names the keys that wait. A
source that cannot listen is named too, and tried again: then reload ends with 7.`,
		Args: command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := warnedConfig(c, agent.ReadingKeys())
			if err != nil {
				return err
			}
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			client, err := api.Dial(c.Context(), config.API.Socket)
			if err != nil {
				return err
			}
			reloaded, err := client.Reload(c.Context())
			if err != nil {
				return err
			}
			err = out.Print(struct {
				Ok bool `json:"ok"`
				api.Reloaded
			}{true, reloaded}, func(w io.Writer) {
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
		},
	}
}
