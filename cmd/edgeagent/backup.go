package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/backup"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/store"
	"edgechain.example/shellword"
	"edgechain.example/tomlconf"
)

func newBackup() *cobra.Command {
	c := &cobra.Command{
		Use:     "backup FOLDER",
		GroupID: "gateway",
		Short:   "Copy the chain and the configuration to another disk, while the agent runs or not",
		Long: `backup adds a generation to a backup folder on another disk: a USB stick (FAT will do) or a network share. It holds all
that was acknowledged before it began. What the folder has already is not copied again, and an interrupted backup leaves
the generations before it whole.

The private key goes along only if you say so. With it the backup is a second gateway: whoever has it can sign in this
one's name, and two that run at once fork the chain. Without it, keep the key file somewhere else yourself; a backup
whose key is lost can be read, verified and proved from, and continued by a new chain that names it.

--move hands the chain over, the key with it: the agent, which must be stopped, never records on this board again. What
edgeagent restore brings back from it on the new board changes its key at its first start, so that no copy of the old
one signs anything that counts.`,
		Example: `  edgeagent backup /media/usb/press-hall --keep 7
  edgeagent backup --list /media/usb/press-hall
  edgeagent backup --verify /media/usb/press-hall`,
		Args: command.Args(cobra.ExactArgs(1)),
	}
	flags := c.Flags()
	withKey := flags.Bool("with-key", false, "with the private key, and the other secret files that the configuration names")
	move := flags.Bool("move", false, "hand the chain over, with the key, and bar this board for good")
	keep := flags.Int("keep", 0, "keep so `MANY` generations and drop older ones; 0 keeps all")
	list := flags.Bool("list", false, "list the generations in the folder instead")
	verify := flags.Bool("verify", false, "read the whole folder instead, and name what is damaged")
	c.MarkFlagsMutuallyExclusive("list", "verify", "move")
	c.MarkFlagsMutuallyExclusive("list", "verify", "with-key")
	c.MarkFlagsMutuallyExclusive("list", "verify", "keep")
	c.RunE = func(c *cobra.Command, args []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		switch {
		case *list:
			return listBackups(out, args[0])
		case *verify:
			return verifyBackups(c, out, args[0])
		case *keep < 0:
			return command.Failf(command.ExitUsage, "--keep %d: expected 0 or more", *keep)
		}
		return makeBackup(c, out, agent.BackupOptions{Dir: args[0], WithKey: *withKey, Move: *move, Keep: *keep, Version: version})
	}
	return c
}

func makeBackup(c *cobra.Command, out *command.Output, o agent.BackupOptions) error {
	config, err := keysOf(c, agent.BackupKeys())
	if err != nil {
		return err
	}
	file, err := c.Flags().GetString("config")
	if err != nil {
		return err
	}
	if o.Files, err = tomlconf.Files(file, agent.DefaultConfigPath); err != nil {
		return err
	}
	if name := chainFile(c); name != "" {
		o.Files = append(o.Files, name)
	}
	progress := command.NewProgress(os.Stderr)
	o.Progress = func(done, total int64) {
		progress.Show("%s of %s", size(uint64(done)), size(uint64(total)))
	}
	added, facts, err := agent.Backup(c.Context(), config, o)
	progress.Done()
	if err != nil {
		return asRoot(err)
	}
	g := added.Generation
	return out.Print(struct {
		generation
		Copied      int   `json:"copied_files"`
		CopiedBytes int64 `json:"copied_bytes"`
		Dropped     []int `json:"dropped,omitempty"`
	}{newGeneration(g, facts), added.Copied, added.CopiedBytes, added.Dropped}, func(w io.Writer) {
		fmt.Fprintf(w, "generation %d of chain %s: height %d, %d entries\n", g.Number, facts.Chain, facts.Height, facts.Entries)
		fmt.Fprintf(w, "%s, of which %s in %d files were copied now\n", size(uint64(g.Bytes())), size(uint64(added.CopiedBytes)), added.Copied)
		if len(added.Dropped) > 0 {
			fmt.Fprintf(w, "dropped: %v\n", added.Dropped)
		}
		if facts.Lost != (store.Lost{}) {
			fmt.Fprintf(w, "DAMAGE is in it: %d entries, %d headers and %d other files are lost on this disk. An older generation may hold them, so\n", facts.Lost.Entries, facts.Lost.Headers, facts.Lost.Tables)
			fmt.Fprintln(w, "none is dropped; this one comes back with edgeagent restore --damaged.")
		}
		switch {
		case facts.Moved:
			fmt.Fprintln(w, "The chain is handed over. This board cannot record on it any more, and its key is destroyed as far as that can be done.")
			fmt.Fprintf(w, "On the new board: edgeagent restore %s, then start the agent.\n", shellword.Path(o.Dir))
		case facts.WithKey:
			fmt.Fprintln(w, "The private key is in it: whoever has this folder can sign as this gateway.")
		default:
			fmt.Fprintln(w, "The private key is not in it.")
		}
	})
}

// generation is one line of a list.
type generation struct {
	Generation int       `json:"generation"`
	Made       time.Time `json:"made"`
	agent.BackupFacts
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	Taken bool  `json:"taken"` // what it hands over was taken over
}

func newGeneration(g *backup.Generation, facts agent.BackupFacts) generation {
	return generation{g.Number, g.Made, facts, len(g.Files), g.Bytes(), g.Taken}
}

func listBackups(out *command.Output, dir string) error {
	folder, err := backup.Open(dir)
	if err != nil {
		return err
	}
	all, failed := folder.Generations()
	lines := []generation{}
	for _, g := range all {
		facts, err := agent.ReadBackupFacts(g)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		lines = append(lines, newGeneration(g, facts))
	}
	return errors.Join(failed, out.Print(lines, func(w io.Writer) {
		fmt.Fprintln(w, folder.Subject())
		table := command.NewTable(w, "GENERATION", "MADE", "HEIGHT", "ENTRIES", "SIZE", "KEY", "")
		for _, g := range lines {
			key, note := "no", ""
			if g.WithKey {
				key = "yes"
			}
			switch {
			case g.Taken:
				note = "moved, taken over"
			case g.Moved:
				note = "moved"
			case g.Lost != (store.Lost{}):
				note = "damaged"
			}
			table.Row(strconv.Itoa(g.Generation), g.Made.Format(time.RFC3339), strconv.FormatUint(g.Height, 10), strconv.FormatUint(g.Entries, 10), size(uint64(g.Bytes)), key, note)
		}
		_ = table.Flush()
	}))
}

func verifyBackups(c *cobra.Command, out *command.Output, dir string) error {
	folder, err := backup.Open(dir)
	if err != nil {
		return err
	}
	progress := command.NewProgress(os.Stderr)
	verified, err := folder.Verify(c.Context(), func(done, total int64) {
		progress.Show("read %s of %s", size(uint64(done)), size(uint64(total)))
	})
	progress.Done()
	if err != nil {
		return err
	}
	return out.Print(verified, func(w io.Writer) {
		fmt.Fprintf(w, "generations: %d, files: %d, %s: all as they were written\n", verified.Generations, verified.Files, size(uint64(verified.Bytes)))
	})
}
