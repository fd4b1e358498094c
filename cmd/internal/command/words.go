package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edgechain.example/tomlconf"
)

// Wrong words of a command line, and what was most likely meant. cobra and pflag answer some with help and a good end,
// some in the words of the library that read a number.

// strict has a program and all its commands answer wrong words with a hint and [ExitUsage].
func strict(root *cobra.Command) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(wrongFlag)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil && help != root {
		help.Run, help.RunE = nil, showHelp
	}
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return notEmpty(c) }
	for _, c := range root.Commands() {
		groups(c)
	}
}

// groups has commands that are nothing without one below them say so.
func groups(c *cobra.Command) {
	for _, below := range c.Commands() {
		groups(below)
	}
	if !c.HasSubCommands() || c.Runnable() {
		return
	}
	c.Args = Args(cobra.NoArgs)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return Failf(ExitUsage, "%s is a group of commands: expected %s\nSee %s --help.", c.CommandPath(), strings.Join(names(c), ", "), c.CommandPath())
	}
}

// notEmpty refuses flags with nothing behind them: as a rule a variable of a script that is not set, and without the flag the
// command would answer another question.
func notEmpty(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" {
			err = Failf(ExitUsage, "--%s is empty: leave it out, or say what is meant", f.Name)
		}
	})
	return err
}

// showHelp is the command help: of a command that is not there it gives none.
func showHelp(help *cobra.Command, args []string) error {
	c := help.Root()
	for _, arg := range args {
		below := child(c, arg)
		if below == nil {
			return unknownCommand(c, arg)
		}
		c = below
	}
	c.InitDefaultHelpFlag()
	return c.Help()
}

func child(c *cobra.Command, name string) *cobra.Command {
	for _, below := range c.Commands() {
		if below.Name() == name || below.HasAlias(name) {
			return below
		}
	}
	return nil
}

// names returns the names of the commands below one.
func names(c *cobra.Command) (all []string) {
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() {
			all = append(all, below.Name())
		}
	}
	return all
}

func unknownCommand(c *cobra.Command, word string) error {
	return Failf(ExitUsage, "unknown command %q for %q%s\nSee %s --help.", word, c.CommandPath(), tomlconf.DidYouMean(word, names(c)), c.CommandPath())
}

// wrongFlag says what is wrong with a flag, and what was expected.
func wrongFlag(c *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		err = fmt.Errorf("--%s %q: expected %s", value.GetFlag().Name, value.GetValue(), expected(value.GetFlag()))
	case errors.As(err, &unknown):
		if words := c.Flags().Args(); c.HasSubCommands() && len(words) > 0 { // the flag is of a command that is spelt wrong
			return unknownCommand(c, words[0])
		}
		err = fmt.Errorf("%w%s", err, meantFlag(c, unknown))
	}
	return Failf(ExitUsage, "%w\nSee %s --help.", err, c.CommandPath())
}

// expected says what the value of a flag may be, by its type.
func expected(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "uint64":
		return "a whole number, 0 or more"
	case "int":
		return "a whole number"
	case "duration":
		return "how long, such as 30s, 12h or 7d"
	case "bool":
		return "true or false"
	}
	return "another value"
}

// meantFlag returns a hint at the flag that one which is unknown was most likely meant to be.
func meantFlag(c *cobra.Command, unknown *pflag.NotExistError) string {
	var long []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			long = append(long, "--"+f.Name)
		}
	})
	word := unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" { // -since is read as -s -i -n -c -e
		word = short
	}
	return tomlconf.DidYouMean("--"+word, long)
}
