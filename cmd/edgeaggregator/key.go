package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
)

func newKey() *cobra.Command {
	key := &cobra.Command{
		Use:     "key",
		GroupID: "node",
		Short:   "The aggregator's signing key",
	}
	key.AddCommand(&cobra.Command{
		Use:   "show",
		Short: "Print the lines that gateways and auditors need",
		Args:  command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			config, signer, out, err := configuredKey(c)
			if err != nil {
				return err
			}
			return showKey(out, config.Aggregator.Name, config.Key.File, signer)
		},
	})
	key.AddCommand(&cobra.Command{
		Use:   "adopt",
		Short: "Let the store go on under the key that is configured now",
		Long: `adopt is for a key that was changed on purpose, since the old one was lost, or seen by others. Stop all replicas first,
and give the new key to all of them. Gateways and auditors need its line (key show) beside the old one, which goes on
vouching for what it signed.`,
		Args: command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			config, signer, out, err := configuredKey(c)
			if err != nil {
				return err
			}
			store, err := openStore(c.Context(), config, false, commandLog(c, config))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			former, err := aggregator.Adopt(c.Context(), store, config.Aggregator.Name, signer.Public())
			if err != nil {
				return err
			}
			key := lightchain.FormatPublicKey(signer.Public())
			return out.Print(map[string]string{"name": config.Aggregator.Name, "key": key, "former": former}, func(w io.Writer) {
				fmt.Fprintf(w, "%s signs with %s from now on", config.Aggregator.Name, key)
				if former != "" && former != key {
					fmt.Fprintf(w, "; before, with %s", former)
				}
				fmt.Fprintln(w, ".")
			})
		},
	})
	return key
}

// configuredKey reads the configuration and its key, and finds out how to answer.
func configuredKey(c *cobra.Command) (config *aggregator.Config, signer lightchain.Signer, out *command.Output, err error) {
	if config, err = quietConfig(c); err != nil {
		return nil, nil, nil, err
	}
	if out, err = command.NewOutput(c); err != nil {
		return nil, nil, nil, err
	}
	if err = asowner.Become(config.Aggregator.Data); err != nil {
		return nil, nil, nil, err
	}
	signer, err = loadKey(config)
	return config, signer, out, err
}

// showKey prints the line of an auditor's trust file, and what a gateway's configuration needs. All of it is valid in a
// trust file, where the rest are comments.
func showKey(out *command.Output, name, file string, signer lightchain.Signer) error {
	key := lightchain.FormatPublicKey(signer.Public())
	return out.Print(map[string]string{"name": name, "key": key, "file": file}, func(w io.Writer) {
		fmt.Fprintf(w, "# For an auditor's trust file:\naggregator %s %s\n\n", name, key)
		fmt.Fprintf(w, "# For a gateway's configuration, below its [[upstream]]:\n# [[upstream.aggregator]]\n# name = %q\n# key = %q\n", name, key)
	})
}
