package gateway

import (
	"errors"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// restoring is the work of putting back lost headers.
type restoring struct {
	from  *lightchain.Tip // where the chain ended
	peer  *peer           // who is asked
	again time.Time
	tries pace.Backoff
	done  bool // by a sparse copy
}

// worst returns the peer that knows the newest head that this gateway lacks.
func (g *Gateway) worst() *peer {
	var worst *peer
	for _, p := range g.peers {
		if p.standing != Behind && p.standing != KeyChanged {
			continue
		}
		if worst == nil || p.head.Header.Height > worst.head.Header.Height ||
			p.head.Header.Height == worst.head.Header.Height && p.name < worst.name {
			worst = p
		}
	}
	return worst
}

// tickRestore puts back what an aggregator is known to have. While there is such a head, nothing is settled: to seal
// now would knowingly make a second history.
func (g *Gateway) tickRestore(now time.Time) (again time.Time, busy bool) {
	p := g.worst()
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		g.c.Log.Error("failed to read the head", "err", err)
		return now.Add(time.Minute), true
	}
	if p != nil && p.standing == KeyChanged {
		g.settle(Settlement{Standing: KeyChanged, Head: p.head})
		return time.Time{}, true
	}
	if p == nil {
		if r := g.restore; r != nil {
			g.settle(Settlement{
				Standing: Recovered, From: r.from.Height + 1, To: tip.Height,
				FirstEntry: r.from.Next, NextEntry: tip.Next, Sparse: r.done,
			})
			return time.Time{}, true
		}
		return time.Time{}, false
	}
	if g.c.Restorer == nil {
		g.settle(Settlement{Standing: Behind, Head: p.head})
		return time.Time{}, true
	}
	if g.restore == nil {
		g.restore = &restoring{from: tip, tries: pace.Backoff{Least: 2 * time.Second, Most: time.Minute}}
	}
	r := g.restore
	if r.peer != p {
		r.peer, r.again = p, now
	}
	if at := pace.Later(r.again, p.busy); now.Before(at) {
		return at, true
	}
	p.asks++
	g.sendHello(now, &headersync.RestoreRequest{Aggregator: p.name, Session: p.session, Sequence: p.asks, Most: g.c.MaxPage})
	if r.tries.Failures >= stale {
		// What its welcome said may have changed since: its head, its session. A hello that asks for nothing has it say so.
		g.sendHello(now, nil)
	}
	r.again = now.Add(r.tries.Next())
	return r.again, true
}

// stale is after how many requests without an answer a welcome counts as old.
const stale = 2

// receiveRestored takes a page of the chain's own headers.
func (g *Gateway) receiveRestored(now time.Time, p *peer, b []byte) error {
	r := g.restore
	if g.settled || r == nil || r.peer != p {
		return headersync.ErrOld
	}
	page, err := headersync.DecodeRestored(b)
	if err != nil {
		return err
	}
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		return err
	}
	// An answer to any request will do, as long as it fits: runs stand by themselves. Of a sparse copy all depends on when
	// it was made, so it has to be what the signed welcome named: of that head, where no more is held.
	switch {
	case page.Correlation == 0 || page.Correlation > p.asks,
		page.Run != nil && page.Run.First != tip.Height+1,
		page.Sparse != nil && (p.standing != Behind || p.held > tip.Height || page.Sparse.Head.Hash() != p.head.Hash()):
		return headersync.ErrOld
	case !p.checks.Take(now):
		return headersync.ErrBusy
	}
	if page.Run != nil {
		had := tip.Key == g.signer.Public() // else the headers that set it are among those that come
		if _, err = tip.Follow(page.Run, nil); err == nil && had && tip.Key != g.signer.Public() {
			err = errors.New("its headers change the key, which the aggregator kept to itself")
		}
		if err == nil {
			err = g.c.Restorer.RestoreRun(page.Run)
		}
	} else {
		err = g.takeSparse(tip, page.Sparse)
	}
	if err != nil {
		return err
	}
	// The next page, or the end: how everyone stands to the new head follows from what they said.
	r.tries.Reset()
	r.again = now
	for _, other := range g.peers {
		if other.standing == Behind && other.head.Header.Height <= tip.Height {
			g.reweigh(other)
		}
	}
	g.tickSettle(now)
	return nil
}

// reweigh looks again at a head that was ahead and is not any more.
func (g *Gateway) reweigh(p *peer) {
	own, err := g.c.Chain.Node(0, p.head.Header.Height)
	switch {
	case errors.Is(err, headersync.ErrUnavailable), err == nil && own == p.head.Hash():
		p.standing = Agreed
		return
	case err == nil:
		err = g.foundFork(p, p.head, nil)
	}
	if err != nil { // it stays ahead, and is asked again
		g.c.Log.Error("failed to compare restored headers", "aggregator", p.name, "err", err)
	}
}

// takeSparse moves the chain onto a head whose headers below nobody has. What can be compared is compared: where a
// subtree of the head's history lies wholly within the headers held here, it must be the same.
func (g *Gateway) takeSparse(tip *lightchain.Tip, s *headersync.SparseCopy) error {
	head := &s.Head.Header
	if head.Height <= tip.Height || s.Head.ChainID() != g.chain || head.First < tip.Next {
		return headersync.ErrOld
	}
	inForce := tip.Key
	var between []*lightchain.SignedHeader
	for _, k := range s.Keys {
		if h := &k.Header; h.Height > tip.Height && h.Height < head.Height && h.NextKey != nil && k.ChainID() == g.chain && k.Check(inForce) == nil {
			between, inForce = append(between, k), *h.NextKey
		}
	}
	if err := s.Head.Check(inForce); err != nil {
		return err
	}
	edge, err := lightchain.NewCompactRange(head.Height, s.Edge)
	if err != nil {
		return err
	}
	if edge.Root() != head.History {
		return errors.New("its compact range is not that of its head's history")
	}
	same, err := g.sameBeginning(tip, head.Height, s.Edge)
	if err != nil {
		return err
	}
	unconfirmed, err := g.c.Restorer.SealedUnconfirmed()
	if err != nil {
		return err
	}
	if !same || unconfirmed {
		g.settle(Settlement{Standing: Unprovable, Head: s.Head})
		return nil
	}
	at := &lightchain.Tip{
		Chain: g.chain, Height: head.Height, Hash: s.Head.Hash(), History: edge, Next: head.First + head.Count, Key: inForce,
	}
	at.History.Append(at.Hash, nil)
	if head.NextKey != nil && *head.NextKey != g.signer.Public() {
		g.settle(Settlement{Standing: KeyChanged, Head: s.Head})
		return nil
	}
	if head.NextKey != nil {
		at.Key = *head.NextKey
	}
	if err := g.c.Restorer.RestoreHead(at.Clone(), s, between); err != nil {
		return err
	}
	*tip, g.restore.done = *at, true
	return nil
}

// sameBeginning compares the subtrees of an edge that lie within this chain with its own.
func (g *Gateway) sameBeginning(tip *lightchain.Tip, size uint64, edge []lightchain.Hash) (bool, error) {
	first := uint64(0)
	for _, h := range edge {
		level := 63
		for size-first < 1<<level {
			level--
		}
		if first+1<<level > tip.Height+1 {
			break
		}
		own, err := g.c.Chain.Node(level, first>>level)
		if err != nil && !errors.Is(err, headersync.ErrUnavailable) {
			return false, err
		}
		if err == nil && own != h {
			return false, nil
		}
		first += 1 << level
	}
	return true, nil
}
