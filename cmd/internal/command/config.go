package command

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"edgechain.example/tomlconf"
)

// ConfigFlags returns what a command's flags say of the configuration: the file that --config names, and texts by the key
// that they set: those of --set, and --data under dataKey. The example is shown to whoever got --set wrong.
func ConfigFlags(c *cobra.Command, dataKey, example string) (file string, keys map[string]string, err error) {
	flags := c.Flags()
	if file, err = flags.GetString("config"); err != nil {
		return "", nil, err
	}
	sets, err := flags.GetStringArray("set")
	if err != nil {
		return "", nil, err
	}
	keys = map[string]string{}
	for _, set := range sets {
		key, value, found := strings.Cut(set, "=")
		if !found {
			return "", nil, Failf(ExitUsage, "--set %q: expected key=value, as in %s", set, example)
		}
		keys[key] = value
	}
	if data, err := flags.GetString("data"); err == nil && data != "" {
		if keys[dataKey], err = filepath.Abs(data); err != nil {
			return "", nil, err
		}
	}
	return file, keys, nil
}

// NewConfig returns the command that prints a sample configuration.
func NewConfig(group, sample string) *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		GroupID: group,
		Short:   "Print a sample configuration, every key explained",
		Args:    Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), sample)
			return err
		},
	}
}

// NewCheckConfig returns the command that checks the configuration. load returns it, and its hash where it has one.
func NewCheckConfig(group string, load func(*cobra.Command) (config any, hash fmt.Stringer, err error)) *cobra.Command {
	c := &cobra.Command{
		Use:     "check-config",
		GroupID: group,
		Short:   "Check the configuration, and say everything that is wrong with it",
		Args:    Args(cobra.NoArgs),
	}
	show := c.Flags().Bool("show", false, "print the configuration in force, passwords left out")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, hash, err := load(c)
		if err != nil {
			return err
		}
		out, err := NewOutput(c)
		if err != nil {
			return err
		}
		answer, named := map[string]any{"ok": true}, ""
		if hash != nil {
			answer["sha256"], named = hash, fmt.Sprintf(" (sha256 %s)", hash)
		}
		return out.Print(answer, func(w io.Writer) {
			if *show {
				fmt.Fprint(w, tomlconf.Format(config))
			}
			fmt.Fprintf(w, "The configuration is sound%s.\n", named)
		})
	}
	return c
}
