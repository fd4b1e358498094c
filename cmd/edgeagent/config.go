package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"edgechain/agent"
	"edgechain/cmd/internal/command"
	"edgechain/sensors"
	"edgechain/tomlconf"
)

func newConfig() *cobra.Command { return command.NewConfig("gateway", agent.Sample) }

func newCheckConfig() *cobra.Command {
	return command.NewCheckConfig("gateway", func(c *cobra.Command) (any, fmt.Stringer, error) {
		config, err := loadConfig(c)
		if err != nil {
			return nil, nil, err
		}
		return config, config.Hash(sensors.DecoderVersion), nil
	})
}

// loadConfig reads the configuration that the command's flags name, and tells its warnings.
func loadConfig(c *cobra.Command) (*agent.Config, error) {
	config, warnings, err := readConfig(c)
	for _, w := range warnings {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: %s\n", w)
	}
	return config, err
}

// quietConfig is loadConfig for commands that only read: what is hardly meant concerns those who record.
func quietConfig(c *cobra.Command) (*agent.Config, error) {
	config, _, err := readConfig(c)
	return config, err
}

func readConfig(c *cobra.Command) (*agent.Config, []tomlconf.Problem, error) {
	file, keys, err := command.ConfigFlags(c, "gateway.data", "block.interval=10s")
	if err != nil {
		return nil, nil, err
	}
	config, warnings, err := agent.LoadConfig(file, os.Environ(), keys)
	return config, warnings, command.Fail(command.ExitUsage, err)
}
