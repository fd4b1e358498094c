package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
)

func newKey() *cobra.Command {
	key := &cobra.Command{
		Use:     "key",
		GroupID: "gateway",
		Short:   "The gateway's signing key",
	}
	key.AddCommand(&cobra.Command{
		Use:   "show",
		Short: "Print the public key of the gateway's key file",
		Args:  command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := keysOf(c, agent.BeginningKeys())
			if err != nil {
				return err
			}
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			if err := asowner.Become(config.Gateway.Data); err != nil {
				return err
			}
			var signer lightchain.Signer
			err = asowner.Outside(config.Gateway.Data, config.Key.File, func() (err error) {
				signer, err = keyfile.Load(config.Key.File, config.Key.Passphrase)
				return err
			})
			if err != nil {
				return err
			}
			line := lightchain.FormatPublicKey(signer.Public())
			return out.Print(map[string]any{"key": line, "file": config.Key.File}, func(w io.Writer) { fmt.Fprintln(w, line) })
		},
	})
	key.AddCommand(newRotate())
	return key
}

func newRotate() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Let the running agent change its key",
		Long: `rotate lets the running agent make a new key, commit to it in a header signed by the old one, and destroy the old one.
Destroying means overwriting and deleting the file. On a hard disk that removes the key; on flash it mostly does not:
the card keeps old cells until it needs them. Only a key encrypted under a passphrase kept off the card is gone for
certain.`,
		Args: command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := quietConfig(c)
			if err != nil {
				return err
			}
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			client, err := dialAgent(c, config, "")
			if err != nil {
				return err
			}
			r, err := client.Rotate(c.Context())
			if err != nil {
				return err
			}
			return out.Print(r, func(w io.Writer) { fmt.Fprintf(w, "%s\nsigns from header %d on\n", r.Key, r.Height+1) })
		},
	}
}
