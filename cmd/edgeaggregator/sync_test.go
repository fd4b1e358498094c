package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gatewayapi "edgechain.example/agent/api"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
	"edgechain.example/lightchain"
)

// The tests in sync_*_test.go run gateways, aggregators and a broker as they are shipped, and look at them from
// outside. What the protocol itself promises is tested where it is.

// newBroker starts the broker between gateways and aggregators, or skips the test where only quick ones are wanted.
func newBroker(t testing.TB) *testenv.Broker {
	t.Helper()
	builds.Native(t)
	return testenv.Mosquitto(t, testenv.KeepsAll)
}

// A node is an edgeaggregator of the test's own.
type node struct {
	t       testing.TB
	dir     string
	name    string
	key     string   // "ssh-ed25519 …"
	config  string   // file
	words   []string // more flags for each of its commands
	process *program.Process
}

const nodeSettings = `
[aggregator]
name = %q
data = %q
[store]
cache = "8MiB"
[clock]
assume_synchronised = true # nothing real hangs on these receipts
[api]
socket = %q
[[broker]]
name = "office"
servers = ["tcp://%s"]
`

// newNode makes an aggregator's key and configuration, to which extra is added; it does not run yet.
func newNode(t testing.TB, broker, extra string, words ...string) *node {
	t.Helper()
	builds.Native(t)
	n := &node{t: t, dir: shortDir(t), name: "agg-1", words: words}
	n.config = filepath.Join(n.dir, "edgeaggregator.toml")
	text := fmt.Sprintf(nodeSettings, n.name, filepath.Join(n.dir, "data"), n.socket(), broker) + extra
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var made struct{ Key string }
	n.read(&made, "init")
	n.key = made.Key
	program.ShowLog(t, n.name, n.log())
	return n
}

func (n *node) socket() string { return filepath.Join(n.dir, "s") }
func (n *node) log() string    { return filepath.Join(n.dir, "log") }

func (n *node) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(builds.Native(n.t), "edgeaggregator"), slices.Concat(args, []string{"--config", n.config}, n.words)...)
	cmd.Env = program.Environment("EDGEAGGREGATOR_")
	return cmd
}

// start runs the aggregator, and returns when it answers.
func (n *node) start() {
	n.t.Helper()
	n.process = program.Start(n.t, n.command("run"), n.log())
	n.awaitAnswer()
}

// awaitAnswer waits until the aggregator that was started answers.
func (n *node) awaitAnswer() {
	n.t.Helper()
	n.process.Await("the aggregator answers", func() bool {
		ctx, enough := question(n.t)
		defer enough()
		asked, err := api.Dial(ctx, n.socket())
		if err != nil {
			return false
		}
		_, err = asked.Status(ctx)
		return err == nil
	})
}

// question is for one that a program is asked: one that does not answer ends the test.
func question(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), program.Patience)
}

// must runs a command that must succeed.
func (n *node) must(args ...string) string {
	n.t.Helper()
	return program.Must(n.t, n.command(args...))
}

// read runs a command for its answer in JSON.
func (n *node) read(answer any, args ...string) {
	n.t.Helper()
	parse(n.t, n.must(append(args, "--output", "json")...), answer)
}

// gateway asks the running aggregator for one gateway; known is false while it has not heard of it.
func (n *node) gateway(chain string) (g api.Gateway, known bool) {
	n.t.Helper()
	ctx, enough := question(n.t)
	defer enough()
	asked, err := api.Dial(ctx, n.socket())
	if err != nil {
		return g, false // it is being restarted
	}
	g, err = asked.Gateway(ctx, chain)
	return g, err == nil
}

// A gateway is an edgeagent of the test's own, with an embedded broker for its devices and an upstream for its heads.
type gateway struct {
	t       testing.TB
	dir     string
	name    string
	config  string // file
	port    int    // of the embedded broker
	chain   string
	process *program.Process
}

// One message makes one block, so that a test says how high a chain grows.
const gatewaySettings = `
[gateway]
name = %q
data = %q
[store]
allow_volatile = true
reserve = "1MiB"
reserve_percent = 0
[api]
socket = %q
[commit]
max_entries = 1
[block]
interval = "100ms"
max_entries = 1
[broker]
enabled = true
listen = "127.0.0.1:%d"
allow_anonymous = true
[sync]
announce = "1s"
confirm_wait = "1s"
%s
[[upstream]]
name = "office"
servers = ["tcp://%s"]
[[upstream.aggregator]]
name = %q
key = %q
`

// newGateway writes a gateway's configuration, with extra lines for [sync], and begins its chain; it does not run yet.
func newGateway(t testing.TB, name, broker, sync string, n *node) *gateway {
	t.Helper()
	g := prepareGateway(t, name, broker, sync, n)
	g.begin()
	return g
}

func prepareGateway(t testing.TB, name, broker, sync string, n *node) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: shortDir(t), name: name, port: testenv.FreePort(t)}
	g.config = filepath.Join(g.dir, "edgeagent.toml")
	text := fmt.Sprintf(gatewaySettings, name, g.data(), g.socket(), g.port, sync, broker, n.name, n.key)
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program.ShowLog(t, name, g.log())
	return g
}

