package main

import (
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/cmd/internal/command"
)

func newForks() *cobra.Command {
	c := &cobra.Command{
		Use:     "forks",
		GroupID: "gateways",
		Short:   "Evidence that a gateway's keys signed two histories",
	}
	list := &cobra.Command{
		Use:   "list [CHAIN]",
		Short: "List the evidence kept against one gateway, or all",
		Args:  command.Args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c, func(asked *api.Client, out *command.Output) error { return listForks(c, asked, out, args) })
		},
	}
	export := &cobra.Command{
		Use:   "export CHAIN [ID]",
		Short: "Write one piece of evidence, which edgeverify checks anywhere, to a file",
		Args:  command.Args(cobra.RangeArgs(1, 2)),
	}
	file := export.Flags().StringP("file", "f", "", "the `FILE`, by custom *.edgefork; - is standard output")
	_ = export.MarkFlagRequired("file")
	export.RunE = func(c *cobra.Command, args []string) error {
		return with(c, func(asked *api.Client, out *command.Output) error {
			id := ""
			if len(args) == 2 {
				id = args[1]
			}
			if id == "" {
				for f, err := range asked.Forks(c.Context(), args[0]) {
					if err != nil {
						return err
					}
					if id != "" {
						return command.Failf(command.ExitUsage, "there is more than one piece of evidence: name the ID that `forks list` shows")
					}
					id = f.ID.String()
				}
			}
			if id == "" {
				return command.Failf(command.ExitNotFound, "there is no evidence against this gateway")
			}
			b, err := asked.Evidence(c.Context(), args[0], id)
			if err != nil {
				return err
			}
			return writeResult(c, out, *file, b)
		})
	}
	c.AddCommand(list, export)
	return c
}

func listForks(c *cobra.Command, asked *api.Client, out *command.Output, args []string) error {
	chains := args
	if len(chains) == 0 {
		for g, err := range asked.Gateways(c.Context(), "", registry.Forked) {
			if err != nil {
				return err
			}
			chains = append(chains, g.Chain.String())
		}
	}
	var table *command.Table
	if !out.JSON() {
		table = command.NewTable(out.Writer(), "CHAIN", "NAME", "HEIGHT", "SEEN", "ID")
		defer table.Flush()
	}
	for _, chain := range chains {
		for f, err := range asked.Forks(c.Context(), chain) {
			if err != nil {
				return err
			}
			if table == nil {
				if err := json.NewEncoder(out.Writer()).Encode(f); err != nil {
					return err
				}
				continue
			}
			table.Row(f.Chain.String(), command.Printable(f.Name), strconv.FormatUint(f.Height, 10), second(f.Seen), f.ID.String())
		}
	}
	return nil
}
