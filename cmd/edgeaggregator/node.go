package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
)

// loadKey reads the aggregator's key.
func loadKey(config *aggregator.Config) (lightchain.Signer, error) {
	var signer lightchain.Signer
	err := asowner.Outside(config.Aggregator.Data, config.Key.File, func() (err error) {
		signer, err = keyfile.Load(config.Key.File, config.Key.Passphrase)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, command.Failf(command.ExitUsage, "%w: make one with `edgeaggregator init`", err)
	}
	return signer, err
}

// loadLogKey reads the key of the log of heads, nil where none is to be kept. One that is missing is made, one that is damaged
// mended.
func loadLogKey(ctx context.Context, config *aggregator.Config, s headlog.Store, log *slog.Logger) (key *headlog.Key, err error) {
	if config.LogOrigin() == "" {
		return nil, nil
	}
	switch mended, err := keyfile.Mend(config.Transparency.KeyFile, config.Key.Passphrase); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		log.Error("failed to put the key's files in order; it is tried again each minute", "err", err)
	case mended != "":
		log.Warn("a file of the key was missing or damaged, and is made anew from the other", "file", mended)
	}
	err = asowner.Outside(config.Aggregator.Data, config.Transparency.KeyFile, func() (err error) {
		key, err = config.LogKey(ctx, s)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = command.Fail(command.ExitUsage, err)
	}
	return key, err
}

// commandPatience is how long a command waits for a database.
const commandPatience = 10 * time.Second

// openStore opens the store that the configuration names. Where it is a folder that is not there, begin says whether
// one is begun.
func openStore(ctx context.Context, config *aggregator.Config, begin bool, log *slog.Logger) (registry.Store, error) {
	if url := string(config.Store.URL); url != "" {
		if !begin { // a command, for which somebody waits
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, commandPatience, errors.New("the database does not answer"))
			defer cancel()
		}
		s, err := pgstore.Open(ctx, url, pgstore.Options{Logger: log, CrashLoss: config.Store.CrashLoss, FailoverLoss: config.Store.FailoverLoss})
		if err != nil {
			return nil, command.Fail(command.ExitUnreachable, err)
		}
		return s, nil
	}
	dir := config.StoreDir()
	if !begin {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("there is no store yet, `edgeaggregator run` makes it: %w", err)
		}
	}
	s, err := pebblestore.Open(dir, pebblestore.Options{Logger: log, Cache: int64(config.Store.Cache), Fatal: func(err error) {
		log.Error("failed to write to the store; nothing more is countersigned, the next start finds out what is on disk", "err", err)
		os.Exit(command.ExitStorage)
	}})
	if err != nil && !errors.Is(err, registry.ErrRunning) {
		err = command.Fail(command.ExitStorage, err)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// connect returns a client: of the running aggregator if there is one, else of the store itself. done must be called. Root asks
// the aggregator as root, and opens the store as the data folder's owner.
func connect(c *cobra.Command) (asked *api.Client, done func(), err error) {
	config, err := quietConfig(c)
	if err != nil {
		return nil, nil, err
	}
	asked, err = api.Dial(c.Context(), config.API.Socket)
	if err == nil {
		return asked, func() {}, nil
	}
	if !errors.Is(err, api.ErrNotRunning) {
		return nil, nil, command.Fail(command.ExitUnreachable, err)
	}
	if err := asowner.Become(config.Aggregator.Data); err != nil {
		return nil, nil, err
	}
	store, err := openStore(c.Context(), config, false, commandLog(c, config))
	if err != nil {
		return nil, nil, err
	}
	o := aggregator.Options{Version: version, Store: store}
	if signer, err := loadKey(config); err == nil {
		o.Signer = signer
	}
	server := aggregator.NewServer(config, o)
	return api.Local(server), func() { store.Close() }, nil
}

// commandLog is the log of a command that opens the store itself. What a folder is found to have lost is told by whoever
// opens it, once; of a database the running aggregators tell.
func commandLog(c *cobra.Command, config *aggregator.Config) *slog.Logger {
	if config.Store.URL != "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// with runs work with a client and the command's output.
func with(c *cobra.Command, work func(*api.Client, *command.Output) error) error {
	out, err := command.NewOutput(c)
	if err != nil {
		return err
	}
	asked, done, err := connect(c)
	if err != nil {
		return err
	}
	defer done()
	return work(asked, out)
}

// writeResult writes bytes to a file, which must not exist, or to standard output where none is named. JSON tells of the file.
func writeResult(c *cobra.Command, out *command.Output, file string, b []byte) error {
	if file == "" || file == "-" {
		_, err := c.OutOrStdout().Write(b)
		return err
	}
	config, err := quietConfig(c)
	if err != nil {
		return err
	}
	f, err := command.CreateFile(config.Aggregator.Data, file)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil || !out.JSON() {
		return err
	}
	return out.Print(map[string]any{"file": file, "bytes": len(b)}, nil)
}

// labels reads --label name=value.
func labels(texts []string) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range texts {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return nil, command.Failf(command.ExitUsage, "--label %q: expected name=value", text)
		}
		all[name] = value
	}
	return all, nil
}

// second formats seconds since the Unix epoch; 0 is never.
func second(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.RFC3339)
}

// line writes "name  value" where there is a value.
func line(w io.Writer, name, value string) {
	if value != "" {
		fmt.Fprintf(w, "%-10s %s\n", name, value)
	}
}
