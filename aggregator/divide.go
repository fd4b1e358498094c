package aggregator

import (
	"maps"
	"strings"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/mqttlink"
)

// Replicas that share a store divide among them what comes from a broker.

// divided is the connection as the machine sees it: of what all replicas hear it lets through what falls to this one.
type divided struct {
	b          *brokerLink
	subscribed func() // called when the machine's subscriptions stand
}

func (d divided) Publish(topic string, payload []byte, retained bool) error {
	if d.b.asked != nil && strings.HasSuffix(topic, "/pull") {
		d.b.ask(topic)
	}
	return d.b.link.Publish(topic, payload, retained)
}

// An answer is given up after answerWithin; then whoever wants it asks anew.
const answerWithin = 15 * time.Minute

// ask notes that this replica asked for a page of a chain, and clears away, now and then, what was given up.
func (b *brokerLink) ask(topic string) {
	chain, ok := headersync.ChainOf(b.config.Prefix, topic)
	if !ok {
		return
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) >= 1024 && len(b.asked)&(len(b.asked)-1) == 0 {
		for other, at := range b.asked {
			if now.Sub(at) > answerWithin {
				delete(b.asked, other)
			}
		}
	}
	b.asked[chain] = now
}

// askedFor reports whether a page on the topic may be the answer to a question of this replica's.
func (b *brokerLink) askedFor(topic string) bool {
	chain, ok := headersync.ChainOf(b.config.Prefix, topic)
	if !ok {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at, found := b.asked[chain]
	return found && time.Since(at) < answerWithin
}

// Subscribe implements [headersync.Conn].
//
// Heads come to one replica each where the broker divides them, and whichever gets one asks for the page. A hello may
// begin a conversation, so one replica has all of a gateway's. A page comes to all, and goes to those who lately asked
// that gateway for one.
func (d divided) Subscribe(filters []string, deliver func(headersync.Message)) error {
	defer d.subscribed()
	if d.b.aggregator.replicas == nil {
		return d.b.link.Subscribe(filters, deliver)
	}
	var heads, pages, others []string
	for _, f := range filters {
		switch word := strings.TrimPrefix(f, headersync.AnyChain(d.b.config.Prefix, "")); {
		case !d.b.shared.Load():
			others = append(others, f)
		case word == "head":
			heads = append(heads, mqttlink.Shared(d.b.group(), f))
		case strings.HasPrefix(word, "pulled/"):
			pages = append(pages, f)
		default:
			others = append(others, f)
		}
	}
	if err := d.b.link.Subscribe(heads, deliver); err != nil {
		return err
	}
	if err := d.b.link.Subscribe(pages, only(d.b.askedFor, deliver)); err != nil {
		return err
	}
	return d.b.link.Subscribe(others, func(m headersync.Message) {
		chain, ok := headersync.ChainOf(d.b.config.Prefix, m.Topic)
		switch {
		case ok && d.b.aggregator.mine(chain):
			deliver(m)
			return
		case ok && strings.HasSuffix(m.Topic, "/head"):
			d.b.pass(chain, m)
		}
		if m.Done != nil {
			m.Done()
		}
	})
}

const (
	// passedFor is how long a head is kept for the case that its replica is dead: until that would be noticed, and a bit.
	passedFor = 2 * deadAfter
	// What strangers announce is kept too, so both bound what that costs.
	mostPassed    = 1 << 15 // heads
	maxPassedHead = 4 << 10 // bytes: more than a signed header takes
)

// passedHeads are the newest heads of the last moments that fall to other replicas, which may be dead already without
// this one knowing.
type passedHeads struct {
	newer, older map[lightchain.ChainID]headersync.Message
	since        time.Time // newer was begun then; older before
}

func (p *passedHeads) keep(now time.Time, chain lightchain.ChainID, m headersync.Message) {
	if p.turn(now); len(p.newer) < mostPassed && len(m.Payload) <= maxPassedHead {
		p.newer[chain] = headersync.Message{Topic: m.Topic, Payload: m.Payload}
	}
}

// turn lets go of heads that are older than passedFor, at the latest when they are twice as old.
func (p *passedHeads) turn(now time.Time) {
	switch age := now.Sub(p.since); {
	case p.newer == nil || age > 2*passedFor:
		*p = passedHeads{newer: make(map[lightchain.ChainID]headersync.Message), since: now}
	case age > passedFor:
		*p = passedHeads{newer: make(map[lightchain.ChainID]headersync.Message), older: p.newer, since: now}
	}
}

// take returns the heads of the chains that are mine now.
func (p *passedHeads) take(now time.Time, mine func(lightchain.ChainID) bool) (heads []headersync.Message) {
	p.turn(now)
	for chain, m := range p.older {
		if _, newer := p.newer[chain]; !newer && mine(chain) {
			heads = append(heads, m)
		}
	}
	for chain, m := range p.newer {
		if mine(chain) {
			heads = append(heads, m)
		}
	}
	ours := func(chain lightchain.ChainID, _ headersync.Message) bool { return mine(chain) }
	maps.DeleteFunc(p.newer, ours)
	maps.DeleteFunc(p.older, ours)
	return heads
}

// pass keeps the newest head of a chain that falls to another replica.
func (b *brokerLink) pass(chain lightchain.ChainID, m headersync.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed.keep(time.Now(), chain, m)
}

// takeOver returns the heads of the last moments that fall to this replica now.
func (b *brokerLink) takeOver() []headersync.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.passed.take(time.Now(), b.aggregator.mine)
}

// only delivers the messages on topics that wanted says yes to; the others are dealt with at once.
func only(wanted func(topic string) bool, deliver func(headersync.Message)) func(headersync.Message) {
	return func(m headersync.Message) {
		if wanted(m.Topic) {
			deliver(m)
		} else if m.Done != nil {
			m.Done()
		}
	}
}
