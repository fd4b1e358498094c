package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"edgechain.example/arm"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// One data folder goes through all boards: each finds what the others wrote, goes on with it, and checks it whole; and
// each proves a reading of its own, which all others check.
func TestOneChainIsWrittenProvedAndCheckedOnEveryKindOfBoard(t *testing.T) {
	t.Parallel()
	g := prepareGateway(t, t.TempDir(), "[[broker.decode]]"+readsMachine)
	type machine struct {
		name, programs string
		emulator       []string
		proof          string
	}
	machines := []machine{{name: "here", programs: g.programs}}
	for _, target := range arm.Targets() {
		testenv.Need(t, target.Emulator[0])
		machines = append(machines, machine{target.Name, builds.For(t, target.Name, target.Env()...), target.Emulator, ""})
	}
	// The board that begins is not the machine on which the tests run: that one comes last.
	machines = append(machines[1:], machines[0])
	payloads, _ := machineMessages(t)
	const rows = 300 // for each machine

	var chain string
	for i := range machines {
		m := &machines[i]
		g.programs, g.emulator = m.programs, m.emulator
		if i == 0 {
			var begun struct{ Chain string }
			if err := json.Unmarshal([]byte(g.must("init", "--output", "json")), &begun); err != nil {
				t.Fatal(err)
			}
			chain = begun.Chain
		}
		g.start()
		pub := mosquittoPub(t, g.port, "-i", "machine-7", "-t", machineTopic, "-l")
		pub.Stdin = strings.NewReader(strings.Join(payloads[i*rows:(i+1)*rows], "\n") + "\n")
		program.Must(t, pub)
		g.stop()
		if got := g.verify(); got != chain {
			t.Fatalf("%s verifies chain %s, want %s", m.name, got, chain)
		}
		entries := g.entries()
		if len(entries) != (i+1)*rows {
			t.Fatalf("%s sees %d entries, want %d", m.name, len(entries), (i+1)*rows)
		}
		for j := range entries {
			if string(entries[j].Payload) != payloads[j] || !readsAs(&entries[j], payloads[j]) {
				t.Fatalf("%s sees row %d as %s, %+v", m.name, j, entries[j].Payload, entries[j].Readings)
			}
		}
		m.proof, _ = g.prove(chain, entries[i*rows].Number)
	}

	for _, maker := range machines {
		proof, err := os.ReadFile(maker.proof)
		if err != nil {
			t.Fatal(err)
		}
		forged := maker.proof + ".forged"
		proof[len(proof)/2] ^= 1
		if err := os.WriteFile(forged, proof, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, checker := range machines {
			g.programs, g.emulator = checker.programs, checker.emulator
			if _, stderr, code := g.output("edgeverify", "--chain", chain, maker.proof); code != 0 {
				t.Errorf("%s refuses the proof that %s made: %d\n%s", checker.name, maker.name, code, stderr)
			}
			if _, _, code := g.output("edgeverify", "--chain", chain, forged); code != 3 {
				t.Errorf("%s exits with %d on a forged proof of %s's, want 3", checker.name, code, maker.name)
			}
		}
	}
}
