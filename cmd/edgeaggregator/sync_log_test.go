package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/headlog"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
	"edgechain.example/build/testenv/tlogclient"
	"edgechain.example/lightchain"
)

// logged are more lines of an aggregator's configuration: it keeps a log of heads, and serves it at the port.
func logged(port int) string {
	return everyone + fmt.Sprintf("[transparency]\norigin = \"agg-1.example\"\ninterval = \"1s\"\nlisten = \"127.0.0.1:%d\"\nentries = true\n", port)
}

// heads are what the log has, as `log show` says.
func (n *node) heads() (h api.Heads) {
	n.t.Helper()
	n.read(&h, "log", "show")
	return h
}

// awaitLogged waits until the newest countersigned head of a gateway is a leaf of the log, and returns its proof.
func (n *node) awaitLogged(g *gateway) (p api.TlogProof) {
	n.t.Helper()
	head := countersigned(g, n)
	n.process.Await("the newest head is in the log", func() bool {
		stdout, _, code := program.Output(n.t, n.command("log", "prove", g.chain, fmt.Sprint(head.Height), "--output", "json"))
		return code == 0 && json.Unmarshal([]byte(stdout), &p) == nil
	})
	if p.Height != head.Height || p.Hash != head.Head {
		n.t.Errorf("the proof is of header %d, %s; want %d, %s", p.Height, p.Hash, head.Height, head.Head)
	}
	return p
}

// served are the hashes of the leaves of a log that is served, and of no more than one tile.
func served(t testing.TB, f *tlogclient.Client) (leaves []lightchain.Hash) {
	t.Helper()
	if f.Tree.N >= 256 {
		t.Fatalf("%d leaves are more than this reads", f.Tree.N)
	}
	b := f.Get(fmt.Sprintf("/tile/0/000.p/%d", f.Tree.N), "application/octet-stream", "public, max-age=31536000, immutable")
	for chunk := range slices.Chunk(b, 32) {
		leaves = append(leaves, lightchain.Hash(chunk))
	}
	return leaves
}

// Heads of gateways as they are shipped become leaves; Go's own client reads the served tree, before and after the program was
// killed; a proof holds by the header's hash alone; what is exported any web server can serve.
func TestHeadsComeIntoALogThatOthersRead(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	port := testenv.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	n := newNode(t, broker.Addr, logged(port))
	n.start()
	g, other := newGateway(t, "press-hall", broker.Addr, "", n), newGateway(t, "paint-shop", broker.Addr, "", n)
	g.start()
	other.start()
	kept := filepath.Join(t.TempDir(), "kept")
	key := n.heads().Key
	if !strings.HasPrefix(key, "agg-1.example/heads+") {
		t.Errorf("its key is %q", key)
	}
	var earlier *tlogclient.Client
	for range 3 {
		g.record(2)
		other.record(1)
		p := n.awaitLogged(g)
		n.awaitLogged(other)
		f := tlogclient.Read(t, url, key)
		leaves := served(t, f)
		if earlier != nil {
			f.Check(leaves, earlier.Tree)
		}
		earlier = f
		if leaves[p.Index] != p.Hash {
			t.Errorf("leaf %d is %s, want the hash of the header, %s", p.Index, leaves[p.Index], p.Hash)
		}
		if says := n.must("log", "check", url, key, "--all", "--kept", kept); !strings.Contains(says, "agg-1.example/heads: ") {
			t.Errorf("check says %q", says)
		}
		n.process.Kill() // which cuts whatever it does
		n.start()
	}
	n.must("log", "check")

	file := filepath.Join(t.TempDir(), "head.tlog-proof")
	n.must("log", "prove", g.chain, "--file", file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := headlog.DecodeProof(b)
	if err != nil {
		t.Fatal(err)
	}
	public, err := headlog.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	head, _ := g.ask()
	if c, err := proof.Check(head.Head, public); err != nil {
		t.Errorf("the proof of the newest head: %+v, %v", c, err)
	}
	folder := filepath.Join(t.TempDir(), "public")
	n.must("log", "export", folder)
	files := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer files.Close()
	if says := n.must("log", "check", files.URL, key, "--all", "--kept", kept); !strings.Contains(says, "It continues the checkpoint in") {
		t.Errorf("check says %q", says)
	}
	if _, err := os.Stat(filepath.Join(folder, "tile/entries")); err != nil {
		t.Error(err)
	}
	// The program does not run: the same commands answer from the store.
	g.stop()
	other.stop()
	n.process.Stop()
	n.must("log", "check")
	n.must("log", "prove", other.chain)
	if h := n.heads(); h.Size < 6 || h.Live != nil {
		t.Errorf("at rest it shows %+v", h)
	}
	for code, words := range map[int][]string{
		2: {"log", "prove", g.chain, "newest"},
		4: {"log", "prove", strings.Repeat("a", 51) + "a"},
		5: {"log", "check", url, key},
		3: {"log", "check", files.URL, key},
	} {
		if code == 3 {
			if err := os.Truncate(filepath.Join(folder, "checkpoint"), 20); err != nil {
				t.Fatal(err)
			}
		}
		if stdout, stderr, got := program.Output(t, n.command(words...)); got != code {
			t.Errorf("%v ends with %d, want %d\n%s%s", words, got, code, stdout, stderr)
		}
	}
	if _, stderr, code := program.Output(t, n.command("log", "check", files.URL, "agg-1.example/heads")); code != 2 || !strings.Contains(stderr, "expected ORIGIN+HASH+KEY") {
		t.Errorf("a key that is none: %d %s", code, stderr)
	}
}

// A log that an old copy of the store was put below, and one that was restored where nobody knows the newest checkpoint, are not
// appended to, and countersigning goes on; the log, `status` and /metrics say so.
func TestALogThatWasSetBackIsTold(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	port := testenv.FreePort(t)
	n := newNode(t, broker.Addr, logged(port))
	n.words = []string{"--set", fmt.Sprintf("api.listen=127.0.0.1:%d", testenv.FreePort(t))}
	api := "http://" + strings.TrimPrefix(n.words[1], "api.listen=")
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	g.start()
	g.record(1)
	n.awaitLogged(g)
	usb := filepath.Join(t.TempDir(), "usb")
	n.must("backup", usb, "--with-key")
	g.record(1)
	n.awaitLogged(g)
	published := n.heads().Size
	n.process.Stop()
	data := filepath.Join(n.dir, "data")
	if err := os.RemoveAll(filepath.Join(data, "store")); err != nil {
		t.Fatal(err)
	}
	if says := n.must("restore", usb); strings.Contains(says, "held") {
		t.Errorf("the mark is here, and restore says %q", says)
	}
	n.start()
	n.process.Await("the log is found to be set back", func() bool { return strings.Contains(n.must("status"), "log-set-back") })
	status := n.must("status")
	for _, want := range []string{"NOTHING IS APPENDED", fmt.Sprintf("a checkpoint of %d leaves was published", published), "another transparency.origin"} {
		if !strings.Contains(status, want) {
			t.Errorf("status does not say %q:\n%s", want, status)
		}
	}
	g.record(1)
	countersigned(g, n)
	answer, err := http.Get(api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	metrics := string(body)
	for _, want := range []string{"edgeaggregator_log_set_back 1", "edgeaggregator_log_size 0", "edgeaggregator_log_append_failures_total "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics does not say %q", want)
		}
	}
	if log, err := os.ReadFile(n.log()); err != nil || !strings.Contains(string(log), "failed to append to the log of heads") {
		t.Errorf("the log does not tell: %v", err)
	}
	if answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/checkpoint", port)); err != nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the log is served: %v, %v", answer, err)
	}
	n.process.Stop()

	// Another machine.
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if says := n.must("restore", usb); !strings.Contains(says, "The log of heads is held") {
		t.Errorf("restore says %q", says)
	}
	n.start()
	n.process.Await("the log is held", func() bool { return strings.Contains(n.must("status"), "came back from a backup") })
	g.record(1)
	countersigned(g, n)
	held, err := filepath.Glob(filepath.Join(data, "*.restored"))
	if err != nil || len(held) != 1 {
		t.Fatal(held, err)
	}
	if err := os.Remove(held[0]); err != nil {
		t.Fatal(err)
	}
	n.awaitLogged(g)
	n.must("log", "check")
	n.process.Stop()
	n.words = append(n.words, "--set", "transparency.origin=agg-1.example/2")
	n.start() // another log, which begins with what comes
	g.record(1)
	n.awaitLogged(g)
	if h := n.heads(); h.Origin != "agg-1.example/2/heads" || h.Size == 0 {
		t.Errorf("the new log is %+v", h)
	}
	g.stop()
}

