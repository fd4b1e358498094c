package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
)

const (
	smallMemory = 128 * mib // of a board that has other things to do
	rate        = 1000      // readings a second that are offered, over both brokers
)

// A gateway that the kernel kills for its appetite loses nothing, but it would be away just when most is going on.
func TestSoakThousandReadingsASecondIn128MB(t *testing.T) {
	wholeSystem(t)
	duration := testenv.Long(t, time.Minute)
	plant := testenv.Mosquitto(t, testenv.KeepsAll)
	g := newGateway(t, subscribes(plant)+"[[broker.decode]]"+readsMachine)
	limit := testenv.LimitMemory(t, smallMemory)
	g.emulator = append(limit.Command, "env", "GOMEMLIMIT=64MiB")
	g.start()
	g.emulator = nil // the commands that ask are the operator's, not the service's

	began := time.Now()
	var machines []*publisher
	for i, address := range []string{fmt.Sprintf("127.0.0.1:%d", g.port), plant.Addr} {
		m := newPublisher(address, fmt.Sprintf("machine-%d", i), machineTopic, numbered(i, int(duration.Seconds())*rate/2))
		m.window = rate // a second's, so that a slow disk costs time and not the rate
		machines = append(machines, m)
		inBackground(t, m)
	}
	lag := make(chan time.Duration, 1)
	go func() { lag <- pace(t, began, machines, rate) }()
	t.Parallel() // it goes on while the tests after this one have their turn

	for _, m := range machines {
		g.acknowledged(m, len(m.payloads))
	}
	t.Logf("acknowledgements were at most %v late", <-lag) // which says how fast this machine is
	total := len(machines[0].payloads) + len(machines[1].payloads)
	g.await("recording all that Mosquitto acknowledged", func() bool { return g.received() >= total })

	peak := testenv.PeakResident(t, g.process.PID())
	t.Logf("%d readings in %v took at most %.1f MB, within %d MB by %s", total, duration, float64(peak)/1e6, smallMemory>>20, limit.Kind)
	if peak > smallMemory {
		t.Errorf("at most %d bytes were resident, and %d are there", peak, smallMemory)
	}
	if kills := limit.Kills(t); kills > 0 {
		t.Errorf("the kernel killed %d processes for want of memory", kills)
	}
	g.stop()
	checkNumbered(g, machines)
	if starts := g.events("boot"); len(starts) != 1 {
		t.Errorf("the agent started %d times", len(starts))
	}
	g.verify()
}

// numbered returns payloads that tell the machine and the number of each.
func numbered(machine, n int) []string {
	payloads := make([]string, n)
	for i := range payloads {
		payloads[i] = fmt.Sprintf(`{"machine":%d,"count":%d,"temperature":%d.5,"unit":"Cel"}`, machine, i, 20+i%60)
	}
	return payloads
}

// pace allows the machines to publish at a rate, together, and returns how late the latest acknowledgement was.
func pace(t testing.TB, began time.Time, machines []*publisher, rate int) (worst time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	each := rate / len(machines)
	for {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return worst
		}
		due := int(time.Since(began).Seconds() * float64(each))
		finished := true
		for _, m := range machines {
			m.allow(due)
			done := m.progress()
			behind := min(due, len(m.payloads)) - done
			worst = max(worst, time.Duration(behind)*time.Second/time.Duration(each))
			finished = finished && done == len(m.payloads)
		}
		if finished {
			return worst
		}
	}
}

// checkNumbered holds the chain against what the machines were promised: every reading is there once, in its order, and
// nothing of anybody else.
func checkNumbered(g *gateway, machines []*publisher) {
	g.t.Helper()
	checkNumberedBeside(g, machines, func(source string) bool { return false })
}

// checkNumberedBeside is checkNumbered where sources of others are there, too.
func checkNumberedBeside(g *gateway, machines []*publisher, others func(source string) bool) {
	g.t.Helper()
	file := filepath.Join(g.t.TempDir(), "chain.jsonl")
	g.must("export", "--format", "jsonl", "--file", file)
	f, err := os.Open(file)
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	next := make([]int, len(machines))
	for in := json.NewDecoder(f); ; {
		var e api.Entry
		if err := in.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			g.t.Fatal(err)
		}
		if strings.HasPrefix(e.Source, "agent:") || others(e.Source) {
			continue
		}
		var p struct{ Machine, Count int }
		if err := json.Unmarshal(e.Payload, &p); err != nil || e.Gone != "" {
			g.t.Fatalf("entry %d: %v %s %s", e.Number, err, e.Gone, e.Payload)
		}
		if p.Count != next[p.Machine] || len(e.Flags) > 0 {
			g.t.Fatalf("entry %d holds reading %d of machine %d with flags %v, want reading %d", e.Number, p.Count, p.Machine, e.Flags, next[p.Machine])
		}
		next[p.Machine]++
	}
	for i, m := range machines {
		if next[i] != len(m.payloads) {
			g.t.Errorf("%d readings of machine %d were acknowledged, %d are in the chain", len(m.payloads), i, next[i])
		}
	}
}
