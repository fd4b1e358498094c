package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/command"
	"edgechain.example/sensors/opcua"
)

func newOPCUA() *cobra.Command {
	c := &cobra.Command{
		Use:     "opcua",
		GroupID: "gateway",
		Short:   "Look into an OPC UA server",
	}
	c.AddCommand(newOPCUABrowse())
	return c
}

func newOPCUABrowse() *cobra.Command {
	c := &cobra.Command{
		Use:   "browse NAME [NODE]",
		Short: "List the nodes of a server, with the ids that the configuration takes",
		Long: `browse lists the nodes below one of a [[opcua]] of the configuration, without NODE below the folder of all objects: "edgeagent opcua
browse line-1 'ns=2;s=Press' --depth 3". It has a session of its own, beside that of a running agent, and needs the rights to read the
gateway's certificate and key in the data folder.

Exit codes: 0 listed; 1 the server does not say; 2 the configuration is wrong; 4 no server has that name.`,
		Args: command.Args(cobra.RangeArgs(1, 2)),
	}
	depth := c.Flags().Int("depth", 1, "how many `LEVELS` to go down")
	c.RunE = func(c *cobra.Command, args []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		config, _, err := readConfig(c)
		if err != nil {
			return err
		}
		below := ""
		if len(args) > 1 {
			below = args[1]
		}
		nodes, err := config.BrowseOPCUA(c.Context(), args[0], below, max(1, *depth))
		if err != nil {
			return err
		}
		return out.Print(append([]opcua.Node{}, nodes...), func(w io.Writer) {
			table := command.NewTable(w, "NODE", "CLASS", "NAME")
			defer table.Flush()
			for _, n := range nodes {
				table.Row(command.Printable(n.ID), n.Class, fmt.Sprint(strings.Repeat("  ", n.Depth-1), command.Printable(n.Name)))
			}
		})
	}
	return c
}
