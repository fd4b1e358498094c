package headersync

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"edgechain/lightchain"
)

// After a start, and before it seals anything new, a gateway asks which of its heads the aggregators know. A power
// cut on a card that lies, or an old image of the card, may have taken headers away that somebody has seen; sealing
// on top of what is left would make a second history of the chain. The headers that are missing come back from an
// aggregator, or, where they cannot, nothing is sealed on this chain any more.

// sendHello asks once more, with a nonce of its own.
func (g *Gateway) sendHello(now time.Time, ask *RestoreRequest) {
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		g.c.Log.Error("reading the head to ask for it", "err", err)
		return
	}
	h := Hello{Chain: g.chain, Height: tip.Height, Hash: tip.Hash, Restore: ask}
	if _, err := io.ReadFull(g.c.Random, h.Nonce[:]); err != nil {
		g.c.Log.Error("reading random bytes", "err", err)
		return
	}
	if g.c.EnrolToken != "" {
		h.Enrol = NewEnrolment(g.c.EnrolToken, g.chain)
	}
	payload, err := h.Sign(g.signer)
	if err != nil {
		g.c.Log.Error("signing a hello", "err", err)
		return
	}
	// A slow link may answer an older one than the last; beyond these many they are too old to say anything.
	const outstanding = 16
	number := uint64(1)
	if n := len(g.nonces); n > 0 {
		number = g.nonces[n-1].number + 1
	}
	if g.nonces = append(g.nonces, issued{h.Nonce, number}); len(g.nonces) > outstanding {
		g.nonces = slices.Delete(g.nonces, 0, 1)
	}
	g.publish(now, topic(g.c.Prefix, g.chain, topicHello, ""), payload, false)
}

// tickHello asks until everybody has answered, ever more rarely.
func (g *Gateway) tickHello(now time.Time) time.Time {
	waiting := false
	for _, p := range g.peers {
		waiting = waiting || p.nonce == 0
	}
	if !waiting {
		return time.Time{}
	}
	if !now.Before(g.helloAt) {
		g.sendHello(now, nil)
		g.helloAt = now.Add(g.hellos.next())
	}
	return g.helloAt
}

// receiveWelcome takes an aggregator's word on the newest head that it knows.
func (g *Gateway) receiveWelcome(now time.Time, p *peer, b []byte) error {
	w, s, err := decodeWelcome(b)
	if err != nil {
		return err
	}
	if w.Chain != g.chain || w.Name != p.name {
		return errStranger
	}
	i := slices.IndexFunc(g.nonces, func(n issued) bool { return n.nonce == w.Nonce })
	if i < 0 || g.nonces[i].number <= p.nonce {
		return errOld
	}
	if err := g.checked(now, p, s); err != nil {
		return err
	}
	first := p.nonce == 0
	p.nonce, p.floor, p.session = g.nonces[i].number, w.Sequence, w.Session
	if first {
		p.asks = 0
	}
	if err := g.weigh(p, w); err != nil {
		g.notify(Notice{Aggregator: p.name, Err: err})
		return err
	}
	g.tickSettle(now)
	return nil
}

// weigh finds out how this gateway's head stands to what an aggregator knows.
func (g *Gateway) weigh(p *peer, w *Welcome) error {
	if w.Fork != nil {
		if err := w.Fork.Check(g.chain); err != nil {
			return err
		}
		g.stand(p, Forked, w.Head, w.Fork)
		return nil
	}
	if w.Head == nil {
		g.stand(p, Unknown, nil, nil)
		return nil
	}
	if w.Head.ChainID() != g.chain {
		return errors.New("its head is one of another chain")
	}
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		return err
	}
	height := w.Head.Header.Height
	if height <= tip.Height {
		own, err := g.c.Chain.Node(0, height)
		switch {
		case errors.Is(err, ErrUnavailable):
			g.stand(p, Agreed, nil, nil) // the copy came from an aggregator that knew more
		case err != nil:
			return err
		case own == w.Head.Hash():
			g.stand(p, Agreed, nil, nil)
		default:
			return g.foundFork(p, w.Head, w.Keys)
		}
		return nil
	}
	if w.Head.Check(tip.Key) == nil {
		standing := Behind
		if next := w.Head.Header.NextKey; next != nil && *next != g.signer.Public() {
			standing = KeyChanged
		}
		g.stand(p, standing, w.Head, nil)
		return nil
	}
	return g.weighKeys(p, w)
}

// weighKeys is for a newer head that the key in force here did not sign: the key was changed, after this image of the
// card was made, or before, on this side alone.
func (g *Gateway) weighKeys(p *peer, w *Welcome) error {
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		return err
	}
	own, err := g.keyHeaders(tip.Height + 1)
	if err != nil {
		return err
	}
	for i := len(own); i > 0; i-- {
		key := *own[i-1].Header.NextKey
		for _, k := range w.Keys {
			if k.ChainID() == g.chain && k.Header.NextKey != nil && k.Check(key) == nil {
				key = *k.Header.NextKey
			}
		}
		if w.Head.Check(key) == nil {
			g.stand(p, KeyChanged, w.Head, nil)
			return nil
		}
	}
	return fmt.Errorf("it knows a header %d that no key of this chain signed", w.Head.Header.Height)
}

