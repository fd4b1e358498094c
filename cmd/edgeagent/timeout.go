package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/cmd/internal/command"
)

var errTimeout = errors.New("it was not done in time (--timeout)")

// timed lets commands, and those below them, be given a time in which they are to be done: an agent that hangs must not
// hang whoever asks it.
func timed(commands ...*cobra.Command) {
	for _, c := range commands {
		timed(c.Commands()...)
		if c.HasSubCommands() {
			continue
		}
		timeout := command.Duration(c, "timeout", 0, "give up after this `TIME`, as in 30s, with exit code 5; 0 waits for ever")
		run := c.RunE
		c.RunE = func(c *cobra.Command, args []string) error {
			if *timeout == 0 {
				return run(c, args)
			}
			ctx, cancel := context.WithTimeoutCause(c.Context(), *timeout, errTimeout)
			defer cancel()
			command.Bound(ctx, c)
			err := run(c, args)
			// A list that was cut off by the end of its time may have ended without an error.
			if late := errors.Is(context.Cause(ctx), errTimeout); late && (err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errTimeout) || errors.Is(err, command.ErrUnread)) {
				return command.Failf(command.ExitUnreachable, "after %v: %w", timeout.Round(time.Millisecond), errTimeout)
			}
			return err
		}
	}
}
