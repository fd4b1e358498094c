package command

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
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
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		return cmp.Or(notEmpty(c), apart(c), present(c), notNegative(c), form(c))
	}
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

// Annotations that cobra makes of flags. It looks at them later, and answers in words of its own.
const (
	exclusive = "cobra_annotation_mutually_exclusive" // each text is a group, its names between blanks
	required  = cobra.BashCompOneRequiredFlag
)

// apart refuses flags that exclude one another.
func apart(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		for _, group := range f.Annotations[exclusive] {
			var given []string
			for _, name := range strings.Fields(group) {
				if c.Flags().Changed(name) {
					given = append(given, "--"+name)
				}
			}
			if err == nil && len(given) > 1 {
				err = Failf(ExitUsage, "%s do not go together: leave all of them out but one\nSee %s --help.", strings.Join(given, " and "), c.CommandPath())
			}
		}
	})
	return err
}

// present refuses to do without a flag that a command needs.
func present(c *cobra.Command) (err error) {
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if needed := f.Annotations[required]; err == nil && len(needed) > 0 && needed[0] == "true" && !f.Changed {
			what, usage := pflag.UnquoteUsage(f)
			err = Failf(ExitUsage, "expected --%s %s: %s\nSee %s --help.", f.Name, what, usage, c.CommandPath())
		}
	})
	return err
}

// notNegative refuses numbers below zero: all are counts.
func notNegative(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "int" && strings.HasPrefix(f.Value.String(), "-") {
			err = wrongFlag(c, fmt.Errorf("--%s %s: expected %s", f.Name, f.Value, expected(f)))
		}
	})
	return err
}

// form refuses a form of output that there is none of, of each command.
func form(c *cobra.Command) error {
	if c.Flags().Lookup("output") == nil {
		return nil
	}
	_, err := NewOutput(c)
	return err
}

// number says how many arguments a command takes that does not take so many, by trying.
func number(check func(n int) bool, given int) string {
	least := 0
	for !check(least) && least < 9 {
		least++
	}
	most := least
	for check(most+1) && most <= given {
		most++
	}
	said := func(n int) string {
		if n == 1 {
			return "1 argument"
		}
		return fmt.Sprintf("%d arguments", n)
	}
	switch {
	case least == most:
		return said(least)
	case given < least:
		return "at least " + said(least)
	}
	return "at most " + said(most)
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
	var missing *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &value):
		err = fmt.Errorf("--%s %q: expected %s", value.GetFlag().Name, value.GetValue(), expected(value.GetFlag()))
		if errors.Is(value, strconv.ErrRange) {
			err = fmt.Errorf("%w, and a smaller one", err)
		}
	case errors.As(err, &missing):
		what, usage := pflag.UnquoteUsage(missing.GetFlag())
		err = fmt.Errorf("--%s has nothing behind it: expected --%s %s, %s", missing.GetFlag().Name, missing.GetFlag().Name, strings.ToUpper(what), usage)
	case errors.As(err, &syntax):
		err = fmt.Errorf("%s is no flag: expected --name, or --name=value", syntax.GetSpecifiedFlag())
	case errors.As(err, &unknown):
		if words := c.Flags().Args(); c.HasSubCommands() && len(words) > 0 { // the flag is of a command that is spelt wrong
			return unknownCommand(c, words[0])
		}
		word := "--" + unknown.GetSpecifiedName()
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			word = "-" + short
		}
		err = fmt.Errorf("unknown flag: %s%s", word, meantFlag(c, unknown))
	}
	return Failf(ExitUsage, "%w\nSee %s --help.", err, c.CommandPath())
}

// expected says what the value of a flag may be, by its type.
func expected(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "uint64":
		return "a whole number, 0 or more"
	case "int":
		return "a whole number, 0 or more"
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
