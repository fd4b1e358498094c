package registry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
	"edgechain.example/sync/pace"
)

// pledges are the newest heads that are known in this process to be countersigned, with the states that they stood in. A
// store on a server of its own can come to know less than that: a standby took the server's place before it had received
// everything. Then the state is put back from here, and so no chain is ever countersigned shorter or forked.
//
// A state is kept as the stores keep it, which is about 1 kB for a gateway. What this process countersigns itself the keeper
// has as well, so that a program that is started anew in the middle of a failover still knows it.
type pledges struct {
	store    Served
	keeper   Keeper // nil: none outlives the process
	log      *slog.Logger
	failures pace.Seldom // of the keeper

	mu sync.Mutex
	of map[lightchain.ChainID]pledge // guarded by mu
}

// Keeper keeps what is countersigned where no failover of a database takes it. It may be used by many goroutines at once.
type Keeper interface {
	// Keep returns when the record and its state are durable.
	Keep(r *Record) error
	// Kept calls visit for what was kept last of each chain. It is called before anything is kept.
	Kept(visit func(*Record) error) error
}

// recall takes over what was countersigned before this process began.
func (p *pledges) recall() error {
	if p == nil || p.keeper == nil {
		return nil
	}
	return p.keeper.Kept(func(r *Record) error { return p.keep(r.State) })
}

// countersigned notes a record whose state is durable in the database, and that nobody has been told of.
func (p *pledges) countersigned(r *Record) error {
	if p == nil {
		return nil
	}
	before, found := p.height(r.Chain)
	if err := p.keep(r.State); err != nil || p.keeper == nil {
		return err
	}
	if now, _ := p.height(r.Chain); r.State.Receipt == nil || found && now == before {
		return nil
	}
	// The database has it, as far as it is to be relied on: this is the second place, and its want no reason to stop.
	if err := p.keeper.Keep(r); err != nil {
		if times, tell := p.failures.Count(); tell {
			p.log.Error("failed to note what is countersigned beside the database: should a failover lose it and this program be started anew, nobody knows it", "times", times, "err", err)
		}
	}
	return nil
}

type pledge struct {
	height uint64
	state  []byte
}

// keep notes what a state says is countersigned. The state is durable, and no failover takes it as far as is known.
func (p *pledges) keep(s *collector.State) error {
	if p == nil || s == nil || s.Receipt == nil {
		return nil
	}
	if known, found := p.height(s.Chain); found && known >= s.Head.Height() {
		return nil
	}
	state, err := s.Encode()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, found := p.of[s.Chain]; !found || known.height < s.Head.Height() {
		p.of[s.Chain] = pledge{s.Head.Height(), state}
	}
	return nil
}

// vouch notes what a state says that was read: somebody else may have written it a moment ago.
func (p *pledges) vouch(ctx context.Context, s *collector.State) error {
	if p == nil || s == nil || s.Receipt == nil {
		return nil
	}
	if known, found := p.height(s.Chain); found && known >= s.Head.Height() {
		return nil
	}
	if err := p.store.Settled(ctx); err != nil {
		return err
	}
	return p.keep(s)
}

func (p *pledges) height(chain lightchain.ChainID) (height uint64, found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, found := p.of[chain]
	return known.height, found
}

// missing returns the state in which the chain's newest countersigned head stood, if the store knows less; else nil.
func (p *pledges) missing(stored *collector.State) (*collector.State, error) {
	if p == nil || stored.Fork != nil {
		return nil, nil
	}
	p.mu.Lock()
	kept, found := p.of[stored.Chain]
	p.mu.Unlock()
	if !found || stored.Head != nil && stored.Head.Height() >= kept.height {
		return nil, nil
	}
	return collector.DecodeState(kept.state)
}

// heights returns up to where each chain is countersigned.
func (p *pledges) heights() map[lightchain.ChainID]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[lightchain.ChainID]uint64, len(p.of))
	for chain, pledge := range p.of {
		all[chain] = pledge.height
	}
	return all
}

// putBack brings a record to the state that its newest countersigned head stood in. Headers held above the ones that the
// store still has are gone, and asked for again as any backlog is.
func (r *Record) putBack(kept *collector.State, now int64, c *Change) error {
	s := r.State
	had := "nothing of it"
	if s.Head != nil {
		had = fmt.Sprintf("it up to header %d only", s.Head.Height())
	}
	s.Keys, s.Head, s.Receipt = kept.Keys, kept.Head, kept.Receipt
	s.Last, s.Hello = max(s.Last, kept.Last), max(s.Hello, kept.Hello)
	var every uint64
	if s.Every != nil {
		every = s.Every.Height()
	}
	r.Head = headNote(s.Head.Head, every)
	c.Again = true
	if err := r.issue(s, c); err != nil {
		return err
	}
	if g := s.Keys[0].Header.Genesis; r.Name == "" && g != nil && g.Name != nil {
		r.Name = *g.Name
	}
	if !r.Known() { // who approved it is gone as well
		r.Standing, r.Added, r.Seen = Waiting, now, now
	}
	r.Note(SetBack, now, r.Head.Height, fmt.Sprintf(
		"the database knew %s, while header %d was countersigned: it was set back, or a standby took over that had not received everything. What was countersigned is put back",
		had, r.Head.Height))
	return nil
}
