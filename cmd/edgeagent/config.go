package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"edgechain/agent"
	"edgechain/cmd/internal/command"
	"edgechain/sensors"
	"edgechain/tomlconf"
)

func newConfig() *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		GroupID: "gateway",
		Short:   "Print a sample configuration, every key explained",
		Args:    command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), agent.Sample)
			return err
		},
	}
}

func newCheckConfig() *cobra.Command {
	c := &cobra.Command{
		Use:     "check-config",
		GroupID: "gateway",
		Short:   "Check the configuration, and say everything that is wrong with it",
		Args:    command.Args(cobra.NoArgs),
	}
	show := c.Flags().Bool("show", false, "print the configuration in force, passwords left out")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := loadConfig(c)
		if err != nil {
			return err
		}
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		hash := config.Hash(sensors.DecoderVersion)
		return out.Print(map[string]any{"ok": true, "sha256": hash}, func(w io.Writer) {
			if *show {
				fmt.Fprint(w, tomlconf.Format(config))
			}
			fmt.Fprintf(w, "The configuration is sound (sha256 %s).\n", hash)
		})
	}
	return c
}
