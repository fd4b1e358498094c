package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// reconfigure replaces a text in a configuration file.
func reconfigure(t testing.TB, file, old, by string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no\n%s", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, by, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A second aggregator, at a broker of its own, is added by SIGHUP, and the first one removed, while a device publishes
// over one connection and neither the device nor the broker that stays sees anything of it.
func TestAggregatorsComeAndGoWhileTheGatewayRecords(t *testing.T) {
	t.Parallel()
	north, south := newBroker(t), testenv.Mosquitto(t, testenv.KeepsAll)
	first := newNode(t, north.Addr, everyone)
	first.start()
	second := newNode(t, south.Addr, everyone, "--set", "aggregator.name=agg-2")
	second.name = "agg-2"
	second.start()
	g := newGateway(t, "press-hall", north.Addr, "", first)
	g.start()
	countersigned(g, first)
	client := "edgechain-" + g.chain[:12] + "-up-office"

	device := exec.Command(testenv.Program(t, "mosquitto_pub"), "-h", "127.0.0.1", "-p", strconv.Itoa(g.port), "-q", "1", "-i", "device", "-t", "factory/press-07", "-l")
	lines, err := device.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	publishing := program.Start(t, device, filepath.Join(t.TempDir(), "device.log"))
	published, stop, stopped := 0, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for ; ; published++ {
			select {
			case <-stop:
				lines.Close()
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := io.WriteString(lines, "{\"count\": "+strconv.Itoa(published)+"}\n"); err != nil {
				t.Errorf("the device: %v", err)
				return
			}
		}
	}()

	// receiptedAbove waits for an aggregator's receipt above a height, and returns its height.
	receiptedAbove := func(name string, above uint64) (height uint64) {
		g.process.Await(fmt.Sprintf("a receipt of %s above %d", name, above), func() bool {
			s, ok := g.ask()
			if !ok || s.Live == nil {
				return false
			}
			for _, u := range s.Live.Upstreams {
				for _, a := range u.Aggregators {
					if a.Name == name && a.Receipted != nil && *a.Receipted > above {
						height = *a.Receipted
						return true
					}
				}
			}
			return false
		})
		return height
	}

	upstream := fmt.Sprintf("[[upstream]]\nname = \"office\"\nservers = [\"tcp://%s\"]\n[[upstream.aggregator]]\nname = %q\nkey = %q\n", north.Addr, first.name, first.key)
	added := fmt.Sprintf("[[upstream]]\nname = \"plant\"\nservers = [\"tcp://%s\"]\n[[upstream.aggregator]]\nname = %q\nkey = %q\n", south.Addr, second.name, second.key)
	reconfigure(t, g.config, upstream, upstream+added)
	g.process.Signal(syscall.SIGHUP)
	began := receiptedAbove(second.name, 0)
	kept := receiptedAbove(first.name, began)
	if n := north.Connections(client); n != 1 {
		t.Errorf("the broker that stays has seen %d connections of the gateway", n)
	}

	reconfigure(t, g.config, upstream, "")
	if said := g.must("reload"); said != "The new configuration is in force.\n" {
		t.Errorf("reload says %q", said)
	}
	receiptedAbove(second.name, began+20)
	close(stop)
	<-stopped
	if code := publishing.Ended(); code != 0 {
		t.Errorf("the device ends with %d", code)
	}
	if n := south.Connections(strings.Replace(client, "office", "plant", 1)); n != 1 {
		t.Errorf("the second broker has seen %d connections of the gateway", n)
	}
	if counts := g.counts(); !slices.Equal(counts, numbers(published)) {
		t.Errorf("of %d messages these are recorded: %v", published, counts)
	}
	// What the first one countersigned stays, to be shown.
	i := slices.IndexFunc(g.receipts(), func(r receipt) bool { return r.Height == kept })
	if i < 0 || !slices.Contains(g.receipts()[i].Receipts, first.name) {
		t.Errorf("the receipt of %s on block %d is gone", first.name, kept)
	}

	// What cannot change while the agent runs is named; what is wrong changes nothing.
	reconfigure(t, g.config, "reserve = \"1MiB\"", "reserve = \"2MiB\"")
	if said := g.must("reload"); !strings.Contains(said, "wait for the next start: store.reserve\n") {
		t.Errorf("reload says %q", said)
	}
	reconfigure(t, g.config, "[[upstream]]", "[[upstream]]\ntls_ca = \"/nowhere/ca.pem\"")
	reconfigure(t, g.config, "tcp://"+south.Addr, "ssl://"+south.Addr)
	_, stderr, code := g.run("reload")
	if code == 0 || !strings.Contains(stderr, `upstream "plant"`) || !strings.Contains(stderr, "/nowhere/ca.pem") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if s, ok := g.ask(); !ok || len(s.Live.Upstreams) != 1 || !s.Live.Upstreams[0].Connected || south.Connections(client[:20]) != 1 {
		t.Errorf("after a reload that failed: %+v", s.Live.Upstreams)
	}
}

func numbers(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// counts returns what the device counted, as it is recorded.
func (g *gateway) counts() (all []int) {
	g.t.Helper()
	for line := range strings.Lines(g.must("log", "--limit", "0", "--output", "json")) {
		var e api.Entry
		parse(g.t, line, &e)
		var said struct{ Count int }
		if json.Unmarshal(e.Payload, &said) == nil && strings.HasSuffix(e.Source, "factory/press-07") {
			all = append(all, said.Count)
		}
	}
	return all
}

// run runs a command whose end the test looks at.
func (g *gateway) run(args ...string) (stdout, stderr string, code int) {
	g.t.Helper()
	return program.Output(g.t, g.command(args...))
}
