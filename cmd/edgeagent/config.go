package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/sensors"
	"edgechain.example/tomlconf"
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

// quietConfig is loadConfig for commands that only read, and need no more than some keys.
func quietConfig(c *cobra.Command) (*agent.Config, error) { return keysOf(c, agent.ReadingKeys()) }

// keysOf reads some keys of the configuration, and leaves the others alone.
func keysOf(c *cobra.Command, keys []string) (*agent.Config, error) {
	file, set, err := command.ConfigFlags(c, "gateway.data", "block.interval=10s")
	if err != nil {
		return nil, err
	}
	config, err := agent.LoadKeys(file, os.Environ(), set, keys)
	return config, command.Fail(command.ExitUsage, err)
}

// warnedConfig is keysOf for a command before which the operator changed the configuration, perhaps: where all of it can be
// read here, its warnings are told. Where not, the service that runs by it may have what is lacking here.
func warnedConfig(c *cobra.Command, keys []string) (*agent.Config, error) {
	if _, warnings, err := readConfig(c); err == nil {
		for _, w := range warnings {
			fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: %s\n", w)
		}
	}
	return keysOf(c, keys)
}

func readConfig(c *cobra.Command) (*agent.Config, []tomlconf.Problem, error) {
	file, keys, err := command.ConfigFlags(c, "gateway.data", "block.interval=10s")
	if err != nil {
		return nil, nil, err
	}
	config, warnings, err := agent.LoadConfig(file, os.Environ(), keys)
	return config, warnings, command.Fail(command.ExitUsage, err)
}
