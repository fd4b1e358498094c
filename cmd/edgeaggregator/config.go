package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/tomlconf"
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
	config, warnings, err := readConfig(c)
	for _, w := range warnings {
		fmt.Fprintf(c.ErrOrStderr(), "edgeaggregator: warning: %s\n", w)
	}
	return config, err
}

// quietConfig is loadConfig for commands beside the one that runs: what is hardly meant concerns that one.
func quietConfig(c *cobra.Command) (*aggregator.Config, error) {
	config, _, err := readConfig(c)
	return config, err
}

func readConfig(c *cobra.Command) (*aggregator.Config, []tomlconf.Problem, error) {
	file, keys, err := command.ConfigFlags(c, "aggregator.data", "pull.mode=sparse")
	if err != nil {
		return nil, nil, err
	}
	if url, err := c.Flags().GetString("store"); err == nil && url != "" {
		keys["store.url"] = url
	}
	command.TellDefaults(c, aggregator.DefaultConfigPath, "aggregator.data", keys, aggregator.DefaultConfig().Aggregator.Data)
	config, warnings, err := aggregator.LoadConfig(file, os.Environ(), keys)
	return config, warnings, command.Fail(command.ExitUsage, err)
}
