package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
)

const kills = 10

func TestNothingAcknowledgedIsMissingAfterTenKillsOfEmbeddedBroker(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[[broker.decode]]"+readsMachine)
	payloads, _ := machineMessages(t)
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	killWhile(g, p, func() {
		// What is on disk now is all that survives; nobody acknowledges anything before the restart.
		acked, sent := p.promised()
		checkRows(g, payloads, acked, sent)
	})
	g.stop()
	checkRows(g, payloads, nil, len(payloads))
	g.verify()
}

// What the agent acknowledges, Mosquitto forgets: it is in the chain or nowhere.
func TestNothingAcknowledgedIsMissingAfterTenKillsBehindMosquitto(t *testing.T) {
	t.Parallel()
	wholeSystem(t)
	broker := testenv.Mosquitto(t, testenv.KeepsAll)
	g := newGateway(t, subscribes(broker))
	payloads, _ := machineMessages(t)
	g.start()
	killWhile(g, publishInBackground(t, broker.Addr, payloads), func() {})
	g.await("in the chain whole", func() bool { return len(distinct(g.entries())) >= len(payloads) })
	g.stop()
	checkRows(g, payloads, nil, len(payloads))
	g.verify()
}

// publishInBackground publishes from a goroutine of its own, as far as it is allowed.
func publishInBackground(t testing.TB, address string, payloads []string) *publisher {
	p := newPublisher(address, "machine-7", machineTopic, payloads)
	inBackground(t, p)
	return p
}

// killWhile kills the agent each time another part of all rows is acknowledged and the next ones are under way, looks
// at what is left, and starts it again. Each time the chain must verify. It returns when all rows are acknowledged.
func killWhile(g *gateway, p *publisher, look func()) {
	g.t.Helper()
	part := len(p.payloads) / (kills + 1)
	for kill := 1; kill <= kills; kill++ {
		p.allow(kill*part + part/2)               // so that there is something to come, and to kill, each time
		g.acknowledged(p, kill*part+kill*part/50) // each time at another place in a group
		g.kill()
		look()
		g.start()
		g.verify() // while it runs: of a checkpoint
	}
	p.allow(len(p.payloads))
	g.acknowledged(p, len(p.payloads))
	if n := len(slices.DeleteFunc(g.events("boot"), func(p map[string]any) bool { return p["clean"] != false })); n != kills {
		g.t.Errorf("%d entries tell of a start after a kill, want %d", n, kills)
	}
}

// checkRows holds the chain against what was sent. What was acknowledged, or everything where acked is nil, must be
// there; a row stands a second time only as a repetition that nobody could be certain of, flagged as such; the first
// occurrences are in the order of the rows.
func checkRows(g *gateway, payloads []string, acked []bool, sent int) {
	g.t.Helper()
	index := map[string]int{}
	for i, payload := range payloads {
		index[payload] = i
	}
	seen := make([]int, len(payloads))
	doubtful, last := 0, -1
	for _, e := range g.entries() {
		i, known := index[string(e.Payload)]
		switch {
		case !known || i >= sent:
			g.t.Fatalf("entry %d was never sent: %s %s", e.Number, e.Source, e.Payload)
		case seen[i] == 0 && i < last:
			g.t.Errorf("entry %d holds row %d, though row %d came before it", e.Number, i, last)
		case seen[i] > 0 && !slices.Contains(e.Flags, "redelivered"):
			g.t.Errorf("row %d stands a second time in entry %d without the flag of a repetition: %v", i, e.Number, e.Flags)
		}
		if seen[i] > 0 {
			doubtful++
		}
		seen[i]++
		last = max(last, i)
	}
	for i := range sent {
		if seen[i] == 0 && (acked == nil || acked[i]) {
			g.t.Errorf("row %d was acknowledged and is missing", i)
		}
	}
	g.t.Logf("%d entries of %d rows sent, %d of them kept in doubt", sum(seen), sent, doubtful)
}

func sum(ns []int) (total int) {
	for _, n := range ns {
		total += n
	}
	return total
}

// distinct returns the payloads of the entries, each once.
func distinct(entries []api.Entry) map[string]bool {
	payloads := map[string]bool{}
	for _, e := range entries {
		payloads[strings.TrimSpace(string(e.Payload))] = true
	}
	return payloads
}