// Two replicas of one aggregator append to one log, whichever of them lives; the key is one, and who lacks it is told.
func TestReplicasKeepOneLog(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	database := testenv.NewPostgres(t).DSN()
	ports := []int{testenv.FreePort(t), testenv.FreePort(t)}
	var nodes []*node
	for i, port := range ports {
		n := newNode(t, broker.Addr, logged(port), "--store", database, "--set", fmt.Sprint("aggregator.replica=replica-", i))
		if i > 0 {
			for _, file := range []string{"key", "key.copy"} {
				copyFile(t, filepath.Join(nodes[0].dir, "data", file), filepath.Join(n.dir, "data", file))
			}
			n.key = nodes[0].key
		}
		nodes = append(nodes, n)
	}
	first, second := nodes[0], nodes[1]
	first.start()
	key := first.heads().Key
	if _, output, code := program.Output(t, second.command("run")); code == 0 || !strings.Contains(output, "the log agg-1.example/heads was begun, and its key") {
		t.Errorf("without the log's key the second begins: %d %s", code, output)
	}
	for _, file := range []string{"key-log", "key-log.copy"} {
		copyFile(t, filepath.Join(first.dir, "data", file), filepath.Join(second.dir, "data", file))
	}
	second.start()
	g := newGateway(t, "press-hall", broker.Addr, "", first)
	g.start()
	var trees []*tlogclient.Client
	for _, one := range []struct{ stop, ask *node }{{nil, first}, {first, second}, {nil, second}} {
		if one.stop != nil {
			one.stop.process.Kill()
		}
		g.record(2)
		one.ask.awaitLogged(g)
		f := tlogclient.Read(t, fmt.Sprintf("http://127.0.0.1:%d", ports[slices.Index(nodes, one.ask)]), key)
		if len(trees) > 0 {
			f.Check(served(t, f), trees[len(trees)-1].Tree)
		}
		trees = append(trees, f)
	}
	first.start()
	g.record(2)
	second.awaitLogged(g)
	first.awaitLogged(g)
	first.must("log", "check")
	if a, b := first.heads(), second.heads(); a.Root != b.Root || a.Size != b.Size {
		t.Errorf("the replicas show %+v and %+v", a, b)
	}
	g.stop()
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
