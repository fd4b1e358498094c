package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"edgechain.example/build/testenv/program"
)

// No command ends well whose answer did not arrive.
func TestAnAnswerThatDoesNotArriveIsAFailure(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	n := newNode(t, newBroker(t).Addr, everyone)
	n.start()
	for _, command := range []string{"version", "check-config", "key show", "status"} {
		for _, form := range []string{"text", "json"} {
			c := n.command(append(strings.Fields(command), "--output", form)...)
			var stderr bytes.Buffer
			c.Stdout, c.Stderr = full, &stderr
			err := program.Run(c)
			exit, ok := err.(*exec.ExitError)
			if !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "writing the output: ") {
				t.Errorf("edgeaggregator %s: %v, %s", command, err, stderr.String())
			}
		}
	}
}
