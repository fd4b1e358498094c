package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
)

func newHeaders() *cobra.Command {
	c := &cobra.Command{
		Use:     "headers CHAIN",
		GroupID: "gateways",
		Short:   "List the headers held of a gateway",
		Args:    command.Args(cobra.ExactArgs(1)),
	}
	from := c.Flags().Uint64("from", 0, "the lowest `HEIGHT`")
	to := c.Flags().Uint64("to", 0, "the highest `HEIGHT` (default the newest)")
	limit := c.Flags().Uint64P("limit", "n", 1000, "at most so `MANY`")
	c.RunE = func(c *cobra.Command, args []string) error {
		return with(c, func(asked *api.Client, out *command.Output) error {
			values := url.Values{"from": {strconv.FormatUint(*from, 10)}, "limit": {strconv.FormatUint(*limit, 10)}}
			if c.Flags().Changed("to") {
				values.Set("to", strconv.FormatUint(*to, 10))
			}
			var table *command.Table
			if !out.JSON() {
				table = command.NewTable(out.Writer(), "HEIGHT", "SEALED", "FIRST", "ENTRIES", "CLOCK", "HASH", "")
				defer table.Flush()
			}
			for h, err := range asked.Headers(c.Context(), args[0], values) {
				if err != nil {
					return err
				}
				if table == nil {
					if err := json.NewEncoder(out.Writer()).Encode(h); err != nil {
						return err
					}
					continue
				}
				note := ""
				if h.NextKey != "" {
					note = "sets the key"
				}
				table.Row(strconv.FormatUint(h.Height, 10), command.Instant(h.Sealed), strconv.FormatUint(h.First, 10),
					strconv.FormatUint(h.Count, 10), h.Clock, h.Hash.String()[:16], note)
			}
			return nil
		})
	}
	return c
}

func newReceipt() *cobra.Command {
	c := &cobra.Command{
		Use:     "receipt CHAIN",
		GroupID: "gateways",
		Short:   "Show or export the receipt that was issued for a head",
		Args:    command.Args(cobra.ExactArgs(1)),
	}
	height := c.Flags().Uint64("height", 0, "the first receipt at this `HEIGHT` or above (default the newest)")
	file := c.Flags().StringP("file", "f", "", "write the countersigned header to this `FILE`; - is standard output")
	c.RunE = func(c *cobra.Command, args []string) error {
		return with(c, func(asked *api.Client, out *command.Output) error {
			var wanted *uint64
			if c.Flags().Changed("height") {
				wanted = height
			}
			b, err := asked.Receipt(c.Context(), args[0], wanted)
			if err != nil {
				return err
			}
			if *file != "" {
				return writeResult(c, out, *file, b)
			}
			signed, err := lightchain.DecodeSignedHeader(b)
			if err != nil || len(signed.Receipts) != 1 {
				return command.Failf(command.ExitStorage, "the stored receipt does not read: %v", err)
			}
			r := &signed.Receipts[0]
			at, _ := lighttime.Second(r.Time)
			told := map[string]any{"chain": signed.ChainID(), "height": signed.Header.Height, "hash": signed.Hash(), "name": r.Name, "time": at, "header": b}
			return out.Print(told, func(w io.Writer) {
				line(w, "chain", signed.ChainID().String())
				line(w, "height", fmt.Sprint(signed.Header.Height))
				line(w, "hash", signed.Hash().String())
				line(w, "by", r.Name)
				line(w, "at", second(at))
			})
		})
	}
	return c
}
