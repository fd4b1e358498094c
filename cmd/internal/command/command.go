// Package command holds what the commands of all programs do the same way: exit codes, tables for people, JSON for
// programs, progress on a terminal. It knows nothing of chains.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/tomlconf"
)

// Exit codes: stable, and the same for all programs of Edgechain.
const (
	ExitOK           = 0
	ExitFailed       = 1
	ExitUsage        = 2 // wrong words, or a wrong configuration
	ExitVerification = 3
	ExitNotFound     = 4
	ExitUnreachable  = 5 // locked by another process, or not reachable
	ExitStorage      = 6
	ExitPartly       = 7 // done, but for a part that is tried again; of status: it runs, and something is wrong
	// 8 is edgeverify's: a file that is sound and not trusted, or has too few receipts.

	// ExitConfig is how a service ends that cannot start with its configuration (EX_CONFIG of sysexits.h): starting it again
	// changes nothing, and units say so by this code. ExitUsage would not do, for a program that panics ends with 2 as well.
	ExitConfig = 78
)

// Error is an error that ends the program with a code of its own.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Fail returns an error that ends the program with the given code; nil stays nil.
func Fail(code int, err error) error {
	if err == nil {
		return nil
	}
	return &Error{code, err}
}

// Failf is Fail with an error made as by [fmt.Errorf].
func Failf(code int, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// errSaid stands for what the output of a command says already.
var errSaid = errors.New("the output says it")

// Said returns an error that ends the program with the given code and has nothing more said: the output says what is the case.
func Said(code int) error { return &Error{code, errSaid} }

// Code returns the exit code that err asks for: what classify finds, unless the error says so itself.
func Code(err error, classify func(error) int) int {
	var own *Error
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &own):
		return own.Code
	}
	return classify(err)
}

// Main runs root until it ends or the process is told to stop (SIGINT, SIGTERM), and exits. A second signal ends the
// process at once, which must lose nothing that anybody was promised. classify maps the errors of the program's own
// packages to exit codes.
func Main(root *cobra.Command, classify func(error) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from then on signals do what they do by themselves
	strict(root)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Whoever reads the output may end before it does, as head does. Left to itself the signal would end the process at once,
	// and what it has made for the moment would stay.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	out := &output{w: os.Stdout, failed: cancel, ctx: ctx}
	root.SetOut(out)
	c, err := root.ExecuteContextC(ctx)
	err = out.failing(err)
	stop()
	if errors.Is(out.err, syscall.EPIPE) {
		signal.Reset(syscall.SIGPIPE)
		_, _ = os.Stdout.Write([]byte{'\n'}) // ends the process as the signal does
	}
	if err != nil {
		if strings.HasPrefix(err.Error(), "unknown command") { // cobra has no type for this error of use
			err = Fail(ExitUsage, err)
		}
		if !errors.Is(err, errSaid) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", root.Name(), err)
			if out.err == nil && wantsJSON(c, os.Args[1:]) {
				_ = json.NewEncoder(out).Encode(failure{err.Error(), Code(err, classify)}) // it stands on the other output as well
			}
		}
	}
	os.Exit(Code(err, classify))
}

// failure is what a command that was asked for JSON prints last where it fails; edgeverify prints the same.
type failure struct {
	Error    string `json:"error"`
	ExitCode int    `json:"exit_code"`
}

// wantsJSON reports whether a command line asks for JSON. Where its flags could not be read to the end, the words say it.
func wantsJSON(c *cobra.Command, words []string) bool {
	if f := c.Flag("output"); f != nil && f.Changed {
		return f.Value.String() == "json"
	}
	at := slices.Index(words, "--output")
	return slices.Contains(words, "--output=json") || at >= 0 && at+1 < len(words) && words[at+1] == "json"
}

