package aggregator

import (
	"context"
	"maps"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/aggregator/replicas"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// Replicas that share a store hear everything, each on a connection of its own, and let through what they own.

// owned is the connection as the machine sees it: of what all replicas hear it lets through what this one owns.
type owned struct {
	b          *brokerLink
	subscribed func() // called when the machine's subscriptions stand
}

func (o owned) Publish(topic string, payload []byte, retained bool) error {
	return o.b.link.Publish(topic, payload, retained)
}

// Subscribe implements [headersync.Conn].
func (o owned) Subscribe(filters []string, deliver func(headersync.Message)) error {
	defer o.subscribed()
	if o.b.aggregator.replicas == nil {
		return o.b.link.Subscribe(filters, deliver)
	}
	return o.b.link.Subscribe(filters, func(m headersync.Message) {
		chain, word, _, ok := headersync.SplitTopic(o.b.config.Prefix, m.Topic)
		switch {
		case ok && o.b.aggregator.mine(chain):
			deliver(m)
			return
		case ok && (word == headersync.TopicHead || word == headersync.TopicHello):
			o.b.pass(chain, m)
		}
		if m.Done != nil {
			m.Done()
		}
	})
}

const (
	// passedFor is how long a head or hello is kept for the case that its chain's owner is dead: until another one takes
	// over, and a bit.
	passedFor = 30 * time.Second
	// What strangers send is kept too, so both bound what that costs.
	mostPassed = 1 << 15
	maxPassed  = 4 << 10 // bytes: more than a signed header or a hello takes
)

// passed are the newest heads and hellos of the last moments, by topic, of chains that others own, who may be dead already
// without this one knowing.
type passed struct {
	newer, older map[string]passedMessage
	since        time.Time // newer was begun then; older before
}

type passedMessage struct {
	chain   lightchain.ChainID
	payload []byte
}

func (p *passed) keep(now time.Time, chain lightchain.ChainID, m headersync.Message) {
	if p.turn(now); len(p.newer) < mostPassed && len(m.Payload) <= maxPassed {
		p.newer[m.Topic] = passedMessage{chain, m.Payload}
	}
}

// turn lets go of messages that are older than passedFor, at the latest when they are twice as old.
func (p *passed) turn(now time.Time) {
	switch age := now.Sub(p.since); {
	case p.newer == nil || age > 2*passedFor:
		*p = passed{newer: make(map[string]passedMessage), since: now}
	case age > passedFor:
		*p = passed{newer: make(map[string]passedMessage), older: p.newer, since: now}
	}
}

// take returns the messages of the chains that are mine now.
func (p *passed) take(now time.Time, mine func(lightchain.ChainID) bool) (all []headersync.Message) {
	p.turn(now)
	for topic, m := range p.older {
		if _, newer := p.newer[topic]; !newer && mine(m.chain) {
			all = append(all, headersync.Message{Topic: topic, Payload: m.payload})
		}
	}
	for topic, m := range p.newer {
		if mine(m.chain) {
			all = append(all, headersync.Message{Topic: topic, Payload: m.payload})
		}
	}
	ours := func(_ string, m passedMessage) bool { return mine(m.chain) }
	maps.DeleteFunc(p.newer, ours)
	maps.DeleteFunc(p.older, ours)
	return all
}

// pass keeps a message of a chain that another replica owns.
func (b *brokerLink) pass(chain lightchain.ChainID, m headersync.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed.keep(time.Now(), chain, m)
}

// takeOver returns the messages of the last moments whose chains this replica owns now.
func (b *brokerLink) takeOver() []headersync.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.passed.take(time.Now(), b.aggregator.mine)
}

// mostTurns bounds how many changes of owners are remembered until they are looked at.
const mostTurns = 16

// divided notes among whom the chains are divided from now on; nil: this replica owns nothing.
func (b *brokerLink) divided(owners []string) {
	b.mu.Lock()
	if b.turns = append(b.turns, owners); len(b.turns) > mostTurns {
		b.turns = append(b.turns[:0], nil, owners)
	}
	b.mu.Unlock()
	signal(b.look)
}

// begin has the machine, which is about to run, look at the chains that are this replica's already.
func (b *brokerLink) begin() {
	if r := b.aggregator.replicas; r != nil {
		b.mu.Lock()
		b.turns = append(b.turns, r.Told()) // what is told from now on comes after it
		b.mu.Unlock()
		signal(b.look)
	}
}

// kept takes the changes since the last look, and returns which chains this replica has owned all the while.
func (b *brokerLink) kept() func(lightchain.ChainID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	turns := b.turns
	b.turns = append([][]string(nil), turns[len(turns)-1])
	self := b.aggregator.replicas.Self()
	return func(chain lightchain.ChainID) bool {
		for _, owners := range turns {
			if replicas.Owner(owners, chain) != self {
				return false
			}
		}
		return true
	}
}

// handOver drops what the machine remembers of chains that this replica has not owned all the while: whoever owned them since
// has moved what is stored. Those that it owns now begin anew, from what is stored.
func (b *brokerLink) handOver(ctx context.Context, collector *collector.Collector) {
	kept, mine := b.kept(), b.aggregator.mine
	collector.Retain(kept)
	for _, m := range b.takeOver() {
		collector.Deliver(m)
	}
	err := registry.EachRecord(ctx, b.aggregator.options.Store, func(r *registry.Record) error {
		if r.Standing == registry.Approved && mine(r.Chain) && !kept(r.Chain) {
			collector.Follow(ctx, time.Now(), r.Chain)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		b.log.Error("failed to look at the gateways that this replica owns now", "err", err)
	}
}
