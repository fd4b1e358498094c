package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestSIGTERMSealsAllThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[[broker.decode]]"+readsMachine)
	payloads, _ := machineMessages(t)
	payloads = payloads[:5000]
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(len(payloads))
	g.acknowledged(p, 1000)
	g.stop() // amid the publishing
	acked, sent := p.promised()
	checkRows(g, payloads, acked, sent)
	if s := g.status(); s.Open != 0 || s.Running {
		t.Errorf("after the stop %d entries are not sealed, running %v", s.Open, s.Running)
	}
	g.verify()

	g.start()
	g.acknowledged(p, len(payloads))
	g.stop()
	checkRows(g, payloads, nil, len(payloads))
	for i, boot := range g.events("boot") {
		if boot["clean"] != true || boot["start"] != float64(i+1) {
			t.Errorf("start %d was recorded as %v, want a clean one", i+1, boot)
		}
	}
}

func TestSecondRunOnSameFolderIsRefused(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	_, stderr, code := g.output("edgeagent", "run", "--config", g.config)
	if code != 5 || !strings.Contains(stderr, g.data()) {
		t.Errorf("a second run exits with %d, want 5 and the folder's name\n%s", code, stderr)
	}
	if code, body := g.get("/healthz"); code != 200 {
		t.Errorf("after that the first one is not well: %d %s", code, body)
	}
	g.stop()
}

func TestTakenBrokerPortIsNamedWithItsOwner(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, stderr, code := g.output("edgeagent", "run", "--config", g.config)
	if code != 1 {
		t.Errorf("it exits with %d, want 1", code)
	}
	for _, want := range []string{taken.Addr().String(), "edgeagent.test"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("it does not name %s:\n%s", want, stderr)
		}
	}
}
