package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
	"edgechain.example/cmd/internal/command"
)

// A command that has the store open is waited for, and named; an aggregator that has it is not.
func TestRunWaitsForACommandThatHasTheStore(t *testing.T) {
	t.Parallel()
	n := newNode(t, testenv.Mosquitto(t, "").Addr, everyone)
	n.start()
	n.process.Stop()
	lock, err := vfs.Default.Lock(filepath.Join(n.dir, "data", "store", "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	n.process = program.Start(t, n.command("run"), n.log())
	n.process.Await("the log says for whom it waits", func() bool {
		log, err := os.ReadFile(n.log())
		return err == nil && strings.Contains(string(log), "another program has it open") && strings.Contains(string(log), filepath.Base(os.Args[0]))
	})
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	n.awaitAnswer()

	_, stderr, code := program.Output(t, n.command("run"))
	if code != command.ExitUnreachable || !strings.Contains(stderr, "another aggregator runs") {
		t.Errorf("a second one beside it ends with %d: %s", code, stderr)
	}
}
