package gateway

import (
	"errors"
	"slices"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// receivePull answers an aggregator. What costs nothing is looked at first, a signature only then.
func (g *Gateway) receivePull(now time.Time, b []byte) error {
	pull, s, err := headersync.DecodePull(b)
	if err != nil {
		return err
	}
	p := g.peers[pull.Name]
	if p == nil || pull.Chain != g.chain {
		return headersync.ErrStranger
	}
	if _, ok := p.key(s.KeyID); !ok {
		return headersync.ErrStranger
	}
	if p.nonce > 0 && pull.Sequence == p.floor {
		return headersync.ErrOld // the newest once more: it is answered
	}
	if p.nonce == 0 || pull.Sequence < p.floor {
		// Either a copy of an old pull, or an aggregator whose numbers are not known here: because this process is
		// young, because another replica took over, because its clock went back. A hello lets it say. A second one while the first
		// is on its way would have it ask twice, and a page is not cheap.
		if !g.greeting(now, p) && g.asked.Take(now) {
			g.sendHello(now, nil)
		}
		return headersync.ErrOld
	}
	if err := g.checked(now, p, s); err != nil {
		return err
	}
	p.floor = pull.Sequence
	// A broker may have kept pulls for hours. The newest of those that come at once says all that is wanted, so after one
	// page no other goes out before a moment has passed.
	p.waits = pull
	_, err = g.answer(now, p)
	return err
}

// between is the least time between two pages to one aggregator.
const between = 5 * time.Millisecond

// tickAnswers answers pulls that have waited.
func (g *Gateway) tickAnswers(now time.Time) (next time.Time) {
	for _, p := range g.peers {
		again, err := g.answer(now, p)
		if err != nil {
			g.c.Log.Debug("pull not answered", "aggregator", p.name, "err", err)
		}
		next = pace.Earliest(next, again)
	}
	return next
}

// answer answers the pull of p's that waits, and returns when to do that if it is too soon.
func (g *Gateway) answer(now time.Time, p *peer) (again time.Time, err error) {
	if p.waits == nil {
		return time.Time{}, nil
	}
	if at := p.answered.Add(between); now.Before(at) {
		return at, nil
	}
	pull := p.waits
	p.waits, p.answered = nil, now
	if !p.answers.Take(now) {
		return time.Time{}, headersync.ErrBusy
	}
	most := min(max(pull.Most, headersync.MinPage), g.c.MaxPage)
	// One who asks without end uses up its own part of the day's budget, not the others'.
	share := g.c.BytesPerDay / uint64(len(g.peers))
	if left := min(g.spent.Left(now, g.c.BytesPerDay), p.spent.Left(now, share)); left < most {
		if left < headersync.MinPage {
			return time.Time{}, headersync.ErrBusy
		}
		most = left
	}
	page, err := g.Page(pull, most)
	if err != nil {
		return time.Time{}, err
	}
	if page.Unavailable && pull.WantsHead(page.Head) {
		// Nothing shows it that what it knows goes on to the head here, so it countersigns nothing more of this chain.
		g.stand(p, CutOff, nil, nil)
	}
	payload, err := page.Encode()
	if err != nil {
		return time.Time{}, err
	}
	to := headersync.Topic(g.c.Prefix, g.chain, headersync.TopicPulled, p.name)
	p.spent.Add(now, pace.Cost(to, payload))
	g.publish(now, to, payload, false)
	return time.Time{}, nil
}

// page makes the answer to a pull, of at most most bytes.
func (g *Gateway) Page(pull *headersync.Pull, most uint64) (*headersync.Pulled, error) {
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		return nil, err
	}
	page := &headersync.Pulled{Correlation: pull.Sequence, Head: tip.Height}
	if newest, found, err := g.c.Receipts.NewestReceipt(pull.Name); err != nil {
		return nil, err
	} else if found {
		page.Receipted = &newest
	}
	first := pull.First
	if first == 0 {
		if page.Genesis, err = g.signedHeader(0); err != nil {
			return nil, err
		}
		first = 1
	} else {
		err := g.checkBelow(page, tip, first-1, pull.Below)
		if err != nil || page.Other != nil {
			return orUnavailable(page, err)
		}
	}
	last := min(pull.Last, tip.Height)
	if first > last {
		return page, nil // nothing new
	}
	const around = 1024 // what a page has beside run or proof: genesis above all
	if pull.Want == headersync.EveryHeader {
		page.Run, err = g.run(first, last, most-around)
	}
	// Where headers are gone whose hashes are known, whoever wants the head can still be shown that it goes on from theirs.
	if pull.Want == headersync.Sparse || errors.Is(err, headersync.ErrUnavailable) && pull.WantsHead(tip.Height) {
		page.Consistency, err = g.proof(first, last, most-around)
	}
	return orUnavailable(page, err)
}

