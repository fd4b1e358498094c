package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A specimen is a gateway that was prepared and does not run: each trial damages a copy of it.
type specimen struct {
	name    string
	gateway *gateway
	proofs  []string // files
}

// positions is how many pages and bytes of one file are damaged at most: where each byte is asked for, all of them.
func (t *torture) positions() int {
	if t.every == 1 {
		return math.MaxInt
	}
	return 2000
}

// files damages each file of each specimen in each way.
func (t *torture) files(ctx context.Context) error {
	kinds := []struct {
		name    string
		prepare func(*torture, context.Context) (*gateway, error)
	}{
		{"plain", (*torture).plainGateway},
		{"rotated", (*torture).rotatedGateway},
		{"pruned", (*torture).prunedGateway},
		{"restored", (*torture).restoredGateway},
	}
	var trials []trial
	t.prepares = true
	for _, kind := range kinds {
		if why := lacksMount(); kind.name == "pruned" && why != "" {
			t.report.leaveOut("files", "the pruned store: "+why)
			continue
		}
		g, err := kind.prepare(t, ctx)
		if err != nil {
			return fmt.Errorf("preparing the %s gateway: %w", kind.name, err)
		}
		s := &specimen{name: kind.name, gateway: g}
		if err := s.keepProofs(); err != nil {
			return err
		}
		all, err := faults(g.dir, []string{configName, "data"}, t.every, t.positions())
		if err != nil {
			return err
		}
		for _, f := range all {
			trials = append(trials, trial{class: "files", group: kind.name, name: f.name, run: func(ctx context.Context, o *outcome) { s.damage(ctx, f, o) }})
		}
	}
	t.prepares = false
	if t.short {
		trials = sample(trials, rand.New(rand.NewPCG(t.seed, 0)))
	}
	return t.each(ctx, trials)
}

// damage brings a copy of the specimen into the fault, and judges what becomes of it.
func (s *specimen) damage(ctx context.Context, f fault, o *outcome) {
	g, err := s.damaged(f)
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	defer g.remove()
	began := time.Now()
	if err := g.comeBack(ctx, payload(0)); errors.Is(err, errRefused) && (f.file == configName || f.with == configName) {
		o.said = true
		return
	} else if err != nil {
		o.stuck = err.Error()
		s.autopsy(ctx, f, g, slices.Collect(maps.Keys(s.gateway.ledger.acked)), false, o)
		return
	}
	o.back = time.Since(began)
	if g.starts > 1 {
		o.notes = append(o.notes, fmt.Sprintf("%d starts", g.starts))
	}
	now, err := g.settle(ctx)
	if now == nil {
		o.stuck = err.Error()
		return
	}
	if err != nil {
		o.stuck = err.Error()
	}
	judge(g.ledger, now, o)
	s.compareProofs(ctx, g, now, o)
	o.unsealed = now.held()
	if f.heals != nil && o.stuck == "" {
		s.heal(ctx, f, g, o)
	}
	g.kill()
	if gone, sealed := missing(g.ledger, now); len(gone) > 0 {
		s.autopsy(ctx, f, g, gone, sealed, o)
		if sealed && g.verify(ctx) == 0 {
			o.blind = true
		}
	}
}

// heal puts right what keeps the agent from sealing, which it must notice by itself.
func (s *specimen) heal(ctx context.Context, f fault, g *gateway, o *outcome) {
	if o.unsealed == "" {
		o.stuck = "it seals without its key"
		return
	}
	if err := f.heals(s.gateway.dir, g.dir); err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	err := await(ctx, "it seals with the key that is there again", g.process, func() bool {
		f, err := g.look(ctx, 0, 0)
		return err == nil && f.held() == "" && g.sealedSince(f)
	})
	if err != nil {
		o.stuck = err.Error()
	}
}

