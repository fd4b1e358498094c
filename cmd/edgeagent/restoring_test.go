package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Cut off in a restore, a machine starts its service, which may begin a chain where there is none.
func TestNoChainIsBegunWhereARestoreWasCutOff(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	usb := filepath.Join(t.TempDir(), "usb")
	g.must("backup", usb, "--with-key")
	board := prepareGateway(t, t.TempDir(), "")
	// The chain's files are renamed into place in one step, and stand beside it before.
	half := filepath.Join(board.data(), "chain.restoring")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"run", "--init"}, {"run"}, {"init"}, {"init", "--continue"}} {
		_, stderr, code := board.output("edgeagent", append(command, "--config", board.config)...)
		if code != 4 || !strings.Contains(stderr, "restore again") || !strings.Contains(stderr, half) {
			t.Errorf("%v exits with %d\n%s", command, code, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(board.data(), "key")); !os.IsNotExist(err) {
		t.Errorf("a key was made: %v", err)
	}
	board.must("restore", usb, "--newest")
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("what was in progress is there still: %v", err)
	}
	if board.verify() != g.verify() {
		t.Error("it is another chain")
	}
	board.start("--init")
	board.stop()
}