// orUnavailable returns the page, or where err says that what was asked for is not held, a page that says so.
func orUnavailable(page *headersync.Pulled, err error) (*headersync.Pulled, error) {
	if errors.Is(err, headersync.ErrUnavailable) {
		page.Run, page.Consistency, page.Other, page.Path, page.Unavailable = nil, nil, nil, nil, true
		return page, nil
	}
	return page, err
}

// checkBelow shows what this gateway has instead, if its header at height is not the one that the asker knows.
func (g *Gateway) checkBelow(page *headersync.Pulled, tip *lightchain.Tip, height uint64, known lightchain.Hash) error {
	if height <= tip.Height {
		own, err := g.c.Chain.Node(0, height)
		if err != nil || own == known {
			return err
		}
	}
	side, err := g.ownSide(min(height, tip.Height))
	if err != nil {
		return err
	}
	keys := side.Keys[min(1, len(side.Keys)):]
	page.Other = append(slices.Clone(keys[max(0, len(keys)-headersync.MaxWelcomeKeys):]), side.Head)
	if side.Path != nil {
		page.Leaf, page.Path = side.Leaf, side.Path
	}
	return nil
}

// ownSide shows this chain's header at a height: by its own signature or, where it came back without one or is gone, by
// its path in the history of the next header that has one. With it come all headers that set the key, genesis first.
func (g *Gateway) ownSide(height uint64) (side lightchain.Side, err error) {
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		return side, err
	}
	newest := tip.Height
	if side.Leaf, err = g.c.Chain.Node(0, height); err != nil {
		return side, err
	}
	at := height
	for ; ; at++ { // a run that was put back ends with a signature
		h, sig, err := g.c.Chain.Header(at)
		if err != nil && (!errors.Is(err, headersync.ErrUnavailable) || at >= newest) {
			return side, err
		}
		if err != nil || sig == nil {
			continue
		}
		if side.Head, err = lightchain.NewSignedHeader(*h, *sig); err != nil {
			return side, err
		}
		break
	}
	if at > height {
		path, err := lightchain.ProveInclusion(g.c.Chain.Node, at, height)
		if err != nil {
			return side, err
		}
		side.Path = &path
	}
	side.Keys, err = g.keyHeaders(at)
	return side, err
}

// run returns headers from first on, up to last, as many as fit into most bytes and end with a signature.
func (g *Gateway) run(first, last, most uint64) (*lightchain.Run, error) {
	var headers []lightchain.RunHeader
	for height, size := first, uint64(0); height <= last && len(headers) < lightchain.MaxRun; height++ {
		h, sig, err := g.c.Chain.Header(height)
		if errors.Is(err, headersync.ErrUnavailable) && len(headers) > 0 {
			break
		} else if err != nil {
			return nil, err
		}
		if size += headersync.LeastBytes(h); size > most {
			break
		}
		headers = append(headers, lightchain.NewRunHeader(h, sig))
	}
	return headersync.FitRun(first, headers, most)
}

// proof returns the proof that leads from the header below first to last; or, where more changes of key lie between
// than fit, to one of the headers that make them.
func (g *Gateway) proof(first, last, most uint64) (*lightchain.Consistency, error) {
	heights, err := g.c.Chain.KeyHeights(last)
	if err != nil {
		return nil, err
	}
	for len(heights) > 0 && heights[0] < first {
		heights = heights[1:]
	}
	if len(heights) > lightchain.MaxConsistencyKeys {
		last, heights = heights[lightchain.MaxConsistencyKeys], heights[:lightchain.MaxConsistencyKeys]
	}
	for {
		c, err := g.proofAcross(first, last, heights)
		if err != nil {
			return nil, err
		}
		b, err := c.Append(nil)
		if err != nil {
			return nil, err
		}
		if uint64(len(b)) <= most || len(heights) == 0 {
			return c, nil
		}
		half := len(heights) / 2
		last, heights = heights[half], heights[:half]
	}
}

func (g *Gateway) proofAcross(first, last uint64, keys []uint64) (*lightchain.Consistency, error) {
	c := &lightchain.Consistency{From: first}
	var err error
	if c.Head, err = g.signedHeader(last); err != nil {
		return nil, err
	}
	if c.Nodes, err = lightchain.ProveGrowth(g.c.Chain.Node, first, last); err != nil {
		return nil, err
	}
	for _, height := range keys {
		var k lightchain.KeyHeader
		if k.Header, err = g.signedHeader(height); err != nil {
			return nil, err
		}
		if k.Path, err = lightchain.ProveInclusion(g.c.Chain.Node, last, height); err != nil {
			return nil, err
		}
		c.Keys = append(c.Keys, k)
	}
	return c, nil
}
