package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/store"
)

// withRemedy says what to do about a chain that does not verify.
func withRemedy(err error) error {
	var failed *store.VerifyError
	if !errors.As(err, &failed) {
		return err
	}
	return fmt.Errorf("%w\nNone lower was found wrong. Look at the disk first. What can be read can still be exported and backed up; "+
		"what is lost, a backup from before may have: edgeagent --data ANOTHER-FOLDER restore BACKUP", err)
}

func newVerify() *cobra.Command {
	return &cobra.Command{
		Use:     "verify",
		GroupID: "chain",
		Short:   "Check the whole chain, and name the first block that fails",
		Long: `verify reads the whole chain and checks each header against those before it, its signature, the numbers, and the
root over the block's entries; and that the files beside them, with receipts, keys and notes, can be read. It fails, with
exit code 3, if anything does not hold, and also if what is there holds but something that was sealed is not there, but for
what retention has deleted: headers above a gap, entries that are lost though their headers came back. While the agent runs
it reads a checkpoint, so that recording goes on and the program under examination does not examine itself.`,
		Args: command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			chain, done, err := openChain(c)
			if errors.Is(err, store.ErrDamaged) { // and so what it holds is out of reach
				return command.Fail(command.ExitVerification, err)
			}
			if err != nil {
				return err
			}
			defer done()
			began := time.Now()
			progress := command.NewProgress(os.Stderr)
			top := chain.Tip().Height
			summary, err := chain.Verify(c.Context(), func(height, entries uint64) {
				progress.Show("checked %d of %d blocks, %d entries", height, top, entries)
			})
			if err == nil {
				progress.Show("reading the tables beside the blocks")
				err = chain.VerifyTables(c.Context(), nil, func(d store.Damage) error {
					return command.Fail(command.ExitVerification, &d)
				})
			}
			progress.Done()
			if err != nil {
				return withRemedy(err)
			}
			return errors.Join(summary.Incomplete(), out.Print(summary, func(w io.Writer) {
				fmt.Fprintf(w, "chain %s verifies\n", summary.Chain)
				fmt.Fprintf(w, "%d headers, %d blocks with %d entries, in %.1f s\n", summary.Heights, summary.Blocks, summary.Entries, time.Since(began).Seconds())
				if summary.Open > 0 {
					fmt.Fprintf(w, "%d entries are not sealed yet\n", summary.Open)
				}
				if summary.Pruned > 0 {
					fmt.Fprintf(w, "the entries of %d blocks were deleted by retention\n", summary.Pruned)
				}
				if summary.Lost > 0 {
					fmt.Fprintf(w, "the entries of %d blocks are not here: they were lost, or never came to this copy\n", summary.Lost)
				}
				if summary.NotHeld > 0 {
					fmt.Fprintf(w, "%d headers are not here, and their blocks' entries with them\n", summary.NotHeld)
				}
			}))
		},
	}
}
