package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"edgechain.example/build/testenv/program"
)

// fullDevice is an output that takes nothing.
func fullDevice(t *testing.T) *os.File {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { full.Close() })
	return full
}

// No command ends well whose answer did not arrive.
func TestAnAnswerThatDoesNotArriveIsAFailure(t *testing.T) {
	full := fullDevice(t)
	g := newGateway(t, "")
	g.start()
	g.await("its first entries", func() bool { return g.status().Entries > 0 })
	fails := func(args ...string) {
		t.Helper()
		c := g.command("edgeagent", args...)
		if args[0] != "config" && args[0] != "version" {
			c = g.command("edgeagent", append(args, "--config", g.config)...)
		}
		var stderr bytes.Buffer
		c.Stdout, c.Stderr = full, &stderr
		err := program.Run(c)
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "writing the output: ") {
			t.Errorf("edgeagent %s: %v, %s", strings.Join(args, " "), err, stderr.String())
		}
	}
	for _, command := range []string{"version", "config", "check-config", "key show", "status", "log", "blocks", "verify", "export", "export --format jsonl", "trust", "receipts", "reload"} {
		fails(strings.Fields(command)...)
		if command != "config" {
			fails(append(strings.Fields(command), "--output", "json")...)
		}
	}
}
