package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// changing are the system calls by which a program changes a disk. What they mean to the rest, such as a socket, fails as well.
var changing = []string{"openat", "write", "pwrite64", "fsync", "fdatasync", "sync_file_range", "fallocate", "ftruncate",
	"renameat", "unlinkat", "mkdirat", "fchmod", "fchmodat"}

func lacksStrace() string {
	if why := lacks("strace"); why != "" {
		return why
	}
	if output, err := exec.Command("strace", "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		return fmt.Sprintf("strace does not work here: %s", output)
	}
	return ""
}

// inject has each system call that changes the disk fail, or kill the program: once, for a while, for ever. Then the program
// starts again without, and is judged.
func (t *torture) inject(ctx context.Context) error {
	old, err := t.plainGateway(ctx)
	if err != nil {
		return err
	}
	recording := &specimen{name: "recording", gateway: old}
	empty, err := t.newGateway("")
	if err != nil {
		return err
	}
	if err := os.Mkdir(empty.data, 0o750); err != nil {
		return err
	}
	beginning := &specimen{name: "beginning", gateway: empty}
	upstream, err := t.newNodeSpecimen(ctx)
	if err != nil {
		return err
	}
	defer upstream.remove()
	random := rand.New(rand.NewPCG(t.seed, 7))
	var trials []trial
	add := func(group string, when func() string, run func(ctx context.Context, wrap []string, o *outcome)) {
		for _, call := range changing {
			for _, what := range []string{"error=EIO", "error=ENOSPC", "signal=KILL"} {
				if what == "error=ENOSPC" && call != "write" && call != "pwrite64" && call != "fallocate" && call != "openat" && call != "mkdirat" {
					continue
				}
				for range 8 {
					expression := fmt.Sprintf("inject=%s:%s:when=%s", call, what, when())
					wrap := []string{"strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=" + call, "-e", expression}
					trials = append(trials, trial{class: "inject", group: group, name: expression,
						run: func(ctx context.Context, o *outcome) { run(ctx, wrap, o) }})
				}
			}
		}
	}
	// strace counts the calls of each thread for itself, so small numbers come at any time.
	when := func() string {
		from := 1 + random.IntN(12)
		return []string{fmt.Sprint(from), fmt.Sprintf("%d..%d", from, from+1+random.IntN(5)), fmt.Sprintf("%d+", from)}[random.IntN(3)]
	}
	add("recording", when, func(ctx context.Context, wrap []string, o *outcome) { recording.underStrace(ctx, wrap, o) })
	add("beginning", when, func(ctx context.Context, wrap []string, o *outcome) { beginning.underStrace(ctx, wrap, o, "--init") })
	add("aggregator", when, func(ctx context.Context, wrap []string, o *outcome) {
		upstream.tortured(ctx, o, func(n *node) error {
			n.wrap = wrap
			err := n.launch()
			if err == nil {
				upstream.awaitHead(ctx, n, 3*time.Second)
				n.kill()
				n.wrap = nil
			}
			return err
		}, nil)
	})
	if t.short {
		random.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
		seen := map[string]int{}
		trials = slices.DeleteFunc(trials, func(r trial) bool { seen[r.group]++; return seen[r.group] > 8 })
	}
	return t.each(ctx, trials)
}

// underStrace runs a copy of the specimen with system calls failing, for as long as something moves, and judges what becomes
// of it without.
func (s *specimen) underStrace(ctx context.Context, wrap []string, o *outcome, args ...string) {
	g, err := s.gateway.copyOf()
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	defer g.remove()
	const messages, idle = 60, 2 * time.Second
	g.wrap = wrap
	if err := g.launch(args...); err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	publishing, stop := context.WithCancel(ctx)
	p := newPublisher(g.address(), "line", 1, g.ledger.acknowledge)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(publishing, messages)
	}()
	// How long is of no weight: it only decides how much there is to lose.
	for last, since := 0, time.Now(); p.total() < messages && !g.process.ended() && time.Since(since) < idle && ctx.Err() == nil; sleep(ctx, 20*time.Millisecond) {
		if now := p.total(); now != last {
			last, since = now, time.Now()
		}
	}
	if !g.process.ended() {
		for _, words := range [][]string{{"key", "rotate"}, {"reload"}, {"backup", filepath.Join(g.dir, "stick")}} {
			quick, cancel := context.WithTimeout(ctx, idle)
			_, _, _ = output(quick, g.command(words...))
			cancel()
		}
		if f, err := g.look(ctx, 0, 0); err == nil {
			g.ledger.see(f)
		}
	}
	stop()
	<-done
	g.kill()
	g.wrap = nil
	began := time.Now()
	if err := g.comeBack(ctx, payload(0), args...); err != nil {
		o.stuck = err.Error()
		return
	}
	o.back = time.Since(began)
	f, err := g.settle(ctx)
	if err != nil {
		o.stuck = err.Error()
	}
	if f == nil {
		return
	}
	if g.ledger.chain == "" {
		g.ledger.chain = f.chain
	}
	judge(g.ledger, f, o)
	s.compareProofs(ctx, g, f, o)
}
