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

// A chain's folder goes, and the service begins another: for an image that is what --init is for, here somebody must know.
func TestAChainThatBeginsWhereOneWasSaysSo(t *testing.T) {
	t.Parallel()
	g := prepareGateway(t, t.TempDir(), "")
	g.start("--init")
	g.stop()
	if said, err := os.ReadFile(g.log()); err != nil || strings.Contains(string(said), "level=WARN msg=\"a new chain began") {
		t.Fatalf("at the first start: %v\n%s", err, said)
	}
	for _, e := range g.events("damage") {
		t.Errorf("at the first start: %v", e)
	}
	first := g.verify()
	if err := os.RemoveAll(filepath.Join(g.data(), "chain")); err != nil {
		t.Fatal(err)
	}
	g.start("--init")
	g.stop()
	if g.verify() == first {
		t.Fatal("it is the same chain")
	}
	said, err := os.ReadFile(g.log())
	if err != nil || !strings.Contains(string(said), "a new chain began") || !strings.Contains(string(said), "edgechain-"+first) && !strings.Contains(string(said), first) {
		t.Errorf("%v\n%s", err, said)
	}
	if told := g.events("damage"); len(told) != 1 || !strings.Contains(told[0]["why"].(string), "had held another") {
		t.Errorf("the chain tells %v", told)
	}
	g.start("--init")
	g.stop()
	if told := g.events("damage"); len(told) != 1 {
		t.Errorf("told again: %v", told)
	}
}

// What is left where a chain is gone keeps nobody from recording who may begin another, and nothing of it is deleted. Whoever may
// not is told what to do, and not that there never was one.
func TestAnotherChainBeginsBesideWhatIsLeftOfOne(t *testing.T) {
	t.Parallel()
	g := prepareGateway(t, t.TempDir(), "")
	g.start("--init")
	g.stop()
	first, chain := g.verify(), filepath.Join(g.data(), "chain")
	for _, name := range []string{"data-1", "head-a", "head-b", "keys"} {
		if err := os.RemoveAll(filepath.Join(chain, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, code := g.output("edgeagent", "run", "--config", g.config); code != 6 || !strings.Contains(stderr, "acknowledged") || !strings.Contains(stderr, "edgeagent restore") {
		t.Errorf("run ends with %d: %s", code, stderr)
	}
	g.start("--init")
	g.stop()
	if g.verify() == first {
		t.Fatal("it is the same chain")
	}
	if _, err := os.Stat(filepath.Join(g.data(), "chain-gone-1", "acknowledged")); err != nil {
		t.Error("what was left is gone:", err)
	}
	if told := g.events("damage"); len(told) != 1 || !strings.Contains(told[0]["why"].(string), "chain-gone-1") {
		t.Errorf("the chain tells %v", told)
	}
	// Likewise at once, and begun by hand.
	for _, name := range []string{"data-1", "head-a", "head-b", "keys"} {
		if err := os.RemoveAll(filepath.Join(chain, name)); err != nil {
			t.Fatal(err)
		}
	}
	g.must("init")
	if _, err := os.Stat(filepath.Join(g.data(), "chain-gone-2", "acknowledged")); err != nil {
		t.Error("what was left is gone:", err)
	}
}
