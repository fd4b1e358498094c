package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// After a start, and before it seals anything new, a gateway asks which of its heads the aggregators know. A power
// cut on a card that lies, or an old image of the card, may have taken headers away that somebody has seen; sealing
// on top of what is left would make a second history of the chain. The headers that are missing come back from an
// aggregator, or, where they cannot, nothing is sealed on this chain any more.

// sendHello asks once more, with a nonce of its own.
func (g *Gateway) sendHello(now time.Time, ask *headersync.RestoreRequest) {
	if g.signer == nil {
		return
	}
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		g.c.Log.Error("failed to read the head to ask for it", "err", err)
		return
	}
	h := headersync.Hello{Chain: g.chain, Height: tip.Height, Hash: tip.Hash, Restore: ask}
	number := uint64(1)
	if n := len(g.nonces); n > 0 {
		number = g.nonces[n-1].number + 1
	}
	// SPEC: The first 4 bytes of a hello's nonce count the starts of the gateway's program, the next 4 the hellos since,
	// both big-endian; the rest is random.
	binary.BigEndian.PutUint32(h.Nonce[:], uint32(g.c.Start))
	binary.BigEndian.PutUint32(h.Nonce[4:], uint32(number))
	if _, err := io.ReadFull(g.c.Random, h.Nonce[8:]); err != nil {
		g.c.Log.Error("failed to read random bytes", "err", err)
		return
	}
	if g.c.EnrolToken != "" {
		h.Enrol = headersync.NewEnrolment(g.c.EnrolToken, g.chain)
	}
	payload, err := h.Sign(g.signer)
	if err != nil {
		g.c.Log.Error("failed to sign a hello", "err", err)
		return
	}
	// A slow link may answer an older one than the last; beyond these many they are too old to say anything.
	const outstanding = 16
	receipted := make(map[string]uint64, len(g.peers))
	for name := range g.peers {
		if height, found, err := g.c.Receipts.Countersigned(name); err == nil && found {
			receipted[name] = height
		}
	}
	if g.nonces = append(g.nonces, issued{h.Nonce, number, now, receipted}); len(g.nonces) > outstanding {
		g.nonces = slices.Delete(g.nonces, 0, 1)
	}
	g.publish(now, headersync.Topic(g.c.Prefix, g.chain, headersync.TopicHello, ""), payload, false)
}

// repeatHello is after how long a hello is sent again that nobody has answered; doubled each time.
const repeatHello = 2 * time.Second

// greeting reports whether p may just be answering its first hello.
func (g *Gateway) greeting(now time.Time, p *peer) bool {
	n := len(g.nonces)
	return p.nonce == 0 && n > 0 && now.Sub(g.nonces[n-1].at).Abs() < repeatHello
}

// tickHello asks until everybody has answered, ever more rarely; and until all that was answered can be understood.
func (g *Gateway) tickHello(now time.Time) time.Time {
	waiting := false
	for _, p := range g.peers {
		waiting = waiting || p.nonce == 0 || p.standing == Unvouched && !g.settled
	}
	if !waiting {
		return time.Time{}
	}
	if !now.Before(g.helloAt) {
		g.sendHello(now, nil)
		g.hellos.Most = time.Minute
		if g.settled { // an aggregator that comes back asks, and is greeted then
			g.hellos.Most = time.Hour
		}
		pause := g.hellos.Next()
		g.helloAt = now.Add(pause - pace.Spread(g.chain, uint64(now.Unix()), pause/4))
	}
	return g.helloAt
}

// receiveWelcome takes an aggregator's word on the newest head that it knows.
func (g *Gateway) receiveWelcome(now time.Time, p *peer, b []byte) error {
	w, s, err := headersync.DecodeWelcome(b)
	if err != nil {
		return err
	}
	if w.Chain != g.chain || w.Name != p.name {
		return headersync.ErrStranger
	}
	i := slices.IndexFunc(g.nonces, func(n issued) bool { return n.nonce == w.Nonce })
	if i < 0 || g.nonces[i].number <= p.nonce {
		return headersync.ErrOld
	}
	if err := g.checked(now, p, s); err != nil {
		return err
	}
	if p.session != w.Session {
		p.session, p.floor, p.asks = w.Session, 0, 0
	}
	p.nonce, p.floor, p.asks = g.nonces[i].number, max(p.floor, w.Sequence), max(p.asks, w.Restores)
	p.held = w.Held
	if w.Busy > 0 && g.restore != nil {
		p.busy = now.Add(time.Duration(min(w.Busy, mostBusy)) * time.Second)
		g.restore.tries.Reset()
		g.c.Log.Warn("lost headers wait: the aggregator has used up what it may send this gateway today", "aggregator", p.name, "for", time.Duration(w.Busy)*time.Second)
	}
	if height, found := g.nonces[i].receipted[p.name]; found && (w.Head == nil || w.Head.Header.Height < height) {
		// What it stored durably before it countersigned is gone there, or it denies it. The receipts stay, and say so.
		known := "knows nothing of this chain"
		if w.Head != nil {
			known = fmt.Sprintf("knows this chain up to header %d", w.Head.Header.Height)
		}
		g.notify(Notice{Aggregator: p.name, Err: fmt.Errorf("it %s, and countersigned header %d: it was set back, or it lies; its receipts are kept", known, height)})
	}
	err = g.weigh(p, w)
	if err != nil {
		g.notify(Notice{Aggregator: p.name, Err: err})
	}
	g.tickSettle(now)
	return err
}

