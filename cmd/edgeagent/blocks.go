package main

import (
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
)

func newBlocks() *cobra.Command {
	c := &cobra.Command{
		Use:     "blocks",
		GroupID: "chain",
		Short:   "List blocks, the newest first",
		Args:    command.Args(cobra.NoArgs),
	}
	from := c.Flags().Uint64("from", 0, "the lowest `HEIGHT`")
	to := c.Flags().Uint64("to", 0, "the highest `HEIGHT`, which is listed too (default the newest)")
	limit := c.Flags().IntP("limit", "n", 20, "at most so `MANY`; 0 for all")
	forwards := c.Flags().Bool("forwards", false, "the oldest first")
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		if err := inOrder(c, *from, *to); err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		values := url.Values{"from": {strconv.FormatUint(*from, 10)}, "reverse": {strconv.FormatBool(!*forwards)}}
		setTo(c, values, *to)
		if *limit > 0 {
			values.Set("limit", strconv.Itoa(*limit))
		}
		var table *command.Table
		if !out.JSON() {
			table = command.NewTable(out.Writer(), "HEIGHT", "SEALED", "FIRST", "ENTRIES", "CLOCK", "HASH", "")
			defer table.Flush()
		}
		lost, err := lostBlock(c, client, out, *to)
		if err != nil {
			return err
		}
		tell := func() {
			if lost != nil {
				_ = json.NewEncoder(out.Writer()).Encode(lost)
			}
		}
		if !*forwards {
			tell()
		}
		for b, err := range client.Blocks(c.Context(), values) {
			if err != nil {
				return err
			}
			if out.JSON() {
				if err := json.NewEncoder(out.Writer()).Encode(b); err != nil {
					return err
				}
				continue
			}
			if b.Gone != "" {
				table.Row(strconv.FormatUint(b.Height, 10), "-", "-", "-", "-", "-", b.Gone)
				continue
			}
			note, hash := "", "-"
			if b.NextKey != "" {
				note = "sets the key"
			}
			if b.Hash != nil {
				hash = b.Hash.String()[:16]
			}
			table.Row(strconv.FormatUint(b.Height, 10), command.Instant(b.Sealed), strconv.FormatUint(b.First, 10), strconv.FormatUint(b.Count, 10), b.Clock, hash, note)
		}
		if *forwards {
			tell()
		}
		return nil
	}
	return c
}

// lostBlock returns what says to programs, in the place of the blocks, that the chain's end is lost here; nil if it is not.
// People get a warning.
func lostBlock(c *cobra.Command, client *api.Client, out *command.Output, to uint64) (*api.Block, error) {
	if !out.JSON() {
		return nil, nil
	}
	s, err := client.Status(c.Context())
	if err != nil || s.SetBack == "" || c.Flags().Changed("to") && to <= s.Height {
		return nil, err
	}
	return &api.Block{Height: s.Height + 1, Gone: s.SetBack}, nil
}
