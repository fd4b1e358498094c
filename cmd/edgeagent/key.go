package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edgechain/cmd/internal/command"
	"edgechain/lightchain"
	"edgechain/lightchain/keyfile"
)

func newKey() *cobra.Command {
	key := &cobra.Command{
		Use:     "key",
		GroupID: "gateway",
		Short:   "The gateway's signing key",
		Args:    command.Args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	key.AddCommand(&cobra.Command{
		Use:   "show",
		Short: "Print the public key of the gateway's key file",
		Args:  command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := loadConfig(c)
			if err != nil {
				return err
			}
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			signer, err := keyfile.Load(config.Key.File, config.Key.Passphrase)
			if err != nil {
				return err
			}
			line := lightchain.FormatPublicKey(signer.Public())
			return out.Print(map[string]any{"key": line, "file": config.Key.File}, func(w io.Writer) { fmt.Fprintln(w, line) })
		},
	})
	return key
}
