package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edgechain/agent/api"
	"edgechain/cmd/internal/command"
)

func newReload() *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		GroupID: "gateway",
		Short:   "Let the running agent read its configuration again",
		Long: `reload lets the running agent read its configuration again, as SIGHUP does. If anything in it is wrong the old one stays
in force, and reload says why. No session and no message is dropped.`,
		Args: command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := loadConfig(c)
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
			if err := client.Reload(c.Context()); err != nil {
				return err
			}
			return out.Print(map[string]bool{"ok": true}, func(w io.Writer) { fmt.Fprintln(w, "The new configuration is in force.") })
		},
	}
}
