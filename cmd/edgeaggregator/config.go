package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"edgechain/aggregator"
	"edgechain/cmd/internal/command"
	"edgechain/lightchain"
	"edgechain/tomlconf"
)

func newConfig() *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		GroupID: "node",
		Short:   "Print a sample configuration, every key explained",
		Args:    command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), aggregator.Sample)
			return err
		},
	}
}

func newCheckConfig() *cobra.Command {
	c := &cobra.Command{
		Use:     "check-config",
		GroupID: "node",
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
		return out.Print(map[string]any{"ok": true}, func(w io.Writer) {
			if *show {
				fmt.Fprint(w, tomlconf.Format(config))
			}
			fmt.Fprintln(w, "The configuration is sound.")
		})
	}
	return c
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the program's version",
		Args:  command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := command.NewOutput(c)
			if err != nil {
				return err
			}
			v := map[string]any{
				"version": version, "format": lightchain.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			}
			return out.Print(v, func(w io.Writer) {
				fmt.Fprintf(w, "edgeaggregator %s (format %d, %s, %s/%s)\n", version, lightchain.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			})
		},
	}
}
