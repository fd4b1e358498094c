package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/cmd/internal/command"
)

func newRestore() *cobra.Command {
	c := &cobra.Command{
		Use:     "restore FOLDER | restore --newest",
		GroupID: "gateway",
		Short:   "Bring a gateway back from a backup, into an empty data folder",
		Long: `restore copies a generation of a backup into the data folder, where no chain may be, and checks the whole chain. The
configuration as it was is put into the folder restored in it, for you to compare; yours is not touched.

A backup is an old image: what the gateway sealed after it was made is not in it, and sealing on top of it would make a
second history of the chain, which aggregators keep as evidence against it. So an agent on a restored chain records and
acknowledges, but seals nothing until an aggregator that knows the chain has told its newest head; what headers are
missing it takes back. Where no aggregator can tell, give your word that nothing was sealed after the backup: with
--newest, now or later. The same holds of a chain that lost its head mark. If that is not so, or nobody knows: edgeagent init --continue begins a new chain that names this
one.

What edgeagent backup --move handed over is the newest by itself, once.

A chain that was damaged when it was backed up is refused, since an older generation may be whole. With --damaged it comes
back as it is: the agent records around the damage, and tells what is lost.`,
		Example: `  edgeagent restore /media/usb/press-hall
  edgeagent restore /media/usb/press-hall --generation 17
  edgeagent restore --newest`,
		Args: command.Args(cobra.MaximumNArgs(1)),
	}
	flags := c.Flags()
	number := flags.Int("generation", 0, "bring back this `NUMBER`, as backup --list shows it; 0 is the newest")
	damaged := flags.Bool("damaged", false, "bring back a chain of which some blocks do not verify, too")
	newest := flags.Bool("newest", false, "you know that nothing was sealed on this chain after the backup was made, or above what it holds")
	c.RunE = func(c *cobra.Command, args []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		config, err := quietConfig(c)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			if !*newest || *number != 0 || *damaged {
				return command.Failf(command.ExitUsage, "which backup? Usage: %s", c.UseLine())
			}
			mark, err := agent.GiveWord(config)
			if err != nil {
				return err
			}
			return out.Print(mark, func(w io.Writer) {
				fmt.Fprintf(w, "The agent will go on from header %d, by your word that there is none above it.\n", mark.Height)
			})
		}
		progress := command.NewProgress(os.Stderr)
		r, err := agent.Restore(c.Context(), config, agent.RestoreOptions{
			Dir: args[0], Generation: *number, Newest: *newest, Damaged: *damaged, ChainFile: chainFile(c),
			Progress: func(what string, done, total uint64) { progress.Show("%s %d %%", what, 100*done/max(total, 1)) },
			Warn:     func(err error) { fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: %v\n", err) },
		})
		progress.Done()
		if err != nil {
			return err
		}
		return out.Print(r, func(w io.Writer) { writeRestored(w, config, r) })
	}
	return c
}

func writeRestored(w io.Writer, config *agent.Config, r *agent.Restored) {
	fmt.Fprintf(w, "chain   %s\n", r.Chain)
	check := "it verifies"
	if r.Damage != "" {
		check = "DAMAGED"
	}
	fmt.Fprintf(w, "as of   %s, generation %d: height %d, %d entries; %s\n", r.Made.Format(time.RFC3339), r.Generation, r.Height, r.Entries, check)
	if r.Damage != "" {
		fmt.Fprintf(w, "DAMAGE  %s\n", r.Damage)
	}
	if r.Files != "" {
		fmt.Fprintf(w, "files   %s: the configuration as it was; yours is not touched\n", r.Files)
	}
	if !r.HasKey {
		fmt.Fprintf(w, "KEY     is not in this backup: put it at %s (mode 0600, the data folder's owner) before the agent starts;\n", config.Key.File)
		fmt.Fprintln(w, "        if it is lost, begin a new chain that names this one: edgeagent init --continue")
	}
	switch {
	case r.Moved && r.Newest:
		fmt.Fprintln(w, "Nothing was added to it where it was. Start the agent: it changes the key before anything else.")
	case r.Newest:
		fmt.Fprintln(w, "By your word nothing was sealed after it.")
	case r.Moved && len(config.Upstream) == 0:
		fmt.Fprintln(w, "What this backup hands over was taken over already, or that cannot be noted in it: the chain may go on somewhere else.")
		fmt.Fprintln(w, "The agent records, and seals nothing. If you know that it does not: edgeagent restore --newest. Else begin a new chain that names this one:")
		fmt.Fprintln(w, "edgeagent init --continue.")
	case len(config.Upstream) > 0:
		fmt.Fprintln(w, "This is an old image. The agent records, and seals nothing until an aggregator has told the chain's newest head.")
	default:
		fmt.Fprintln(w, "This is an old image, and no aggregator is configured that could tell the chain's newest head: the agent records, and")
		fmt.Fprintln(w, "seals nothing. If nothing was sealed after the backup: edgeagent restore --newest. Else begin a new chain that names")
		fmt.Fprintln(w, "this one: edgeagent init --continue.")
	}
}
