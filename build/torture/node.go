package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"edgechain.example/lightchain"
)

// A nodeSpecimen is an aggregator that was prepared and does not run, with a gateway and a broker that go on: each trial puts
// a copy of it in its place. They are tried one after the other, since the broker knows one aggregator of the name.
type nodeSpecimen struct {
	mu      sync.Mutex
	node    *node
	gateway *gateway
	broker  *mosquitto
	stick   string // a backup of it, made before its last run
	issued  []receipt
}

// A receipt is what an aggregator tells of one that it has issued.
type receipt struct {
	Height uint64
	Hash   lightchain.Hash
}

// receipt returns the first receipt that an aggregator has issued for the chain at the height or above.
func (n *node) receipt(ctx context.Context, chain string, height uint64) (r receipt, err error) {
	stdout, stderr, code := output(ctx, n.command("receipt", chain, "--height", fmt.Sprint(height), "--output", "json"))
	if code != 0 {
		return r, fmt.Errorf("edgeaggregator receipt exits with %d: %s", code, strings.TrimSpace(stderr))
	}
	return r, json.Unmarshal([]byte(stdout), &r)
}

func (t *torture) newNodeSpecimen(ctx context.Context) (s *nodeSpecimen, err error) {
	s = &nodeSpecimen{}
	if s.broker, err = t.newMosquitto(ctx, true); err != nil {
		return nil, err
	}
	if s.node, err = t.newNode(ctx, s.broker.address()); err != nil {
		return nil, err
	}
	if s.stick, err = t.folder("stick"); err != nil {
		return nil, err
	}
	if s.gateway, err = t.newGateway(s.node.followedBy(s.broker.address())); err != nil {
		return nil, err
	}
	if _, err := s.gateway.must(ctx, "init"); err != nil {
		return nil, err
	}
	if err := s.gateway.start(ctx); err != nil {
		return nil, err
	}
	f, err := s.gateway.look(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	s.gateway.ledger.see(f)
	for run := range 4 {
		if err := s.node.launch(); err != nil {
			return nil, err
		}
		if err := s.gateway.publish(ctx, 40, 1); err != nil {
			return nil, err
		}
		if !s.awaitHead(ctx, s.node, patience) {
			return nil, fmt.Errorf("the aggregator countersigns nothing: %s", s.node.process.last())
		}
		if run == 2 {
			if _, stderr, code := output(ctx, s.node.command("backup", s.stick)); code != 0 {
				return nil, fmt.Errorf("edgeaggregator backup exits with %d: %s", code, stderr)
			}
		}
		r, err := s.node.receipt(ctx, s.gateway.ledger.chain, s.gateway.receipted(ctx))
		if err != nil {
			return nil, err
		}
		s.issued = append(s.issued, r)
		if run == 1 {
			s.node.kill()
		} else if err := s.node.stop(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *nodeSpecimen) remove() {
	s.gateway.remove()
	s.node.remove()
	os.RemoveAll(s.stick)
	s.broker.remove()
}

// node damages each file of an aggregator in each way.
func (t *torture) node(ctx context.Context) error {
	s, err := t.newNodeSpecimen(ctx)
	if err != nil {
		return err
	}
	defer s.remove()
	all, err := faults(s.node.dir, []string{nodeConfigName, "data"}, t.every, t.positions())
	if err != nil {
		return err
	}
	var trials []trial
	for _, f := range all {
		group := "store"
		if f.file == nodeConfigName {
			group = "configuration"
		} else if strings.HasPrefix(f.file, filepath.Join("data", "key")) {
			group = "key"
		}
		trials = append(trials, trial{class: "node", group: group, name: f.name, run: func(ctx context.Context, o *outcome) {
			s.tortured(ctx, o, func(n *node) error {
				if f.closed && os.Getuid() == 0 {
					if err := becomeNobody(n.dir); err != nil {
						return err
					}
					n.user = nobody
				}
				return f.damages(n.dir)
			}, f.refused)
		}})
	}
	if t.short {
		trials = sample(trials, rand.New(rand.NewPCG(t.seed, 0)))
		trials = trials[:min(len(trials), 40)]
	}
	return t.each(ctx, trials)
}

// refused tells whether the aggregator is right not to start with the fault, and says why: it cannot tell what a configuration
// meant, does not begin another key by itself, and opens no file of its store that the system does not let it open.
func (f *fault) refused(err error) bool {
	said := err.Error()
	for _, file := range []string{f.file, f.with} {
		switch {
		case file == nodeConfigName:
			if errors.Is(err, errRefused) {
				return true
			}
		case strings.HasPrefix(file, filepath.Join("data", "store")):
			if f.closed && strings.Contains(said, "permission denied") && strings.Contains(said, filepath.Join("data", "store")) {
				return true
			}
		case strings.HasPrefix(file, filepath.Join("data", "key")):
			// One of two files is enough, unless others may have read it.
			if (f.heals != nil || strings.Contains(said, "open to others")) && strings.Contains(said, filepath.Join("data", "key")) {
				return true
			}
		}
	}
	return false
}

// tortured puts a copy of the aggregator into the fault, and judges whether it countersigns what the gateway seals then, and
// whether it holds anything against it and still has the receipts that it issued: those that its store has lost stand in the
// journal beside it. One that refuses its store must come back from a backup, as it is documented.
func (s *nodeSpecimen) tortured(ctx context.Context, o *outcome, fault func(*node) error, refused func(error) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.node.copyOf()
	if err == nil {
		err = fault(n)
	}
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	defer n.remove()
	began := time.Now()
	err = s.comeBack(ctx, n)
	if err != nil && refused != nil && refused(err) {
		o.said = true
		if strings.Contains(err.Error(), filepath.Join("data", "key")) || errors.Is(err, errRefused) {
			return
		}
		err = s.restore(ctx, n)
	}
	if err != nil {
		o.stuck = err.Error()
		return
	}
	o.back = time.Since(began)
	if forks := n.forks(ctx); forks != "" {
		o.forks = append(o.forks, "the aggregator: "+forks)
	}
	s.compare(ctx, n, s.issued, o)
}

// compare asks the aggregator for receipts that it had issued.
func (s *nodeSpecimen) compare(ctx context.Context, n *node, issued []receipt, o *outcome) {
	for _, r := range issued {
		switch now, err := n.receipt(ctx, s.gateway.ledger.chain, r.Height); {
		case err != nil || now.Height != r.Height:
			o.lost++
			switch {
			case o.said: // a backup is older
			case n.told(ctx): // of both the store and its journal: which receipts were in them cannot be known
				o.unknown++
			default:
				o.untold++
				o.notes = append(o.notes, fmt.Sprintf("the receipt for header %d is gone: %v", r.Height, err))
			}
		case now.Hash != r.Hash:
			o.forks = append(o.forks, fmt.Sprintf("the receipt for header %d is for another", r.Height))
		}
	}
}

// restore puts the aggregator's store aside, and brings it back from the backup.
func (s *nodeSpecimen) restore(ctx context.Context, n *node) error {
	n.kill()
	n.user = 0
	if err := os.RemoveAll(filepath.Join(n.data, "store")); err != nil {
		return err
	}
	if _, stderr, code := output(ctx, n.command("restore", s.stick)); code != 0 {
		return fmt.Errorf("edgeaggregator restore exits with %d: %s", code, stderr)
	}
	if err := s.comeBack(ctx, n); err != nil {
		return fmt.Errorf("restored from a backup: %w", err)
	}
	return nil
}

// comeBack runs the aggregator as a service manager does, until it has countersigned a head that is sealed now.
func (s *nodeSpecimen) comeBack(ctx context.Context, n *node) (err error) {
	for starts := 0; starts < maxStarts && ctx.Err() == nil; starts++ {
		if err := n.launch(); err != nil {
			return err
		}
		if err := s.gateway.publish(ctx, 1, 1); err != nil {
			return err
		}
		if s.awaitHead(ctx, n, patience) {
			return nil
		}
		if !n.process.ended() {
			return errors.New("it runs, and countersigns nothing: " + n.process.last())
		}
		code := n.process.cmd.ProcessState.ExitCode()
		err = fmt.Errorf("it ends with %d: %s", code, n.process.last())
		if refusesConfig(code) {
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
	}
	return err
}

// awaitHead waits until a head is countersigned that is as high as the gateway's is now.
func (s *nodeSpecimen) awaitHead(ctx context.Context, n *node, bound time.Duration) bool {
	target := uint64(0)
	for deadline := time.Now().Add(bound); time.Now().Before(deadline) && !n.process.ended() && sleep(ctx, 20*time.Millisecond); {
		status, err := s.gateway.status(ctx)
		if err != nil {
			continue
		}
		if target == 0 && status.Open == 0 {
			target = status.Height
		}
		if target > 0 && s.gateway.receipted(ctx) >= target {
			return true
		}
	}
	return false
}

// told reports whether the aggregator says that its journal, in which lost receipts would stand, was damaged or gone.
func (n *node) told(ctx context.Context) bool {
	stdout, _, code := output(ctx, n.command("status", "--output", "json"))
	var status struct{ Damage struct{ Journal bool } }
	return code == 0 && json.Unmarshal([]byte(stdout), &status) == nil && status.Damage.Journal
}

func (n *node) stop() error {
	p := n.process
	n.process = nil
	return p.stop()
}

// nobody is a user to whom modes of files mean something.
const nobody = 65534

// becomeNobody hands all below a folder to that user.
func becomeNobody(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
}
