package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A nodeFilm is the life of an aggregator on a disk whose every write was noted, with the receipts that had reached the world at
// each moment. Its gateway and its broker live elsewhere, and go on.
type nodeFilm struct {
	*reel
	t       *torture
	s       *nodeSpecimen // whose aggregator lives on the disk
	made    int           // the position from which on its key may be known
	traitor *gateway      // another history of the same chain, which nothing but a countersigned one keeps from being countersigned
	parts   uint64        // the lowest height at which it is another

	mu     sync.Mutex
	issued []issue // guarded by mu
}

// An issue is a receipt that had reached the gateway at a position.
type issue struct {
	receipt
	at int
}

// filmedNode films an aggregator to its end; its gateway goes on.
func (t *torture) filmedNode(ctx context.Context) (f *nodeFilm, err error) {
	f = &nodeFilm{t: t, s: &nodeSpecimen{}}
	if f.s.broker, err = t.newMosquitto(ctx, true); err != nil {
		return nil, err
	}
	if f.reel, err = t.newReel(ctx); err != nil {
		return nil, err
	}
	defer f.unmount()
	if f.s.node, err = t.emptyNode(); err != nil {
		return nil, err
	}
	defer f.s.node.kill()
	f.s.node.data = filepath.Join(f.mount, "data")
	if err := f.s.node.configure(f.s.broker.address()); err != nil {
		return nil, err
	}
	f.disk.note()
	if err := f.shoot(ctx); err != nil {
		return nil, err
	}
	now, err := f.s.gateway.look(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	f.s.gateway.ledger.see(now)
	for i := range f.issued {
		f.issued[i].Hash = now.hashes[f.issued[i].Height]
	}
	return f, nil
}

func (f *nodeFilm) remove() { f.s.remove() }

// shoot lets the aggregator do all that changes its disk.
func (f *nodeFilm) shoot(ctx context.Context) (err error) {
	s := f.s
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop()
	countersign := func(rounds int) func() error {
		return func() error {
			for range rounds {
				if err := s.gateway.publish(ctx, 20, 1); err != nil {
					return err
				}
				if !s.awaitHead(ctx, s.node, patience) {
					return fmt.Errorf("the aggregator countersigns nothing: %s", s.node.process.last())
				}
			}
			return nil
		}
	}
	for _, scene := range []struct {
		name string
		do   func() error
	}{
		{"init", func() (err error) {
			s.node.key, err = s.node.init(ctx)
			f.made = f.disk.position()
			return err
		}},
		{"begin", func() error {
			if s.gateway, err = f.t.newGateway(s.node.followedBy(s.broker.address())); err != nil {
				return err
			}
			if _, err := s.gateway.must(ctx, "init"); err != nil {
				return err
			}
			if err := f.breed(ctx); err != nil {
				return err
			}
			if err := errors.Join(s.node.launch(), s.gateway.start(ctx)); err != nil {
				return err
			}
			watcher.Go(func() { f.watch(watching) })
			return countersign(1)()
		}},
		{"countersign", countersign(4)},
		{"crash", func() error {
			s.node.kill()
			return errors.Join(s.node.launch(), countersign(2)())
		}},
		{"backup", func() error {
			if _, stderr, code := output(ctx, s.node.command("backup", filepath.Join(f.mount, "stick"))); code != 0 {
				return fmt.Errorf("edgeaggregator backup exits with %d: %s", code, stderr)
			}
			return countersign(1)()
		}},
		{"stop and start", func() error {
			return errors.Join(s.node.stop(), s.node.launch(), countersign(2)())
		}},
		{"stop", func() error { return s.node.stop() }},
	} {
		if err := scene.do(); err != nil {
			return fmt.Errorf("%s: %w", scene.name, err)
		}
		f.scene(scene.name, s.node.data)
	}
	return nil
}

// breed makes the other history: the chain as it is by now goes on without anybody who could know.
func (f *nodeFilm) breed(ctx context.Context) (err error) {
	g := f.s.gateway
	if f.traitor, err = g.copyOf(); err != nil {
		return err
	}
	if err := os.WriteFile(f.traitor.config(), []byte(settings), 0o644); err != nil {
		return err
	}
	if err := f.traitor.start(ctx); err != nil {
		return err
	}
	defer f.traitor.kill()
	if err := f.traitor.publish(ctx, 60, 1); err != nil {
		return err
	}
	status, err := f.traitor.status(ctx)
	if err == nil && status.Height < 3 {
		err = fmt.Errorf("the other history ends at height %d", status.Height)
	}
	f.parts = 1 // the first header is of init
	return errors.Join(err, f.traitor.stop())
}

// watch notes the receipts that reach the gateway, until ctx ends.
func (f *nodeFilm) watch(ctx context.Context) {
	for last := uint64(0); sleep(ctx, 10*time.Millisecond); {
		height := f.s.gateway.receipted(ctx)
		if height <= last {
			continue
		}
		last = height
		at := f.disk.position() // it is here, so what it stands on is noted by now
		f.mu.Lock()
		f.issued = append(f.issued, issue{receipt{Height: height}, at})
		f.mu.Unlock()
	}
}

// cuts returns trials of so many cuts, in all scenes.
func (f *nodeFilm) cuts(random *rand.Rand, n int) (trials []trial) {
	for i := range n {
		s := f.scenes[i%len(f.scenes)]
		c := f.cutIn(s, random, i)
		group := c.group("aggregator")
		if c.lies {
			group = "aggregator, disk that lies"
		}
		tempted := !c.lies && random.IntN(3) == 0
		trials = append(trials, trial{class: "cut", group: group, name: "aggregator: " + f.name(s, c),
			run: func(ctx context.Context, o *outcome) { f.live(ctx, c, c.at, tempted, o) }})
	}
	return trials
}

// live starts the aggregator on what a cut left, and judges it by what had reached the world at a position: it countersigns what
// its gateway seals then, forgets no receipt, and, tempted, countersigns no other history.
func (f *nodeFilm) live(ctx context.Context, c cutAt, known int, tempted bool, o *outcome) {
	n, unmount, err := f.nodeOn(c)
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	defer unmount()
	// As a package does at each installation: there may be no key yet.
	switch key, err := n.init(ctx); {
	case err != nil:
		o.stuck = err.Error()
		return
	case key != f.s.node.key && known < f.made:
		return // another one, and nobody had seen the first
	case key != f.s.node.key && c.lies:
		o.unknown++
		return
	case key != f.s.node.key:
		o.forks = append(o.forks, "the aggregator has another key")
		return
	}
	var issued []receipt
	for _, i := range f.issued {
		if i.at <= known {
			issued = append(issued, i.receipt)
		}
	}
	if tempted && len(issued) > 0 && issued[len(issued)-1].Height >= f.parts {
		f.tempt(ctx, n, o)
	} else {
		f.s.mu.Lock()
		defer f.s.mu.Unlock()
		began := time.Now()
		if err := f.s.comeBack(ctx, n); err != nil {
			o.stuck = err.Error()
			return
		}
		o.back = time.Since(began)
		if forks := n.forks(ctx); forks != "" {
			o.forks = append(o.forks, "the aggregator: "+forks)
		}
	}
	f.s.compare(ctx, n, issued, o)
	if c.lies { // together with what was lost went all that could tell of it
		o.unknown, o.untold = o.unknown+o.untold, 0
	}
}

// tempt shows the aggregator another history than the one whose receipts have gone out.
func (f *nodeFilm) tempt(ctx context.Context, n *node, o *outcome) {
	broker, err := f.t.newMosquitto(ctx, false)
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	defer broker.remove()
	traitor, err := f.traitor.copyOf()
	if err == nil {
		defer traitor.remove()
		err = errors.Join(os.WriteFile(traitor.config(), []byte(settings+n.followedBy(broker.address())), 0o644), n.configure(broker.address()))
	}
	if err == nil {
		err = n.launch()
	}
	if err == nil { // before, a command would open the store itself, and the aggregator find it taken
		err = await(ctx, "the aggregator answers", n.process, func() bool {
			_, err := os.Stat(n.socket())
			return err == nil
		})
	}
	if err == nil {
		err = traitor.start(ctx)
	}
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	err = await(ctx, "the aggregator says of another history that it is one", n.process, func() bool {
		if height := traitor.receipted(ctx); height >= f.parts {
			o.forks = append(o.forks, fmt.Sprintf("the aggregator has countersigned header %d of another history", height))
			return true
		}
		evidence, err := n.evidence(ctx)
		return err == nil && evidence != "" // not while it opens its store
	})
	if err != nil {
		o.stuck = err.Error()
	}
}

// nodeOn mounts what a cut left, and returns the aggregator on it.
func (f *nodeFilm) nodeOn(c cutAt) (n *node, unmount func(), err error) {
	if n, err = f.t.emptyNode(); err != nil {
		return nil, nil, err
	}
	if err := copyFile(f.s.node.config(), n.config()); err != nil {
		return nil, nil, err
	}
	mount, err := f.develop(c, n.dir)
	if err != nil {
		return nil, nil, err
	}
	n.data, n.key = filepath.Join(mount, "data"), f.s.node.key
	return n, func() {
		n.kill()
		_ = syscall.Unmount(mount, syscall.MNT_DETACH)
		os.RemoveAll(n.dir)
	}, nil
}
