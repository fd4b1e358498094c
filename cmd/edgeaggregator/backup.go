package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/asowner"
	"edgechain.example/backup"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/tomlconf"
)

func newBackup() *cobra.Command {
	c := &cobra.Command{
		Use:     "backup FOLDER",
		GroupID: "node",
		Short:   "Copy the store and the configuration to another disk, while the aggregator runs or not",
		Long: `backup adds a generation to a backup folder on another disk. What the folder has already is not copied again, and an
interrupted backup leaves the generations before it whole. A store that is a database has tools of its own: pg_dump.

The private key goes along only if you say so; whoever has it can countersign in this aggregator's name.`,
		Args: command.Args(cobra.ExactArgs(1)),
	}
	withKey := c.Flags().Bool("with-key", false, "with the private key")
	keep := c.Flags().Int("keep", 0, "keep so `MANY` generations and drop older ones; 0 keeps all")
	list := c.Flags().Bool("list", false, "list the generations in the folder instead")
	verify := c.Flags().Bool("verify", false, "read the whole folder instead, and name what is damaged")
	c.MarkFlagsMutuallyExclusive("list", "verify", "with-key")
	c.MarkFlagsMutuallyExclusive("list", "verify", "keep")
	c.RunE = func(c *cobra.Command, args []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		switch {
		case *list, *verify:
			return lookAtBackup(c, out, args[0], *verify)
		case *keep < 0:
			return command.Failf(command.ExitUsage, "--keep %d: expected 0 or more", *keep)
		}
		return makeBackup(c, out, aggregator.BackupOptions{Dir: args[0], WithKey: *withKey, Keep: *keep, Version: version})
	}
	return c
}

func makeBackup(c *cobra.Command, out *command.Output, o aggregator.BackupOptions) (err error) {
	config, err := quietConfig(c)
	if err != nil {
		return err
	}
	file, err := c.Flags().GetString("config")
	if err != nil {
		return err
	}
	if o.Files, err = tomlconf.Files(file, aggregator.DefaultConfigPath); err != nil {
		return err
	}
	asked, done, err := connect(c)
	if err != nil {
		return err
	}
	defer done()
	dir, err := asked.Checkpoint(c.Context())
	if err != nil {
		return err
	}
	if err := asowner.Become(config.Aggregator.Data); err != nil {
		return err
	}
	checkpoint, err := backup.HoldCheckpoint(config.Aggregator.Data, dir)
	if err != nil {
		return fmt.Errorf("the aggregator's answer: %w", err)
	}
	defer func() { err = errors.Join(err, checkpoint.Remove()) }()
	progress := command.NewProgress(os.Stderr)
	o.Progress = func(done, total int64) { progress.Show("%d of %d MB", done/1e6, total/1e6) }
	added, err := aggregator.Backup(c.Context(), config, dir, o)
	progress.Done()
	if err != nil {
		return err
	}
	g := added.Generation
	answer := map[string]any{
		"generation": g.Number, "made": g.Made, "with_key": o.WithKey, "files": len(g.Files), "bytes": g.Bytes(),
		"copied_files": added.Copied, "copied_bytes": added.CopiedBytes, "dropped": added.Dropped,
	}
	return out.Print(answer, func(w io.Writer) {
		fmt.Fprintf(w, "generation %d: %d bytes, of which %d in %d files were copied now\n", g.Number, g.Bytes(), added.CopiedBytes, added.Copied)
		if !o.WithKey {
			fmt.Fprintln(w, "The private key is not in it.")
		}
	})
}

// lookAtBackup lists a backup folder, or reads it whole.
func lookAtBackup(c *cobra.Command, out *command.Output, dir string, whole bool) error {
	folder, err := backup.Open(dir)
	if err != nil {
		return err
	}
	if whole {
		verified, err := folder.Verify(c.Context(), nil)
		if err != nil {
			return err
		}
		return out.Print(verified, func(w io.Writer) {
			fmt.Fprintf(w, "%d generations, %d files, %d bytes: all as they were written\n", verified.Generations, verified.Files, verified.Bytes)
		})
	}
	type line struct {
		Generation int       `json:"generation"`
		Made       time.Time `json:"made"`
		Bytes      int64     `json:"bytes"`
	}
	all, failed := folder.Generations()
	lines := []line{}
	for _, g := range all {
		lines = append(lines, line{g.Number, g.Made, g.Bytes()})
	}
	return errors.Join(failed, out.Print(lines, func(w io.Writer) {
		fmt.Fprintln(w, folder.Subject())
		table := command.NewTable(w, "GENERATION", "MADE", "BYTES")
		for _, l := range lines {
			table.Row(fmt.Sprint(l.Generation), l.Made.Format(time.RFC3339), fmt.Sprint(l.Bytes))
		}
		_ = table.Flush()
	}))
}

func newRestore() *cobra.Command {
	c := &cobra.Command{
		Use:     "restore FOLDER",
		GroupID: "node",
		Short:   "Bring an aggregator back from a backup, where there is no store",
		Long: `restore copies a generation of a backup into the data folder. The configuration as it was is put into the folder
restored in it, for you to compare; yours is not touched.

A restored aggregator knows less than it did: the heads that it countersigned after the backup come back from the
gateways, which hold the receipts. Gateways approved, rejected or forgotten since must be so again.`,
		Args: command.Args(cobra.ExactArgs(1)),
	}
	number := c.Flags().Int("generation", 0, "bring back this `NUMBER`, as backup --list shows it; 0 is the newest")
	c.RunE = func(c *cobra.Command, args []string) error {
		config, err := quietConfig(c)
		if err != nil {
			return err
		}
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		if _, err := api.Dial(c.Context(), config.API.Socket); err == nil {
			return fmt.Errorf("%w on %s: stop it first", registry.ErrRunning, config.Aggregator.Data)
		}
		if err := asowner.Become(config.Aggregator.Data); err != nil {
			return err
		}
		progress := command.NewProgress(os.Stderr)
		r, err := aggregator.Restore(c.Context(), config, args[0], *number, func(done, total int64) {
			progress.Show("%d of %d MB", done/1e6, total/1e6)
		})
		progress.Done()
		if err != nil {
			return err
		}
		return out.Print(r, func(w io.Writer) {
			fmt.Fprintf(w, "aggregator %s as of %s, generation %d\n", r.Name, r.Made.Format(time.RFC3339), r.Generation)
			fmt.Fprintf(w, "%s: the configuration as it was; yours is not touched\n", r.Files)
			if r.Held != "" {
				fmt.Fprintf(w, "The log of heads is held: a checkpoint that was published after the backup would give its next size a second root. "+
					"Where the newest checkpoint that anybody has is in it (`edgeaggregator log check`), remove %s; else begin a new log under another transparency.origin.\n", r.Held)
			}
			if !r.HasKey {
				fmt.Fprintf(w, "The key is not in this backup: put it at %s (mode 0600) before the aggregator starts.\n", config.Key.File)
			}
		})
	}
	return c
}