// damaged returns a copy of the specimen in the fault.
func (s *specimen) damaged(f fault) (*gateway, error) {
	g, err := s.gateway.copyOf()
	if err != nil {
		return nil, err
	}
	if err := f.damages(g.dir); err != nil {
		g.remove()
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if f.closed && os.Getuid() == 0 {
		g.user = nobody
		err = becomeNobody(g.dir)
	}
	return g, err
}

// settle waits until the agent has sealed, or says why it does not, and until what is missing is told of or was looked for
// twice in all of the store.
func (g *gateway) settle(ctx context.Context) (f *found, err error) {
	var last time.Time
	rounds := 0
	for deadline := time.Now().Add(patience); ctx.Err() == nil; sleep(ctx, 100*time.Millisecond) {
		now, lookErr := g.look(ctx, 0, 0)
		if lookErr != nil {
			if err = lookErr; g.process.ended() || time.Now().After(deadline) {
				return f, fmt.Errorf("it recorded, and does not answer: %w: %s", err, g.process.last())
			}
			continue
		}
		f = now
		if s := f.status.Scrub; s != nil && s.Last != nil && s.Last.Ended != last {
			last = s.Last.Ended
			rounds++
		}
		sealed := g.sealedSince(f)
		held := f.held() != ""
		if (sealed || held) && (settled(g.ledger, f) || rounds > 3) {
			return f, nil
		}
		if time.Now().After(deadline) {
			if !sealed && !held {
				return f, errors.New("it records, seals nothing, and does not say why")
			}
			return f, nil
		}
	}
	return f, ctx.Err()
}

// sealedSince tells whether anything is sealed that was acknowledged and not sealed when the world looked last.
func (g *gateway) sealedSince(f *found) bool {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	return slices.ContainsFunc(f.entries, func(e entry) bool {
		return e.Sealed && g.ledger.acked[string(e.Payload)] && !g.ledger.places[string(e.Payload)].sealed
	})
}

// autopsy looks at the damaged copy as it was before the start: what of the missing lay there and is gone, and what verify
// said of it.
func (s *specimen) autopsy(ctx context.Context, f fault, after *gateway, gone []string, sealed bool, o *outcome) {
	before, err := s.damaged(f)
	if err != nil {
		o.notes = append(o.notes, err.Error())
		return
	}
	defer before.remove()
	lay, lie := lies(gone, before.data), lies(gone, after.data)
	readable := map[string]bool{}
	for _, e := range before.offline(ctx).entries {
		readable[string(e.Payload)] = true
	}
	left := 0
	for _, payload := range gone {
		switch {
		case readable[payload] && o.stuck == "":
			o.removed++
		case lie[payload]:
			left++
		case lay[payload]:
			o.wiped++
		}
	}
	if left > 0 {
		o.notes = append(o.notes, fmt.Sprintf("the bytes of %d still lie there", left))
	}
	if code := before.verify(ctx); sealed && code == 0 {
		o.blind = true
	}
}

// keepProofs writes the proofs that the world has of the specimen into files.
func (s *specimen) keepProofs() error {
	for i, proof := range s.gateway.ledger.proofs {
		file := filepath.Join(s.gateway.dir, fmt.Sprintf("%d.edgeproof", i))
		if err := os.WriteFile(file, proof, 0o644); err != nil {
			return err
		}
		s.proofs = append(s.proofs, file)
	}
	return nil
}

// compareProofs has the auditor's program hold a proof made now against those made before.
func (s *specimen) compareProofs(ctx context.Context, g *gateway, f *found, o *outcome) {
	i := slices.IndexFunc(f.entries, func(e entry) bool {
		return e.Sealed && g.ledger.acked[string(e.Payload)] && !g.ledger.places[string(e.Payload)].sealed
	})
	if i < 0 {
		return
	}
	proof, err := g.proof(ctx, f.entries[i].Number)
	if err != nil {
		o.notes = append(o.notes, fmt.Sprintf("entry %d cannot be proved: %v", f.entries[i].Number, err))
		return
	}
	file := filepath.Join(g.dir, "after.edgeproof")
	if err := os.WriteFile(file, proof, 0o644); err != nil {
		o.notes = append(o.notes, err.Error())
		return
	}
	stdout, stderr, code := output(ctx, g.t.command("edgeverify", append([]string{"--chain", g.ledger.chain, file}, s.proofs...)...))
	if code != 0 {
		o.forks = append(o.forks, fmt.Sprintf("edgeverify exits with %d on proofs of before and after: %.300s%.300s", code, stdout, stderr))
	}
}