// stand notes how the head stands to what p knows, and says so if that is news after the head was settled.
func (g *Gateway) stand(p *peer, s Standing, head *lightchain.SignedHeader, f *lightchain.Fork) {
	news := p.standing != s
	p.standing, p.head = s, head
	if news && (s == Forked || g.settled) {
		g.notify(Notice{Aggregator: p.name, Standing: s, Head: head, Fork: f})
	}
	if s == Forked && !g.settled {
		g.settle(Settlement{Standing: Forked, Head: head, Fork: f})
	}
}

// restoring is the work of putting back lost headers.
type restoring struct {
	from  *lightchain.Tip // where the chain ended
	peer  *peer           // who is asked
	again time.Time
	tries backoff
	done  bool // by a sparse copy
}

// tickSettle finds out whether enough is known to begin sealing, and puts lost headers back first.
func (g *Gateway) tickSettle(now time.Time) time.Time {
	if g.settled {
		return time.Time{}
	}
	if g.waitTill.IsZero() {
		g.waitTill = now.Add(g.c.ConfirmWait)
	}
	if len(g.peers) == 0 || g.c.Confirm == ConfirmNever {
		g.settle(Settlement{Standing: Unreachable})
		return time.Time{}
	}
	if at, busy := g.tickRestore(now); busy {
		return at
	}
	best, answered := Standing(""), 0
	for _, p := range g.peers {
		if p.standing == "" {
			continue
		}
		answered++
		if best == "" || p.standing == Agreed {
			best = p.standing
		}
	}
	switch late := !now.Before(g.waitTill); {
	case answered == len(g.peers), answered > 0 && late:
		g.settle(Settlement{Standing: best})
	case late && g.c.Confirm == ConfirmIfReachable:
		g.settle(Settlement{Standing: Unreachable})
	case !late:
		return g.waitTill
	}
	return time.Time{}
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
		g.c.Log.Error("reading the head", "err", err)
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
		g.restore = &restoring{from: tip, tries: backoff{least: 2 * time.Second, most: time.Minute}}
	}
	r := g.restore
	if r.peer != p {
		r.peer, r.again = p, now
	}
	if !now.Before(r.again) {
		p.asks++
		g.sendHello(now, &RestoreRequest{Aggregator: p.name, Session: p.session, Sequence: p.asks, Most: g.c.MaxPage})
		r.again = now.Add(r.tries.next())
	}
	return r.again, true
}

// receiveRestored takes a page of the chain's own headers.
func (g *Gateway) receiveRestored(now time.Time, p *peer, b []byte) error {
	r := g.restore
	if g.settled || r == nil || r.peer != p {
		return errOld
	}
	page, err := DecodeRestored(b)
	if err != nil {
		return err
	}
	if page.Correlation == 0 || page.Correlation > p.asks {
		return errOld // an answer to any request will do, as long as it fits: pages stand by themselves
	}
	if !g.checks.take(now) {
		return errBusy
	}
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		return err
	}
	if page.Run != nil {
		if page.Run.First != tip.Height+1 {
			return errOld
		}
		if _, err = tip.Follow(page.Run, nil); err == nil && tip.Key != g.signer.Public() {
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
	r.tries.reset()
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
	case err == nil && own != p.head.Hash():
		if err := g.foundFork(p, p.head, nil); err != nil {
			g.c.Log.Error("comparing restored headers", "err", err)
		}
	default:
		p.standing = Agreed
	}
}

// takeSparse moves the chain onto a head whose headers below nobody has. What can be compared is compared: where a
// subtree of the head's history lies wholly within the headers held here, it must be the same.
func (g *Gateway) takeSparse(tip *lightchain.Tip, s *SparseCopy) error {
	head := &s.Head.Header
	if head.Height <= tip.Height || s.Head.ChainID() != g.chain || head.First < tip.Next {
		return errOld
	}
	if err := s.Head.Check(tip.Key); err != nil {
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
		Chain: g.chain, Height: head.Height, Hash: s.Head.Hash(), History: edge, Next: head.First + head.Count, Key: tip.Key,
	}
	at.History.Append(at.Hash, nil)
	if head.NextKey != nil && *head.NextKey != g.signer.Public() {
		g.settle(Settlement{Standing: KeyChanged, Head: s.Head})
		return nil
	}
	if head.NextKey != nil {
		at.Key = *head.NextKey
	}
	if err := g.c.Restorer.RestoreHead(at.Clone(), s); err != nil {
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
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return false, err
		}
		if err == nil && own != h {
			return false, nil
		}
		first += 1 << level
	}
	return true, nil
}

func (g *Gateway) settle(s Settlement) {
	if g.settled {
		return
	}
	g.settled, g.restore = true, nil
	for name, p := range g.peers {
		if p.standing != "" {
			s.By = append(s.By, name)
		}
	}
	slices.Sort(s.By)
	if g.c.Settled != nil {
		g.c.Settled(s)
	}
}
