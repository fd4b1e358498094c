//go:build unix

package command

import (
	"bufio"
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
	if os.Getenv(stubborn) == "" {
		os.Exit(m.Run())
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
