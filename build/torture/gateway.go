package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
)

// A gateway is an edgeagent of a trial's own: a data folder and a configuration beside it, neither of which names a path, so
// that both can be copied. One goroutine at a time may use it.
type gateway struct {
	t      *torture
	dir    string   // data/, edgeagent.toml, log, s
	data   string   // folder
	port   int      // of the embedded broker
	words  []string // more of the command line
	wrap   []string // a program that runs it, and its words
	user   uint32   // whom it runs as; 0: as the harness
	ledger *ledger

	process *process // nil when it does not run
	starts  int      // that it took to come back
}

// The folders may lie in memory; how durable they are is the business of class cut. Everything is small, so that a store of
// some hundred entries has all that a large one has.
const settings = `
[gateway]
name = "press-hall"
[store]
allow_volatile = true
reserve = "2MiB"
reserve_percent = 0
memtable = "256KiB"
cache = "1MiB"
scrub_every = "1s"
scrub_rate = "1GiB"
[commit]
max_delay = "5ms"
max_entries = 8
[block]
interval = "100ms"
max_entries = 16
[broker]
enabled = true
allow_anonymous = true
`

const configName = "edgeagent.toml"

// newGateway makes the folder of a gateway; its chain is not begun yet.
func (t *torture) newGateway(extra string) (*gateway, error) {
	g, err := t.emptyGateway()
	if err != nil {
		return nil, err
	}
	return g, os.WriteFile(g.config(), []byte(settings+extra), 0o644)
}

func (t *torture) emptyGateway() (*gateway, error) {
	dir, err := t.folder("g")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	return &gateway{t: t, dir: dir, data: filepath.Join(dir, "data"), port: port, ledger: newLedger()}, err
}

// copyOf makes a gateway that is another's copy, with a ledger that knows the same.
func (g *gateway) copyOf() (*gateway, error) {
	c, err := g.t.emptyGateway()
	if err != nil {
		return nil, err
	}
	c.ledger, c.words = g.ledger.clone(), g.words
	if err := copyFile(g.config(), c.config()); err != nil {
		return nil, err
	}
	return c, copyTree(g.data, c.data)
}

func (g *gateway) config() string  { return filepath.Join(g.dir, configName) }
func (g *gateway) socket() string  { return filepath.Join(g.dir, "s") }
func (g *gateway) log() string     { return filepath.Join(g.dir, "log") }
func (g *gateway) address() string { return fmt.Sprintf("127.0.0.1:%d", g.port) }

// remove deletes all of it. A program that still runs is killed.
func (g *gateway) remove() {
	g.kill()
	freedPort(g.port)
	os.RemoveAll(g.dir)
}

// command prepares edgeagent.
func (g *gateway) command(args ...string) *exec.Cmd {
	args = append(args, "--config", g.config(), "--data", g.data,
		"--set", "api.socket="+g.socket(), "--set", "broker.listen="+g.address())
	return g.t.asUser(g.t.command("edgeagent", append(args, g.words...)...), g.user)
}

