//go:build unix

package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// stubborn is set for the process that is to be ended.
const stubborn = "EDGECHAIN_TEST_STUBBORN"

func TestMain(m *testing.M) {
	switch os.Getenv(stubborn) {
	case "":
		os.Exit(m.Run())
	case "talks":
		Main(&cobra.Command{Use: "talks", RunE: talk}, func(error) int { return ExitStorage })
	case "talks for a moment":
		Main(&cobra.Command{Use: "talks", RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), 10*time.Millisecond)
			defer cancel()
			Bound(ctx, c)
			if err := talk(c, args); !errors.Is(err, ErrUnread) {
				return err
			}
			return Failf(ExitUnreachable, "in time")
		}}, func(error) int { return ExitStorage })
	}
	Main(&cobra.Command{Use: "stubborn", RunE: func(c *cobra.Command, _ []string) error {
		fmt.Println("running")
		<-c.Context().Done()
		for range time.Tick(10 * time.Millisecond) {
			fmt.Println("stopping")
		}
		return nil
	}}, func(error) int { return ExitFailed })
}

func TestASecondSignalEndsAProgramThatDoesNotStop(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), stubborn+"=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() { // a signal a line: the second may come before the program has let go of signals
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, expected the signal to end it", err)
	}
}

// talk writes for as long as it is let.
func talk(c *cobra.Command, _ []string) error {
	for {
		if _, err := fmt.Fprintf(c.OutOrStdout(), "%4096s\n", "words"); err != nil {
			return err
		}
	}
}

// A pipe that nobody reads is full after a moment, and whoever writes into it waits for ever.
func TestACommandWhoseOutputNobodyReadsCanBeEnded(t *testing.T) {
	for _, x := range []struct {
		how    string
		signal bool
		code   int
	}{{"talks", true, ExitFailed}, {"talks for a moment", false, ExitUnreachable}} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), stubborn+"="+x.how)
		c.Stdout = write
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1)
		if _, err := read.Read(one); err != nil { // it is under way
			t.Fatal(err)
		}
		if x.signal {
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		hung := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
		var exit *exec.ExitError
		if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != x.code {
			t.Errorf("%s: it ended with %v, expected %d", x.how, err, x.code)
		}
		hung.Stop()
		read.Close()
		write.Close()
	}
}