// output is where all commands write their results. It keeps the first error, so that no command can end well whose answer
// did not arrive, whether or not it looks at what its writes return; one that goes on without end ends then.
//
// A pipe that nobody reads holds up whoever writes into it, for ever, and no context ends that. So it is written on a goroutine
// of its own, which is left behind when the command is told to end and is not rid of its output a moment later.
type output struct {
	w      io.Writer
	failed func()
	ctx    context.Context // of the command; see Bound
	err    error
	work   chan []byte  // to the goroutine that writes; nil: there is none yet
	wrote  chan outcome // what became of it
}

type outcome struct {
	n   int
	err error
}

// outputPatience is how long a command that is told to end waits until its output takes what it has.
const outputPatience = time.Second

func (o *output) Write(b []byte) (int, error) {
	if errors.Is(o.err, ErrUnread) {
		return 0, o.err // the goroutine is still at it
	}
	if o.work == nil {
		o.work, o.wrote = make(chan []byte), make(chan outcome, 1)
		go func() {
			for b := range o.work {
				n, err := o.w.Write(b)
				o.wrote <- outcome{n, err}
			}
		}()
	}
	o.work <- b
	r := o.await()
	if o.err == nil && r.err != nil {
		o.err = r.err
		o.failed()
	}
	return r.n, r.err
}

// ErrUnread means that nobody takes the output of a command that is to end.
var ErrUnread = errors.New("nobody reads it")

// await returns what became of a write, as long as the command may wait for that.
func (o *output) await() outcome {
	select {
	case r := <-o.wrote:
		return r
	case <-o.ctx.Done():
	}
	select {
	case r := <-o.wrote:
		return r
	case <-time.After(outputPatience):
		return outcome{0, ErrUnread}
	}
}

// Bound has a command's output wait for no longer than ctx, which is the command's from here on.
func Bound(ctx context.Context, c *cobra.Command) {
	c.SetContext(ctx)
	if o, ok := c.OutOrStdout().(*output); ok {
		o.ctx = ctx
	}
}

// failing returns what a command ended with, or that its output could not be written, which tells nothing about a disk that
// a chain is on.
func (o *output) failing(err error) error {
	said := errors.Is(err, errSaid) // which it does not, if the output could not be written
	if o.err == nil || err != nil && !said && !errors.Is(err, o.err) && !errors.Is(err, context.Canceled) {
		return err
	}
	return Failf(ExitFailed, "writing the output: %w", o.err)
}

// Starting returns what kept a service from starting, or ended it, with [ExitConfig] where that is its configuration: a
// mistake in it, or one of the errors that only who changes it can mend.
func Starting(err error, mistakes ...error) error {
	var problems tomlconf.Problems
	if errors.As(err, &problems) || slices.ContainsFunc(mistakes, func(m error) bool { return errors.Is(err, m) }) {
		return Fail(ExitConfig, err)
	}
	return err
}

// Args makes a wrong number of arguments a wrong use.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		err := check(c, args)
		switch {
		case err == nil:
			return nil
		case c.HasSubCommands() && len(args) > 0:
			return unknownCommand(c, args[0])
		case check(c, nil) == nil && check(c, make([]string, 1)) != nil && check(c, make([]string, 2)) != nil: // it takes none
			err = fmt.Errorf("%s takes no arguments, and %q is one", c.CommandPath(), args[0])
		default:
			takes := number(func(n int) bool { return check(c, make([]string, n)) == nil }, len(args))
			err = fmt.Errorf("%s takes %s, and %d are given", c.CommandPath(), takes, len(args))
		}
		return Failf(ExitUsage, "%w\nUsage: %s", err, c.UseLine())
	}
}

// Output is where a command's results go, and in which form.
type Output struct {
	json bool
	w    io.Writer
}

// OutputFlag adds --output to a command and all below it.
func OutputFlag(c *cobra.Command) {
	c.PersistentFlags().String("output", "text", "text for people, json for programs")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// NewOutput returns where the command c writes its results.
func NewOutput(c *cobra.Command) (*Output, error) {
	form, err := c.Flags().GetString("output")
	if err != nil {
		return nil, err
	}
	if form != "text" && form != "json" {
		return nil, Failf(ExitUsage, "--output %q: expected text or json", form)
	}
	return &Output{json: form == "json", w: c.OutOrStdout()}, nil
}
