package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/keyfile"
)

func newInit() *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		GroupID: "node",
		Short:   "Make the aggregator's key",
		Long: `init makes the data folder and the aggregator's Ed25519 key, if there is none yet, and prints what gateways and auditors
need to know. All replicas of one aggregator use one key: copy it to them.`,
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
			for _, dir := range []string{config.Aggregator.Data, filepath.Dir(config.Key.File)} {
				if err := os.MkdirAll(dir, 0o750); err != nil {
					return command.Failf(command.ExitStorage, "making the data folder: %w", err)
				}
			}
			signer, err := keyfile.Load(config.Key.File, config.Key.Passphrase)
			if errors.Is(err, fs.ErrNotExist) {
				signer, err = keyfile.Create(config.Key.File, keyfile.Options{Passphrase: config.Key.Passphrase, Comment: config.Aggregator.Name})
			}
			if err != nil {
				return err
			}
			return showKey(out, config.Aggregator.Name, config.Key.File, signer)
		},
	}
}