// must runs a command that must succeed.
func (g *gateway) must(ctx context.Context, args ...string) (string, error) {
	stdout, stderr, code := output(ctx, g.command(args...))
	if code != 0 {
		return "", fmt.Errorf("edgeagent %s exits with %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout, nil
}

// launch runs the agent and does not wait.
func (g *gateway) launch(args ...string) error {
	p, err := start(wrapped(g.wrap, g.command(append([]string{"run"}, args...)...)), g.log())
	if err == nil {
		g.process = p
	}
	return err
}

// start runs the agent, and returns when it records.
func (g *gateway) start(ctx context.Context, args ...string) error {
	if err := g.launch(args...); err != nil {
		return err
	}
	return await(ctx, "the agent records", g.process, func() bool { return g.ready(ctx) })
}

// ready tells whether the agent answers and its broker listens.
func (g *gateway) ready(ctx context.Context) bool {
	s, err := g.status(ctx)
	return err == nil && s.Live != nil && len(s.Live.Sources) > 0 && s.Live.Sources[0].Connected
}

func (g *gateway) kill() {
	if g.process != nil {
		g.process.kill()
		g.process = nil
	}
}

func (g *gateway) stop() error {
	p := g.process
	g.process = nil
	if p == nil {
		return nil
	}
	return p.stop()
}

// errRefused is a configuration that the program does not take, and of which it says where the mistake is.
var errRefused = errors.New("the configuration is refused")

// refusesConfig reports whether a program ended so because of its configuration: 2 where it cannot be read, which the unit
// tries again, and 78 where there is a mistake in it.
func refusesConfig(code int) bool { return code == 2 || code == 78 }

// maxStarts is how often in a row a service manager's starts may fail before that counts as never.
const maxStarts = 6

// comeBack runs the agent as a service manager does, again where it ends, until a message is acknowledged.
func (g *gateway) comeBack(ctx context.Context, message string, args ...string) error {
	deadline := time.Now().Add(patience)
	var err error
	for g.starts = 0; ctx.Err() == nil; {
		if g.process == nil || g.process.ended() {
			if p := g.process; p != nil {
				last := p.last()
				if refusesConfig(p.cmd.ProcessState.ExitCode()) && strings.Contains(last, configName) && !strings.Contains(last, "warning") {
					return fmt.Errorf("%w: %s", errRefused, last)
				}
				err = fmt.Errorf("it ends with %d: %s", p.cmd.ProcessState.ExitCode(), last)
			}
			if g.starts == maxStarts {
				return err
			}
			g.starts++
			if err := g.launch(args...); err != nil {
				return err
			}
		}
		attempt := publishOnce(ctx, g.address(), message, patience/5)
		if attempt == nil {
			g.ledger.acknowledge(message)
			return nil
		}
		if strings.Contains(g.process.said(), "there is nothing to record") {
			return fmt.Errorf("%w: no source is left in it, which it warns of", errRefused)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nothing is acknowledged: %v: %s", attempt, g.process.last())
		}
		sleep(ctx, 20*time.Millisecond)
	}
	return ctx.Err()
}

// publish has n messages acknowledged.
func (g *gateway) publish(ctx context.Context, n, qos int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := newPublisher(g.address(), "line", qos, g.ledger.acknowledge)
	p.clean = true
	p.run(ctx, n)
	return ctx.Err()
}

func (g *gateway) client(ctx context.Context) (*api.Client, error) { return api.Dial(ctx, g.socket()) }

func (g *gateway) status(ctx context.Context) (api.Status, error) {
	c, err := g.client(ctx)
	if err != nil {
		return api.Status{}, err
	}
	s, err := c.Status(ctx)
	if err == nil && s.Opening != nil {
		err = api.ErrOpening
	}
	return s, err
}

// look reads what the running agent shows, from the given number and height on.
func (g *gateway) look(ctx context.Context, number, height uint64) (*found, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := g.client(ctx)
	if err != nil {
		return nil, err
	}
	f := &found{hashes: map[uint64]lightchain.Hash{}}
	if f.status, err = g.status(ctx); err != nil {
		return nil, err
	}
	f.chain = f.status.Chain.String()
	for e, err := range c.Entries(ctx, url.Values{"from": {fmt.Sprint(number)}}) {
		switch {
		case err != nil:
			f.err = err
		case e.Gone != "":
			f.gone++
		default:
			f.take(e)
		}
	}
	for b, err := range c.Blocks(ctx, url.Values{"from": {fmt.Sprint(height)}}) {
		switch {
		case err != nil:
			f.err = err
		case b.Hash != nil:
			f.hashes[b.Height] = *b.Hash
		}
	}
	return f, ctx.Err()
}

// take adds an entry, and what it tells if it tells of a loss.
func (f *found) take(e api.Entry) {
	f.entries = append(f.entries, e)
	if !slices.Contains([]string{"agent:damage", "agent:gap", "agent:restore"}, e.Source) {
		return
	}
	var loss struct {
		First     *uint64
		Count     uint64
		FirstBack *uint64 `json:"first_entry"` // of headers that an aggregator gave back, whose entries are lost
		NextBack  uint64  `json:"next_entry"`
	}
	if json.Unmarshal(e.Payload, &loss) != nil {
		return
	}
	switch {
	case loss.First != nil:
		f.told = append(f.told, span{*loss.First, loss.Count})
	case loss.FirstBack != nil:
		f.told = append(f.told, span{*loss.FirstBack, loss.NextBack - *loss.FirstBack})
	case e.Source == "agent:gap":
		f.gaps++
		f.loose += loss.Count
	}
}

// offline reads what the folder shows to a command, where no agent runs; found.err says what kept it from being read.
func (g *gateway) offline(ctx context.Context) *found {
	f := &found{hashes: map[uint64]lightchain.Hash{}}
	stdout, stderr, code := output(ctx, g.command("export", "--format", "jsonl"))
	if code != 0 {
		f.err = errors.New(strings.TrimSpace(stderr))
	}
	for line := range strings.Lines(stdout) {
		var e api.Entry
		if json.Unmarshal([]byte(line), &e) != nil {
			continue
		}
		if e.Gone != "" {
			f.gone++
			continue
		}
		f.take(e)
	}
	return f
}

// verify runs the command, and returns what it exits with.
func (g *gateway) verify(ctx context.Context) (code int) {
	_, _, code = output(ctx, g.command("verify"))
	return code
}

// proof returns the proof of an entry.
func (g *gateway) proof(ctx context.Context, number uint64) ([]byte, error) {
	c, err := g.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.Proof(ctx, number, 0)
}
