package recorder

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// group is what one write makes durable.
type group struct {
	messages []*sensors.Message
	began    time.Time
	write    *store.Staged
}

// commitGroup gathers one group, stages it and hands it over for acknowledgement.
func (c *Committer) commitGroup() error {
	messages := c.gather(c.limit)
	if len(messages) == 0 {
		return nil
	}
	g := group{messages: messages, began: c.now()}
	var err error
	if g.write, err = c.stage(messages); err != nil {
		c.abandon(g, err)
		if errors.Is(err, store.ErrNoSpace) { // only when the agent stops: what could not be taken was not acknowledged
			c.abandonWaiting(err)
			return nil
		}
		return err
	}
	// Staged, not yet durable: if the program ends here, nobody was told anything.
	if c.begun.IsZero() {
		c.begun = c.now()
	}
	c.heard = c.heard || slices.ContainsFunc(messages, func(m *sensors.Message) bool { return !tellsOfStart(m.Source) })
	select {
	case c.staged <- g:
	case err := <-c.failed:
		c.abandon(g, err)
		return err
	}
	return nil
}

// groupBytes is how much one group makes durable at most, but for one message that is larger: what is on its way to the
// disk is in memory twice.
const groupBytes = 8 << 20

// limit is how many messages a group may have now.
func (c *Committer) limit() int { return max(0, min(c.commit.MaxEntries, c.room())) }

// gather waits until the group is full or due, and takes what is there. Nobody who needs the tail has to wait for that; what they do
// may leave no room for a group.
func (c *Committer) gather(limit func() int) []*sensors.Message {
	for c.queue.gathers() {
		g := c.queue.waits()
		if g.messages >= limit() || g.bytes >= groupBytes {
			break
		}
		wait := time.Until(c.due(g))
		if wait <= 0 || wait > max(MostWait, c.commit.MaxDelay) { // later than anything wants it: a clock was set back, see untilPast
			break
		}
		c.gathering.Reset(wait)
		select {
		case <-c.queue.full:
		case <-c.gathering.C:
		case job := <-c.jobs:
			job()
		}
	}
	c.pacer.close(time.Now())
	return c.queue.take(nil, limit(), groupBytes)
}

// due returns when a group is to be closed: by the configuration, when its time is up or nothing new came for a moment, else by the
// budget.
func (c *Committer) due(g gathered) time.Time {
	if c.commit.MaxDelay > 0 {
		return earlier(g.newest.Add(c.commit.Idle), g.first.Add(c.commit.MaxDelay))
	}
	return c.pacer.due(g, c.budget.wait(time.Now()))
}

// stage starts the write of one group. It waits, and says so, while the disk has no room.
func (c *Committer) stage(messages []*sensors.Message) (*store.Staged, error) {
	entries := c.spare[:0]
	for _, m := range messages {
		entries = append(entries, lightchain.Entry{
			Received: sensors.Nanoseconds(m.Received), Source: m.Source, Flags: m.Flags, Payload: m.Payload, Decoder: m.Decoder, Readings: m.Readings,
		})
	}
	defer func() {
		clear(entries)
		c.spare = entries[:0]
	}()
	c.group = len(entries)
	defer func() { c.group = 0 }()
	waiting := false
	for {
		staged, err := c.store.Stage(entries)
		var bad *store.EntryError
		switch {
		case err == nil:
			if waiting {
				c.waiting.Store(false)
				c.log.Info("there is room again: recording goes on")
			}
			return staged, nil
		case errors.As(err, &bad):
			c.log.Error("failed to encode an entry as its source gave it; kept without its readings", "source", entries[bad.Index].Source, "err", err)
			entries[bad.Index] = bare(entries[bad.Index])
		case errors.Is(err, store.ErrNoSpace):
			if !waiting {
				waiting = true
				c.since.Store(time.Now().UnixNano())
				c.waiting.Store(true)
				c.log.Error("failed to record: the disk's reserve is reached; acknowledgements wait until there is room", "err", err)
				if c.onFull != nil {
					c.onFull()
				}
			}
			if c.queue.Stopped() {
				return nil, err
			}
			// What was acknowledged is sealed meanwhile: the reserve has the room for that.
			if c.open() > 0 && c.untilSeal() <= 0 {
				if err := c.seal(); err != nil {
					return nil, err
				}
			}
			select { // what others need done may be what makes room
			case job := <-c.jobs:
				job()
			case <-time.After(spaceInterval):
			}
		default:
			return nil, fmt.Errorf("staging %d entries: %w", len(entries), err)
		}
	}
}

// spaceInterval is how often a full disk is looked at again.
const spaceInterval = 500 * time.Millisecond

// bare returns the entry without anything that could keep it from being encoded: the payload is the evidence.
func bare(e lightchain.Entry) lightchain.Entry {
	e.Source = strings.ToValidUTF8(e.Source, "\uFFFD")
	e.Flags = e.Flags&(lightchain.Retained|lightchain.Redelivered|lightchain.QoS0|lightchain.PayloadHashed|lightchain.ByAgent) | lightchain.NotUnderstood
	e.Decoder, e.Readings = "", nil
	return e
}

// acknowledge waits for each group's write, in order, and tells the sources. It runs on a goroutine of its own.
func (c *Committer) acknowledge() {
	var failure error
	for g := range c.staged {
		if failure == nil {
			failure = g.write.Wait()
			c.budget.synced(0)
		}
		if failure != nil {
			select {
			case c.failed <- failure:
			default:
			}
			c.abandon(g, failure)
			continue
		}
		// Durable: from here on an acknowledgement may be lost, the entry no more.
		now := c.now()
		c.alive.mark(now)
		if c.onDurable != nil {
			c.onDurable(g.messages, now.Sub(g.began))
		}
		c.finish(g, nil)
	}
}

// errHeld is what sources hear whose messages wait for a block that cannot be sealed when the agent stops.
var errHeld = errors.New("the block is full and cannot be sealed")

// abandonWaiting tells the sources of all waiting messages that they will not become durable.
func (c *Committer) abandonWaiting(err error) {
	c.abandon(group{messages: c.queue.take(nil, math.MaxInt, math.MaxInt)}, err)
}

// abandon tells the sources of a group that it will never be durable.
func (c *Committer) abandon(g group, err error) { c.finish(g, err) }

func (c *Committer) finish(g group, err error) {
	c.queue.acknowledging(g.messages)
	for i, m := range g.messages {
		if err == nil {
			m.Entry = g.write.First + uint64(i)
		}
		if m.Done != nil {
			m.Done(err)
		}
	}
	c.queue.release(g.messages)
}
