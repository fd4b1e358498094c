package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv/program"
	syncgateway "edgechain.example/sync/gateway"
)

// held is why the gateway seals nothing, "" where it does.
func (g *gateway) held() string {
	s, ok := g.ask()
	if !ok || s.Live == nil {
		return ""
	}
	return s.Live.Held
}

// staysAt fails the test if the gateway seals anything though there is something to seal. Each message would have it
// seal, and is acknowledged all the same.
func (g *gateway) staysAt(height uint64, why string) {
	g.t.Helper()
	for range 10 {
		g.publish(1)
	}
	if s, ok := g.ask(); !ok || s.Height != height || s.Open == 0 {
		g.t.Errorf("%s, the height %d became %d with %d entries not sealed", why, height, s.Height, s.Open)
	}
}

// lose takes the data folder away.
func (g *gateway) lose() {
	g.t.Helper()
	if err := os.RemoveAll(g.data()); err != nil {
		g.t.Fatal(err)
	}
}

func TestRestoredBackupTakesItsNewestHeadersBackBeforeItSeals(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	// Whatever is configured for ordinary starts.
	g := newGateway(t, "press-hall", broker.Addr, `confirm_head = "never"`, n)
	usb := filepath.Join(t.TempDir(), "usb")
	g.start()
	g.record(3)
	countersigned(g, n)
	g.must("backup", usb, "--with-key")
	g.record(5)
	newest := countersigned(g, n)
	g.process.Kill() // the board is gone
	g.lose()
	g.must("restore", usb)

	broker.Stop()
	g.start()
	g.process.Await("the gateway waits for an aggregator's word", func() bool { return strings.Contains(g.held(), "waiting for an aggregator") })
	at, _ := g.ask()
	if at.Height >= newest.Height {
		t.Fatalf("the backup has height %d, the chain had %d", at.Height, newest.Height)
	}
	g.staysAt(at.Height, "with nobody to ask")
	broker.Restart()
	g.process.Await("the head is restored", func() bool { return g.standing() == string(syncgateway.Recovered) })
	g.record(2)
	if head := countersigned(g, n); head.Height <= newest.Height || head.Chain != newest.Chain {
		t.Errorf("it goes on as chain %s at %d; want %s above %d", head.Chain, head.Height, newest.Chain, newest.Height)
	}
	if why := g.held(); why != "" {
		t.Errorf("it seals, and says that it does not: %s", why)
	}
	g.stop()
	if told := g.events("restore"); len(told) != 2 || told[0]["backup"] == nil || told[1]["to"] == nil {
		t.Errorf("the chain records %v; want the backup, and the headers that came back", told)
	}
	g.lacksEntries()
	if known, _ := n.gateway(g.chain); finding(known, registry.Forked) {
		t.Errorf("the aggregator sees a fork: %+v", known.Findings)
	}
	g.start("--set", "sync.confirm_head=if_reachable") // once it is settled, a start is one like any other
	g.process.Await("sealing goes on after the next start", func() bool { return g.held() == "" })
	g.stop()
}

func TestMovedGatewaysOldBoardCanSignNothingThatCounts(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	usb := filepath.Join(t.TempDir(), "usb")
	g.start()
	g.record(3)
	countersigned(g, n)
	g.stop()
	image := g.image() // of somebody who goes round the barrier
	g.must("backup", usb, "--move")
	if _, stderr, code := program.Output(t, g.command("run")); code != 78 || !strings.Contains(stderr, "moved to another board") {
		t.Errorf("the old board starts again with %d: %s", code, stderr)
	}

	board := prepareGateway(t, "press-hall", broker.Addr, "", n)
	board.chain = g.chain
	board.must("restore", usb)
	board.start()
	board.record(2)
	head := countersigned(board, n)
	var before, after struct{ Key string }
	parse(t, g.stands(5, "--output", "json"), &before)
	parse(t, board.stands(0, "--output", "json"), &after)
	if before.Key == after.Key {
		t.Error("the new board signs with the key that the old one had")
	}
	board.stop()

	g.putBack(image)
	g.startPatiently()
	g.process.Await("the old board knows that it lacks the key", func() bool { return g.standing() == string(syncgateway.KeyChanged) })
	old, _ := g.ask()
	g.staysAt(old.Height, "on the old board")
	g.stop()
	known, _ := n.gateway(g.chain)
	if finding(known, registry.Forked) || known.Head.Height < head.Height {
		t.Errorf("the aggregator has height %d, was %d: %+v", known.Head.Height, head.Height, known.Findings)
	}
	board.start()
	board.record(1)
	countersigned(board, n)
	board.stop()
	board.must("verify")
}

func TestAggregatorThatLearnedTheChainFromARestoredBackupDoesNotVouchForIt(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	usb := filepath.Join(t.TempDir(), "usb")
	g.start() // the aggregator does not run yet, and so knows nothing
	g.record(3)
	g.stop()
	g.must("backup", usb, "--with-key")
	g.lose()
	g.must("restore", usb)
	n.start()
	g.start()
	g.process.Await("the aggregator says that it does not know the chain", func() bool { return g.standing() == string(syncgateway.Unknown) })
	at, _ := g.ask()
	g.process.Await("it has learned the chain", func() bool {
		known, ok := n.gateway(g.chain)
		return ok && known.Head.Height == at.Height
	})
	g.staysAt(at.Height, "with an aggregator that knew nothing")
	g.stop()
	g.start()
	g.process.Await("the head is settled again", func() bool { return g.standing() != "" })
	if why := g.held(); why == "" {
		t.Error("after a restart the aggregator vouches for what it was told")
	}
	g.staysAt(at.Height, "after a restart")
	g.stop()
	g.must("restore", "--newest")
	g.start()
	g.record(1)
	countersigned(g, n)
	g.stop()
}

func TestRestoredAggregatorIsToldAgainWhatItForgot(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	usb := filepath.Join(t.TempDir(), "usb")
	g.start()
	g.record(3)
	countersigned(g, n)
	n.must("backup", usb, "--with-key") // while it runs
	g.record(3)
	forgotten := countersigned(g, n)
	var second struct {
		CopiedBytes int64 `json:"copied_bytes"`
		Bytes       int64
	}
	n.read(&second, "backup", usb, "--with-key", "--keep", "5")
	n.process.Kill()
	data := filepath.Join(n.dir, "data")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	n.must("backup", "--verify", usb)
	if _, stderr, code := program.Output(t, n.command("restore", usb, "--generation", "7")); code != 4 {
		t.Errorf("a generation that is not there: %d %s", code, stderr)
	}
	n.must("restore", usb, "--generation", "1")
	if _, stderr, code := program.Output(t, n.command("restore", usb)); code != 2 {
		t.Errorf("over a store: %d %s", code, stderr)
	}
	if known, ok := n.gateway(g.chain); ok {
		t.Errorf("nobody runs, and it knows %+v", known)
	}
	n.start()
	g.record(1)
	if head := countersigned(g, n); head.Height <= forgotten.Height {
		t.Errorf("it countersigns height %d, and had countersigned %d", head.Height, forgotten.Height)
	}
	known, _ := n.gateway(g.chain)
	if finding(known, registry.Forked) {
		t.Errorf("it takes the gateway for a fork: %+v", known.Findings)
	}
	g.stop()
	if left, err := filepath.Glob(filepath.Join(data, "checkpoint-*")); err != nil || len(left) > 0 {
		t.Errorf("checkpoints are left: %v %v", left, err)
	}
}
