package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"edgechain.example/build/testenv/program"
)

func TestHugeMessagesTakeNobodysMemory(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	g.start()
	g.record(2)
	countersigned(g, n)

	const huge, growth = 64 << 20, 32 << 20
	agent, node := peak(t, g.process), peak(t, n.process)
	client := join(t, broker.Addr, "flooder")
	topic := "edgechain/v1/" + g.chain[:1] + "/" + g.chain + "/"
	say(t, client, topic+"pull", make([]byte, huge))
	say(t, client, topic+"pulled/"+n.name, make([]byte, huge))
	g.record(2) // behind them
	countersigned(g, n)
	if grown := peak(t, g.process) - agent; grown > growth {
		t.Errorf("because of a message of %d MiB edgeagent took %d MiB", huge>>20, grown>>20)
	}
	if grown := peak(t, n.process) - node; grown > growth {
		t.Errorf("because of a message of %d MiB edgeaggregator took %d MiB", huge>>20, grown>>20)
	}
}

// peak is the most memory, in bytes, that a process has had so far.
func peak(t testing.TB, p *program.Process) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		var kB int64
		if _, err := fmt.Sscanf(string(line), "VmHWM: %d kB", &kB); err == nil {
			return kB << 10
		}
	}
	t.Skip("this system does not tell how much memory a process has had")
	return 0
}
