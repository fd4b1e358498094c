package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A mosquitto is a broker of a trial's own, at the same address through all its lives.
type mosquitto struct {
	dir     string
	port    int
	process *process
}

// lacksMosquitto says why a class that needs a broker is left out.
func lacksMosquitto() string { return lacks("mosquitto") }

// lacks names the first of the programs that is not installed.
func lacks(programs ...string) string {
	for _, name := range programs {
		if _, err := find(name); err != nil {
			return name + " is not installed: build/testenv/install.sh installs what the tests run"
		}
	}
	return ""
}

// find looks where a login of root's would.
func find(name string) (path string, err error) {
	for _, at := range []string{name, "/usr/local/sbin/" + name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err = exec.LookPath(at); err == nil {
			return path, nil
		}
	}
	return "", err
}

// newMosquitto makes a broker that keeps sessions and messages when it is killed, or nothing.
func (t *torture) newMosquitto(ctx context.Context, persistent bool) (*mosquitto, error) {
	dir, err := t.folder("b")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	m := &mosquitto{dir: dir, port: port}
	text := fmt.Sprintf("user root\nallow_anonymous true\nlistener %d 127.0.0.1\nmax_inflight_messages 10000\nmax_queued_messages 10000000\nset_tcp_nodelay true\n", port)
	if persistent {
		text += fmt.Sprintf("persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location %s/\n", dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(text), 0o644); err != nil {
		return nil, err
	}
	return m, m.start(ctx)
}

func (m *mosquitto) address() string { return fmt.Sprintf("127.0.0.1:%d", m.port) }

func (m *mosquitto) start(ctx context.Context) error {
	path, err := find("mosquitto")
	if err != nil {
		return err
	}
	if m.process, err = start(exec.Command(path, "-c", filepath.Join(m.dir, "conf")), filepath.Join(m.dir, "log")); err != nil {
		return err
	}
	return await(ctx, "mosquitto listens", m.process, func() bool {
		conn, err := net.Dial("tcp", m.address())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (m *mosquitto) remove() {
	m.process.kill()
	os.RemoveAll(m.dir)
}

// A node is an edgeaggregator of a trial's own.
type node struct {
	t         *torture
	dir, data string
	user      uint32
	wrap      []string // a program that runs it, and its words
	key       string   // "ssh-ed25519 …"
	process   *process
}

const nodeConfigName = "edgeaggregator.toml"

const nodeSettings = `
[aggregator]
name = "agg-1"
[store]
cache = "8MiB"
[trust]
gateways = "all"
[clock]
assume_synchronised = true # nothing real hangs on these receipts
[[broker]]
name = "office"
servers = ["tcp://%s"]
`

// newNode makes an aggregator's key and configuration; it does not run yet.
func (t *torture) newNode(ctx context.Context, broker string) (*node, error) {
	n, err := t.emptyNode()
	if err != nil {
		return nil, err
	}
	if err := n.configure(broker); err != nil {
		return nil, err
	}
	n.key, err = n.init(ctx)
	return n, err
}

func (n *node) configure(broker string) error {
	return os.WriteFile(n.config(), fmt.Appendf(nil, nodeSettings, broker), 0o644)
}

// init makes the aggregator's key, where there is none, and returns it.
func (n *node) init(ctx context.Context) (key string, err error) {
	stdout, stderr, code := output(ctx, n.command("init", "--output", "json"))
	var made struct{ Key string }
	if err := json.Unmarshal([]byte(stdout), &made); code != 0 || err != nil {
		return "", fmt.Errorf("edgeaggregator init exits with %d: %s", code, stderr)
	}
	return made.Key, nil
}

func (t *torture) emptyNode() (*node, error) {
	dir, err := t.folder("n")
	return &node{t: t, dir: dir, data: filepath.Join(dir, "data")}, err
}

// copyOf makes an aggregator that is another's copy.
func (n *node) copyOf() (*node, error) {
	c, err := n.t.emptyNode()
	if err != nil {
		return nil, err
	}
	c.key = n.key
	if err := copyFile(n.config(), c.config()); err != nil {
		return nil, err
	}
	return c, copyTree(n.data, c.data)
}

func (n *node) config() string { return filepath.Join(n.dir, nodeConfigName) }
func (n *node) socket() string { return filepath.Join(n.dir, "s") }

func (n *node) command(args ...string) *exec.Cmd {
	args = append(args, "--config", n.config(), "--set", "aggregator.data="+n.data, "--set", "api.socket="+n.socket())
	return n.t.asUser(n.t.command("edgeaggregator", args...), n.user)
}

func (n *node) launch() (err error) {
	n.process, err = start(wrapped(n.wrap, n.command("run")), filepath.Join(n.dir, "log"))
	return err
}

func (n *node) kill() {
	if n.process != nil {
		n.process.kill()
		n.process = nil
	}
}

func (n *node) remove() {
	n.kill()
	os.RemoveAll(n.dir)
}

// forks returns what the aggregator holds against gateways, "" for nothing, or that it does not say.
func (n *node) forks(ctx context.Context) string {
	text, err := n.evidence(ctx)
	if err != nil {
		return err.Error()
	}
	return text
}

// evidence returns what the aggregator holds against gateways, "" for nothing.
func (n *node) evidence(ctx context.Context) (string, error) {
	stdout, stderr, code := output(ctx, n.command("forks", "list", "--output", "json"))
	if code != 0 {
		return "", fmt.Errorf("forks list exits with %d: %s", code, strings.TrimSpace(stderr))
	}
	if text := strings.TrimSpace(stdout); text != "[]" && text != "null" {
		return text[:min(len(text), 300)], nil
	}
	return "", nil
}

// followedBy returns what a gateway's configuration says of the aggregator.
func (n *node) followedBy(broker string) string {
	return fmt.Sprintf("[sync]\nannounce = \"1s\"\nconfirm_wait = \"1s\"\n[[upstream]]\nname = \"office\"\nservers = [\"tcp://%s\"]\n[[upstream.aggregator]]\nname = \"agg-1\"\nkey = %q\n", broker, n.key)
}

// receipted returns the highest header of the gateway that the aggregator is known there to have countersigned.
func (g *gateway) receipted(ctx context.Context) uint64 {
	s, err := g.status(ctx)
	if err != nil || s.Live == nil || len(s.Live.Upstreams) == 0 || len(s.Live.Upstreams[0].Aggregators) == 0 {
		return 0
	}
	if r := s.Live.Upstreams[0].Aggregators[0].Receipted; r != nil {
		return *r
	}
	return 0
}