func (g *gateway) data() string   { return filepath.Join(g.dir, "data") }
func (g *gateway) socket() string { return filepath.Join(g.dir, "s") }
func (g *gateway) log() string    { return filepath.Join(g.dir, "log") }

// begin begins the chain, or with --continue another one after it.
func (g *gateway) begin(args ...string) {
	g.t.Helper()
	var made struct{ Chain string }
	g.read(&made, append([]string{"init"}, args...)...)
	g.chain = made.Chain
}

func (g *gateway) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(builds.Native(g.t), "edgeagent"), append(args, "--config", g.config)...)
	cmd.Env = program.Environment("EDGEAGENT_")
	return cmd
}

// start runs the agent, with more words for its command line, and returns when it answers.
func (g *gateway) start(args ...string) {
	g.t.Helper()
	g.process = program.Start(g.t, g.command(append([]string{"run"}, args...)...), g.log())
	g.process.Await("the gateway answers", func() bool {
		s, ok := g.ask()
		return ok && s.Live != nil && len(s.Live.Sources) > 0 && s.Live.Sources[0].Connected
	})
}

// startPatiently starts it where an aggregator answers, however long that takes on this machine: with the short wait of
// these tests the gateway would go on without it.
func (g *gateway) startPatiently() {
	g.t.Helper()
	g.start("--set", "sync.confirm_wait="+program.Patience.String())
}

func (g *gateway) stop() { g.t.Helper(); g.process.Stop() }

// must runs a command that must succeed.
func (g *gateway) must(args ...string) string {
	g.t.Helper()
	return program.Must(g.t, g.command(args...))
}

// read runs a command for its answer in JSON.
func (g *gateway) read(answer any, args ...string) {
	g.t.Helper()
	parse(g.t, g.must(append(args, "--output", "json")...), answer)
}

// stands returns what `edgeagent status` says, which must end with the given code.
func (g *gateway) stands(code int, args ...string) string {
	g.t.Helper()
	stdout, stderr, got := program.Output(g.t, g.command(append([]string{"status"}, args...)...))
	if got != code {
		g.t.Errorf("edgeagent status ends with %d, want %d\n%s%s", got, code, stdout, stderr)
	}
	return stdout
}

// ask asks the running agent how it stands.
func (g *gateway) ask() (s gatewayapi.Status, ok bool) {
	ctx, enough := question(g.t)
	defer enough()
	asked, err := gatewayapi.Dial(ctx, g.socket())
	if err != nil {
		return s, false
	}
	s, err = asked.Status(ctx)
	return s, err == nil
}

