package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"edgechain.example/asowner"
	"edgechain.example/backup"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
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
			data := config.Aggregator.Data
			if err := asowner.Become(data); err != nil {
				return err
			}
			for _, dir := range []string{data, filepath.Dir(config.Key.File)} {
				if err := asowner.Outside(data, dir, func() error { return os.MkdirAll(dir, 0o750) }); err != nil {
					return command.Failf(command.ExitFailed, "failed to make the data folder %s: %w. Make it as root (sudo), or name another one with aggregator.data or --data", dir, err)
				}
			}
			var signer lightchain.Signer
			err = asowner.Outside(data, config.Key.File, func() (err error) {
				if signer, err = keyfile.Load(config.Key.File, config.Key.Passphrase); !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				if signer, err = keyfile.Create(config.Key.File, keyfile.Options{Passphrase: config.Key.Passphrase, Comment: config.Aggregator.Name}); err != nil {
					return err
				}
				return backup.GiveToOwner(data, keyfile.Files(config.Key.File)...)
			})
			if err != nil {
				return err
			}
			return showKey(out, config.Aggregator.Name, config.Key.File, signer)
		},
	}
}
