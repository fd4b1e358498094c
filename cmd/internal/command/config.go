package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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

// First reports whether a command does something for the first time: it reads its configuration more than once, and says
// what is to be said of it once.
func First(c *cobra.Command, what string) bool {
	root := c.Root()
	if root.Annotations[what] != "" {
		return false
	}
	if root.Annotations == nil {
		root.Annotations = map[string]string{}
	}
	root.Annotations[what] = "done"
	return true
}

// TellDefaults says that there is no configuration, where none is named and the usual one is not there: most likely
// --config was forgotten. Who names the data folder, under dataKey, knows what is read.
func TellDefaults(c *cobra.Command, usual, dataKey string, keys map[string]string, data string) {
	file, err := c.Flags().GetString("config")
	if err != nil || file != "" || keys[dataKey] != "" {
		return
	}
	name := c.Root().Name()
	variable := strings.ToUpper(name + "_" + strings.ReplaceAll(dataKey, ".", "_"))
	if _, err := os.Stat(usual); !errors.Is(err, fs.ErrNotExist) || os.Getenv(variable) != "" || !First(c, "defaults") {
		return
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: warning: there is no %s, and no other configuration is named (-c FILE): the defaults hold, with the data in %s\n", name, usual, data)
}

// NewConfig returns the command that prints a sample configuration.
func NewConfig(group, sample string) *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		GroupID: group,
		Short:   "Print a sample configuration, every key explained",
		Args:    Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := NewOutput(c)
			if err != nil {
				return err
			}
			return out.Print(map[string]string{"config": sample}, func(w io.Writer) { _, _ = io.WriteString(w, sample) })
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
		if *show {
			answer["config"] = tomlconf.Format(config)
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