// blocks are the headers that the running agent holds.
func (g *gateway) blocks() (all []gatewayapi.Block) {
	g.t.Helper()
	ctx, enough := question(g.t)
	defer enough()
	asked, err := gatewayapi.Dial(ctx, g.socket())
	if err != nil {
		g.t.Fatal(err)
	}
	for b, err := range asked.Blocks(ctx, url.Values{}) {
		if err != nil {
			g.t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// standing is what the gateway says of its head to what the aggregators know, "" before it knows.
func (g *gateway) standing() string {
	s, ok := g.ask()
	if !ok || s.Live == nil || len(s.Live.Upstreams) == 0 {
		return ""
	}
	return s.Live.Upstreams[0].Standing
}

// publish sends messages as a device would, and returns when the gateway has promised to keep all of them.
func (g *gateway) publish(count int) {
	g.t.Helper()
	cmd := exec.Command(testenv.Program(g.t, "mosquitto_pub"), "-h", "127.0.0.1", "-p", strconv.Itoa(g.port),
		"-q", "1", "-t", "factory/press-07", "-l")
	cmd.Stdin = strings.NewReader(strings.Repeat("{\"temperature\": 73.9}\n", count))
	program.Must(g.t, cmd)
}

// record publishes messages, and returns the head when all of them are in sealed blocks.
func (g *gateway) record(count int) (head gatewayapi.Status) {
	g.t.Helper()
	var before gatewayapi.Status
	// What comes before sealing is released goes into one block.
	g.process.Await("the gateway seals", func() bool {
		var ok bool
		before, ok = g.ask()
		return ok && before.Open == 0 && before.Live != nil && before.Live.Upstreams[0].Standing != ""
	})
	g.publish(count)
	g.process.Await("all messages are sealed", func() bool {
		var ok bool
		head, ok = g.ask()
		return ok && head.Open == 0 && head.Height >= before.Height+uint64(count)
	})
	return head
}

// countersigned waits until the gateway holds the aggregator's receipt on its newest head, and the aggregator has
// the same head, and returns that.
func countersigned(g *gateway, n *node) (head gatewayapi.Status) {
	g.t.Helper()
	g.process.Await("the newest head is countersigned", func() bool {
		var ok bool
		head, ok = g.ask()
		if !ok || head.Open != 0 || head.Live == nil {
			return false
		}
		receipted := head.Live.Upstreams[0].Aggregators[0].Receipted
		if receipted == nil || *receipted != head.Height {
			return false
		}
		known, ok := n.gateway(g.chain)
		return ok && known.Head.Hash == head.Head && known.Receipt.Height == head.Height
	})
	return head
}

// receipt is one line of `edgeagent receipts`.
type receipt struct {
	Height   uint64
	Receipts []string
	Covered  map[string]uint64
}

func (g *gateway) receipts() []receipt {
	g.t.Helper()
	return parseLines[receipt](g.t, g.must("receipts", "--limit", "0", "--output", "json"))
}

// headers are all that the aggregator holds of a chain.
func (n *node) headers(chain string) []api.Header {
	n.t.Helper()
	return parseLines[api.Header](n.t, n.must("headers", chain, "--limit", "100000", "--output", "json"))
}

// events returns the payloads of what the agent recorded of itself under a word.
func (g *gateway) events(word string) (payloads []map[string]any) {
	g.t.Helper()
	exported, stderr, code := program.Output(g.t, g.command("export", "--format", "jsonl"))
	if code != 0 && code != 3 { // 3: not all that was recorded is there, as after a restore
		g.t.Fatalf("export exits with %d\n%s", code, stderr)
	}
	for _, e := range parseLines[gatewayapi.Entry](g.t, exported) {
		if e.Source == "agent:"+word {
			var p map[string]any
			parse(g.t, string(e.Payload), &p)
			payloads = append(payloads, p)
		}
	}
	return payloads
}

// image copies the data folder of a gateway that does not run, as a card is copied, and returns the copy.
func (g *gateway) image() string {
	g.t.Helper()
	image := filepath.Join(g.t.TempDir(), "image")
	copyTree(g.t, g.data(), image)
	return image
}

// putBack replaces the data folder by an image.
func (g *gateway) putBack(image string) {
	g.t.Helper()
	if err := os.RemoveAll(g.data()); err != nil {
		g.t.Fatal(err)
	}
	copyTree(g.t, image, g.data())
}

// copyTree copies a folder with the modes of its files: a key that others may read is refused.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		rel, errRel := filepath.Rel(from, path)
		switch target := filepath.Join(to, rel); {
		case err != nil || errRel != nil:
			return errors.Join(err, errRel)
		case info.IsDir():
			return os.MkdirAll(target, info.Mode().Perm())
		case !info.Mode().IsRegular():
			return nil // a socket
		default:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, b, info.Mode().Perm())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// verify has edgeverify check files against the gateway's own trust file, and returns what it says.
func verify(g *gateway, args ...string) (says string, code int) {
	g.t.Helper()
	return verifyTrusting(g.t, g.must("trust"), args...)
}

// verifyTrusting has edgeverify check files against a trust file of this text.
func verifyTrusting(t testing.TB, text string, args ...string) (says string, code int) {
	t.Helper()
	trust := filepath.Join(t.TempDir(), "trust")
	if err := os.WriteFile(trust, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(builds.Native(t), "edgeverify"), append([]string{"--trust", trust}, args...)...)
	stdout, stderr, code := program.Output(t, cmd)
	return stdout + stderr, code
}

// evidence exports the one piece of evidence that the aggregator holds against a chain, and checks it as anybody can.
func (n *node) evidence(chain string) *lightchain.Fork {
	n.t.Helper()
	forks := parseLines[api.Fork](n.t, n.must("forks", "list", chain, "--output", "json"))
	if len(forks) != 1 {
		n.t.Fatalf("the aggregator holds %d pieces of evidence against the chain, want 1", len(forks))
	}
	id, err := lightchain.ParseChainID(chain)
	if err != nil {
		n.t.Fatal(err)
	}
	file := filepath.Join(n.t.TempDir(), "evidence.edgefork")
	n.must("forks", "export", chain, "--file", file)
	b, err := os.ReadFile(file)
	if err != nil {
		n.t.Fatal(err)
	}
	fork, err := lightchain.DecodeFork(b)
	if err == nil {
		err = fork.Check(id)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	says, code := verifyTrusting(n.t, "chain "+chain+"\n", file)
	if want := fmt.Sprintf("height    %d: two different headers stand there", fork.Height()); code != 0 || !strings.Contains(says, want) {
		n.t.Errorf("edgeverify ends with %d, want %q in\n%s", code, want, says)
	}
	return fork
}

// leaves are what the two sides of a fork place at its height.
func leaves(f *lightchain.Fork) []lightchain.Hash {
	return []lightchain.Hash{f.Sides[0].Leaf, f.Sides[1].Leaf}
}

// finding reports whether the aggregator shows one of a kind for a gateway.
func finding(g api.Gateway, kind registry.Kind) bool {
	return g.Finding(kind) != nil
}

func parse(t testing.TB, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func parseLines[T any](t testing.TB, text string) (all []T) {
	t.Helper()
	in := json.NewDecoder(strings.NewReader(text))
	for {
		var v T
		if err := in.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		all = append(all, v)
	}
}

// shortDir is a folder in which a socket's path stays within what the system allows.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