// mostBusy bounds how long one word keeps a gateway from asking again for its headers, in seconds: the operator may have
// raised the budget meanwhile.
const mostBusy = 15 * 60

// weigh finds out how this gateway's head stands to what an aggregator knows.
func (g *Gateway) weigh(p *peer, w *headersync.Welcome) error {
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
		case errors.Is(err, headersync.ErrUnavailable):
			g.stand(p, CutOff, nil, nil) // that header is gone, and with it what could be compared or shown
		case err != nil:
			return err
		case own == w.Head.Hash():
			g.stand(p, Agreed, nil, nil)
		default:
			refused := g.foundFork(p, w.Head, w.Keys)
			if refused == nil {
				return nil
			}
			own, err := g.keyHeaders(tip.Height + 1)
			if err != nil {
				return err
			}
			return g.weighMany(p, w, tip.Chain, own, refused)
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
	return g.weighKeys(p, w, tip)
}

// weighKeys is for a newer head that the key in force here did not sign: the key was changed, after this image of the
// card was made, or before, on this side alone.
func (g *Gateway) weighKeys(p *peer, w *headersync.Welcome, tip *lightchain.Tip) error {
	own, err := g.keyHeaders(tip.Height + 1)
	if err != nil {
		return err
	}
	if headersync.Vouched(own, headersync.HeadSide(w.Head, w.Keys...)) || len(w.Keys) == headersync.MaxWelcomeKeys && continues(tip.Chain, tip.Key, tip.Height, w) {
		standing := KeyChanged
		if keyAfter(w) == g.signer.Public() {
			standing = Behind // this gateway changed it, and lost the headers that say so
		}
		g.stand(p, standing, w.Head, nil)
		return nil
	}
	return g.weighMany(p, w, tip.Chain, own, fmt.Errorf("it knows a header %d that no key of this chain signed", w.Head.Header.Height))
}

// weighMany is for a head that cannot be checked: refused says why. Where its first headers that set the key follow from one
// of this chain's, and are only the first, it is of another history perhaps; else it is a lie, for nobody can make those.
func (g *Gateway) weighMany(p *peer, w *headersync.Welcome, chain lightchain.ChainID, own []*lightchain.SignedHeader, refused error) error {
	for i, k := range own {
		rest := *w
		rest.Keys = headersync.Beside(own[:i+1], lightchain.Side{Keys: w.Keys}).Keys
		if len(w.Keys) == headersync.MaxWelcomeKeys && continues(chain, *k.Header.NextKey, k.Header.Height, &rest) {
			g.stand(p, Unvouched, w.Head, nil)
			g.notify(Notice{Aggregator: p.name, Err: refused})
			return nil
		}
	}
	return refused
}

// keyAfter returns the key in force above a welcome's head, as it says.
func keyAfter(w *headersync.Welcome) (key lightchain.PublicKey) {
	if w.Key != nil {
		return *w.Key
	}
	for _, h := range append(slices.Clone(w.Keys), w.Head) {
		if h.Header.NextKey != nil {
			key = *h.Header.NextKey
		}
	}
	return key
}

// continues reports whether a welcome's headers that set the key lead on from one in force at a height, and leave off below
// its head, for a welcome holds no more. What follows them is the aggregator's word, until the headers are here.
func continues(chain lightchain.ChainID, key lightchain.PublicKey, height uint64, w *headersync.Welcome) bool {
	for _, k := range w.Keys {
		h := &k.Header
		if h.Height <= height || h.NextKey == nil || k.ChainID() != chain || k.Check(key) != nil {
			return false
		}
		key, height = *h.NextKey, h.Height
	}
	return len(w.Keys) > 0 && height < w.Head.Header.Height
}

// stand notes how the head stands to what p knows, and says so if that is news after the head was settled.
func (g *Gateway) stand(p *peer, s Standing, head *lightchain.SignedHeader, f *lightchain.Fork) {
	news := p.standing != s
	p.standing, p.head = s, head
	if news && (s == Forked || s == CutOff || g.settled) {
		g.notify(Notice{Aggregator: p.name, Standing: s, Head: head, Fork: f})
	}
	if s == Forked && !g.settled {
		g.settle(Settlement{Standing: Forked, Head: head, Fork: f})
	}
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
	if g.signer == nil { // nobody can be asked: the time to wait for an answer has not begun
		g.waitTill = time.Time{}
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
		if p.standing == Unvouched {
			return time.Time{} // however long that takes: to seal now may make a second history
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
