package main

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
)

// receiptsLine is a block as receipts --output json shows it.
type receiptsLine struct {
	Height   uint64            `json:"height"`
	Sealed   time.Time         `json:"sealed,omitzero"`
	Gone     string            `json:"gone,omitempty"` // why the header is not here
	Receipts []string          `json:"receipts"`       // names of aggregators
	Covered  map[string]uint64 `json:"covered"`        // by aggregator: the lowest header above, or this one, that it countersigned
}

func newReceipts() *cobra.Command {
	c := &cobra.Command{
		Use:     "receipts",
		GroupID: "chain",
		Short:   "List which blocks are receipted, by whom, and which are not yet",
		Long: `receipts lists blocks, the newest first, with the aggregators that countersigned them. A receipt covers every block
below it too: covered says which header's receipt is the first to do so.`,
		Args: command.Args(cobra.NoArgs),
	}
	limit := c.Flags().IntP("limit", "n", 50, "at most so `MANY` blocks; 0 for all")
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		values := url.Values{"reverse": {"true"}}
		if *limit > 0 {
			values.Set("limit", strconv.Itoa(*limit))
		}
		var table *command.Table
		if !out.JSON() {
			table = command.NewTable(out.Writer(), "HEIGHT", "SEALED", "RECEIPTED BY", "COVERED")
			defer table.Flush()
		}
		covered := map[string]uint64{} // lowest receipted header seen so far, by aggregator
		write := func(b *api.Block) error {
			for _, name := range b.Receipts {
				covered[name] = b.Height
			}
			switch height := strconv.FormatUint(b.Height, 10); {
			case out.JSON():
				return json.NewEncoder(out.Writer()).Encode(receiptsLine{b.Height, b.Sealed, b.Gone, append([]string{}, b.Receipts...), covered})
			case b.Gone != "":
				table.Row(height, "-", "-", b.Gone)
			default:
				table.Row(height, command.Instant(b.Sealed), orDash(strings.Join(b.Receipts, " ")), orDash(coverage(covered)))
			}
			return nil
		}
		lost, err := lostBlock(c, client, out, 0)
		if err != nil {
			return err
		}
		if lost != nil {
			if err := write(lost); err != nil {
				return err
			}
		}
		for b, err := range client.Blocks(c.Context(), values) {
			if err != nil {
				return err
			}
			if err := write(&b); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

func orDash(s string) string {
	if s == "" {
		return "not yet"
	}
	return s
}

// coverage says by whose receipt on which header a block is covered.
func coverage(covered map[string]uint64) string {
	names := make([]string, 0, len(covered))
	for name := range covered {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = name + "@" + strconv.FormatUint(covered[name], 10)
	}
	return strings.Join(names, " ")
}
