package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
)

// openKeeper opens what keeps what is countersigned where the store is a database, nil where it is not, or cannot be.
func openKeeper(config *aggregator.Config, log *slog.Logger) (registry.Keeper, func() error) {
	none := func() error { return nil }
	if config.Store.URL == "" {
		return nil, none
	}
	keeper, err := pebblestore.OpenKeeper(filepath.Join(config.Aggregator.Data, "countersigned"), pebblestore.Options{Logger: log})
	if err != nil {
		log.Error("failed to note what is countersigned beside the database: should a failover lose it and this program be started anew, nobody knows it", "err", err)
		return nil, none
	}
	return keeper, keeper.Close
}

// awaitStore opens the store, and waits for a command that has it open. An aggregator that has it does not go away.
func awaitStore(ctx context.Context, config *aggregator.Config, log *slog.Logger) (registry.Store, error) {
	for tell := range store.Attempts(ctx) {
		s, err := openStore(ctx, config, true, log)
		if !errors.Is(err, registry.ErrRunning) {
			return s, err
		}
		if _, silent := api.Dial(ctx, config.API.Socket); silent == nil {
			return nil, err
		}
		if tell {
			log.Warn("failed to open the store: another program has it open; nothing is countersigned until it ends", "who", store.LockHolder(config.StoreDir()), "err", err)
		}
	}
	return nil, ctx.Err()
}

func newRun() *cobra.Command {
	return &cobra.Command{
		Use:     "run",
		GroupID: "node",
		Short:   "Follow and countersign gateways until told to stop",
		Long: `run follows gateways until SIGTERM or SIGINT. SIGHUP reads the configuration again: what it says of brokers, trust,
pulls, silence and the log's level is followed from then on; the log names the keys that wait for the next start. Where its
configuration keeps it from starting it ends with 78: no restart would mend that.`,
		Args: command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			config, err := loadConfig(c)
			if err != nil {
				return command.Starting(err)
			}
			signer, err := loadKey(config)
			if err != nil {
				return err
			}
			log, setLevel := command.NewLog(c, config.Log.Format)
			setLevel(config.Log.Level)
			switch mended, err := keyfile.Mend(config.Key.File, config.Key.Passphrase); {
			case err != nil:
				log.Error("failed to put the key's files in order; it is tried again each minute", "err", err)
			case mended != "":
				log.Warn("a file of the key was missing or damaged, and is made anew from the other", "file", mended)
			}
			st, err := awaitStore(c.Context(), config, log)
			if errors.Is(err, context.Canceled) { // told to stop while it waited: nothing failed
				return nil
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, st.Close()) }()
			keeper, closeKeeper := openKeeper(config, log)
			defer func() { err = errors.Join(err, closeKeeper()) }()
			logKey, err := loadLogKey(c.Context(), config, st, log)
			if err != nil {
				return err
			}
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			a, err := aggregator.New(config, aggregator.Options{
				Load: func() (*aggregator.Config, error) { return loadConfig(c) }, Hangup: hangup,
				Reloaded: func(c *aggregator.Config) { setLevel(c.Log.Level) },
				Version:  version, Store: st, Keeper: keeper, Signer: signer, LogKey: logKey, Log: log,
				Ready: func() {
					log.Info("ready", "name", config.Aggregator.Name, "replica", config.Aggregator.Replica, "socket", config.API.Socket)
				},
			})
			if err != nil {
				return command.Fail(command.ExitConfig, err)
			}
			if err := a.Run(c.Context()); !errors.Is(err, context.Canceled) {
				return command.Starting(err, aggregator.ErrIdentity)
			}
			return nil
		},
	}
}
