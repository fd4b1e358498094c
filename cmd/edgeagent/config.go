package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/tomlconf"
)

func newConfig() *cobra.Command {
	c := command.NewConfig("gateway", agent.Sample)
	c.AddCommand(newSuggest())
	return c
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
	if err == nil {
		command.TellDefaults(c, agent.DefaultConfigPath, "gateway.data", set, config.Gateway.Data)
		tellMistakes(c, file, set)
	}
	return config, command.Fail(command.ExitUsage, err)
}

// tellMistakes tells what is wrong with the configuration beside what a command needs of it. That keeps no one from
// reading, but the agent would not start with it. A variable that this shell does not have is no mistake: the service may
// have it.
func tellMistakes(c *cobra.Command, file string, set map[string]string) {
	var problems tomlconf.Problems
	if !command.First(c, "mistakes") {
		return
	}
	if _, _, err := agent.LoadConfig(file, os.Environ(), set); !errors.As(err, &problems) {
		return
	}
	table := func(p tomlconf.Problem) string { name, _, _ := strings.Cut(p.Text, "."); return name }
	unset := map[string]bool{} // tables with such a variable: what is wrong with them may follow from that
	for _, p := range problems {
		if p.Unset != "" {
			unset[table(p)] = true
		}
	}
	for _, p := range problems {
		if !unset[table(p)] {
			fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: the agent does not start with this configuration: %v\n", p)
		}
	}
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
	if err == nil {
		command.TellDefaults(c, agent.DefaultConfigPath, "gateway.data", keys, config.Gateway.Data)
	}
	return config, warnings, command.Fail(command.ExitUsage, err)
}
