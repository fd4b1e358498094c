package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// killsOfAChain is how many kills one chain goes through before a new one is begun.
const killsOfAChain = 40

// kill kills the agent again and again at random, amid publishers of both qualities, and whatever else it may be doing; beside
// it, now and then, the aggregator and the broker between them.
func (t *torture) kill(ctx context.Context) error {
	total := t.n
	switch {
	case t.short:
		total = 12
	case total == 0 && t.duration == 0:
		total = 1000
	case total == 0:
		total = math.MaxInt
	}
	if t.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.duration)
		defer cancel()
	}
	for done := 0; ctx.Err() == nil && done < total; done += killsOfAChain {
		k, err := t.newKiller(ctx, done)
		if err == nil {
			err = k.run(ctx, min(killsOfAChain, total-done))
			k.remove()
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// A killer has a gateway, its aggregator, and the broker between them.
type killer struct {
	t      *torture
	g      *gateway
	n      *node
	broker *mosquitto
	disk   string // a small one in memory, so that retention has something to do; "" without root
	stick  string
	random *rand.Rand
	from   uint64 // entries below are known to be sealed
}

func (t *torture) newKiller(ctx context.Context, round int) (k *killer, err error) {
	k = &killer{t: t, random: rand.New(rand.NewPCG(t.seed, uint64(round)))}
	if k.broker, err = t.newMosquitto(ctx, true); err != nil {
		return nil, err
	}
	if k.n, err = t.newNode(ctx, k.broker.address()); err != nil {
		return nil, err
	}
	if err := k.n.launch(); err != nil {
		return nil, err
	}
	if k.g, err = t.newGateway("[retention]\nmax_size = \"1GiB\"\nmin_age = \"0s\"\ndelete_unreceipted_evidence = true\n" + k.n.followedBy(k.broker.address())); err != nil {
		return nil, err
	}
	if k.stick, err = t.folder("stick"); err != nil {
		return nil, err
	}
	if k.disk, err = t.folder("disk"); err != nil {
		return nil, err
	}
	if syscall.Mount("tmpfs", k.disk, "tmpfs", 0, "size="+t.disk) == nil {
		k.g.data = filepath.Join(k.disk, "data")
	} else {
		k.disk = ""
	}
	_, err = k.g.must(ctx, "init")
	return k, err
}

func (k *killer) remove() {
	k.g.remove()
	k.n.remove()
	k.broker.remove()
	if k.disk != "" {
		_ = syscall.Unmount(k.disk, syscall.MNT_DETACH)
	}
	os.RemoveAll(k.stick)
}

// run kills so often, and then looks at all of the chain.
func (k *killer) run(ctx context.Context, kills int) error {
	if err := k.g.start(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for qos := 1; qos <= 2; qos++ {
		p := newPublisher(k.g.address(), fmt.Sprintf("line-%d", qos), qos, k.g.ledger.acknowledge)
		p.pace = time.Millisecond
		n := 0
		p.next = func() string { n++; return padded(n, 1000) }
		others.Go(func() { p.run(running, 0) })
	}
	others.Go(func() { k.watch(running) })
	others.Go(func() { k.disturb(running) })
	for i := range kills {
		what := k.work(ctx)
		sleep(ctx, time.Duration(k.random.IntN(500))*time.Millisecond)
		k.g.kill()
		k.t.try(ctx, trial{class: "kill", group: what, name: fmt.Sprintf("kill %d", i+1), run: k.judge})
	}
	stop()
	others.Wait()
	k.t.try(ctx, trial{class: "kill", group: "whole chain", name: fmt.Sprintf("after %d kills", kills), run: k.judgeAll})
	return nil
}

// padded is a payload of some size, of which the padding does not compress.
func padded(n, size int) string {
	pad := make([]byte, size)
	for i := range pad {
		pad[i] = '!' + byte(rand.IntN(90))
		if pad[i] == '"' || pad[i] == '\\' {
			pad[i] = '.'
		}
	}
	p := payload(n)
	return p[:len(p)-1] + `,"pad":"` + string(pad) + `"}`
}

// work begins something, and returns its name. What becomes of a command whose agent is killed is its own affair.
func (k *killer) work(ctx context.Context) (what string) {
	works := [][]string{{"publish"}, {"key", "rotate"}, {"prune"}, {"backup", k.stick, "--keep", "2"}, {"reload"}, {"verify"}}
	words := works[k.random.IntN(len(works))]
	if words[0] != "publish" {
		go output(ctx, k.g.command(words...))
	}
	return words[0]
}

// watch notes the headers that have left, until ctx ends.
func (k *killer) watch(ctx context.Context) {
	for sleep(ctx, 20*time.Millisecond) {
		c, err := k.g.client(ctx)
		if err != nil {
			continue
		}
		for b, err := range c.Blocks(ctx, url.Values{"reverse": {"true"}, "limit": {"3"}}) {
			if err != nil || b.Hash == nil {
				break
			}
			k.g.ledger.seeHeader(b.Height, *b.Hash)
		}
	}
}

// disturb kills aggregator and broker now and then, until ctx ends.
func (k *killer) disturb(ctx context.Context) {
	random := rand.New(rand.NewPCG(k.t.seed, 99))
	for sleep(ctx, time.Duration(1000+random.IntN(3000))*time.Millisecond) {
		if random.IntN(2) == 0 {
			k.n.kill()
			_ = k.n.launch()
		} else {
			k.broker.process.kill()
			_ = k.broker.start(ctx)
		}
	}
}

// judge starts the agent again after a kill, and looks at the chain's newer part.
func (k *killer) judge(ctx context.Context, o *outcome) {
	// What was acknowledged by now was so before the kill: nobody acknowledges anything until the start.
	before := k.g.ledger.clone()
	began := time.Now()
	if err := k.g.comeBack(ctx, payload(0)); err != nil {
		o.stuck = err.Error()
		return
	}
	o.back = time.Since(began)
	k.compare(ctx, before, o)
}

// compare looks at the chain from k.from on.
func (k *killer) compare(ctx context.Context, before *ledger, o *outcome) {
	height := uint64(0)
	for h := range before.hashes {
		height = max(height, h)
	}
	f, err := k.g.look(ctx, k.from, height-min(height, 100))
	if err != nil {
		o.stuck = "it recorded, and does not answer: " + err.Error()
		return
	}
	if before.chain == "" {
		before.chain = f.chain
	}
	before.forget(f.status.Held) // what was seen and is deleted by now
	if f.status.Held > k.from && k.from > 0 {
		deleted := before.unseen(f)
		before.drop(deleted)
		k.g.ledger.drop(deleted)
	}
	judge(before, f, o)
	k.g.ledger.see(f)
	k.g.ledger.forget(f.status.Held)
	k.from = k.g.ledger.keep(f)
}

// judgeAll looks at all of the chain, with all that has a say in it.
func (k *killer) judgeAll(ctx context.Context, o *outcome) {
	k.g.ledger.all()
	k.from = 0
	k.compare(ctx, k.g.ledger.clone(), o)
	if err := k.g.stop(); err != nil {
		o.notes = append(o.notes, err.Error())
	}
	if code := k.g.verify(ctx); code != 0 {
		o.stuck = fmt.Sprintf("verify exits with %d", code)
	}
	if _, err := os.Stat(filepath.Join(k.stick, "EDGECHAIN-BACKUP")); err == nil { // by chance there may have been no backup
		if _, stderr, code := output(ctx, k.g.command("backup", "--verify", k.stick)); code != 0 && code != 4 {
			o.stuck = fmt.Sprintf("backup --verify exits with %d: %s", code, stderr)
		}
	}
	if forks := k.n.forks(ctx); forks != "" {
		o.forks = append(o.forks, "the aggregator: "+forks)
	}
}
