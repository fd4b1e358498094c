package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator/api"
	"edgechain.example/cmd/internal/command"
)

type ctx = context.Context

func newGatewaysToken() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make a token that lets one gateway in, once",
		Long: `token makes a secret that lets one gateway in without further approval. Give it to the gateway as sync.enrol_token. It is
of no use once it was used, or has expired.`,
		Args: command.Args(cobra.NoArgs),
	}
	life := command.Duration(c, "expires", 24*time.Hour, "how `LONG` the token is good, 90d at most")
	labelTexts := c.Flags().StringArray("label", nil, "a label for the gateway, as in `site=north`; may be repeated")
	c.RunE = func(c *cobra.Command, _ []string) error {
		request := api.TokenRequest{Life: *life}
		var err error
		if request.Labels, err = labels(*labelTexts); err != nil {
			return err
		}
		return with(c, func(asked *api.Client, out *command.Output) error {
			t, err := asked.NewToken(c.Context(), request)
			if err != nil {
				return err
			}
			return out.Print(t, func(w io.Writer) { fmt.Fprintln(w, t.Text) })
		})
	}
	c.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List tokens, without their texts",
		Args:  command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c, func(asked *api.Client, out *command.Output) error {
				var table *command.Table
				if !out.JSON() {
					table = command.NewTable(out.Writer(), "ID", "MADE", "EXPIRES", "USED BY")
					defer table.Flush()
				}
				for t, err := range asked.Tokens(c.Context()) {
					if err != nil {
						return err
					}
					if table == nil {
						if err := json.NewEncoder(out.Writer()).Encode(t); err != nil {
							return err
						}
						continue
					}
					by := "-"
					if t.UsedBy != nil {
						by = t.UsedBy.String()
					}
					table.Row(t.ID, second(t.Made), second(t.Expires), by)
				}
				return nil
			})
		},
	}, &cobra.Command{
		Use:   "revoke ID...",
		Short: "Take tokens back, or clear away old ones",
		Args:  command.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c, func(asked *api.Client, _ *command.Output) error {
				for _, id := range args {
					if err := asked.RemoveToken(c.Context(), id); err != nil {
						return err
					}
				}
				return nil
			})
		},
	})
	return c
}
