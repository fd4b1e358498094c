package main

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"edgechain/aggregator"
	"edgechain/cmd/internal/command"
	"edgechain/lightchain"
)

func newConfig() *cobra.Command { return command.NewConfig("node", aggregator.Sample) }

func newCheckConfig() *cobra.Command {
	return command.NewCheckConfig("node", func(c *cobra.Command) (any, fmt.Stringer, error) {
		config, err := loadConfig(c)
		return config, nil, err
	})
}

// loadConfig reads the configuration that the command's flags name, and tells its warnings.
func loadConfig(c *cobra.Command) (*aggregator.Config, error) {
	file, keys, err := command.ConfigFlags(c, "aggregator.data", "pull.mode=sparse")
	if err != nil {
		return nil, err
	}
	if url, err := c.Flags().GetString("store"); err == nil && url != "" {
		keys["store.url"] = url
	}
	config, warnings, err := aggregator.LoadConfig(file, os.Environ(), keys)
	for _, w := range warnings {
		fmt.Fprintf(c.ErrOrStderr(), "edgeaggregator: warning: %s\n", w)
	}
	if err != nil {
		return nil, command.Fail(command.ExitUsage, err)
	}
	return config, nil
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
