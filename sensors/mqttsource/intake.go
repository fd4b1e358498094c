package mqttsource

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// maxReplays bounds the table of retained messages seen: about a megabyte.
const maxReplays = 16384

// delivery is one message on its way to the disk. What is not marked otherwise never changes.
type delivery struct {
	topic    string
	source   string // as an entry's, with that topic at its end
	qos      byte
	id       uint16 // 0 with QoS 0
	flags    lightchain.Flags
	received time.Time
	sub      int // index of the subscription, or −1
	size     int // reserved for it
	beside   int // bytes that the payload keeps in memory beside itself

	// The pump's, once queued, until the sink has taken it.
	payload []byte
	made    *sensors.Message // of it, by the decoder

	// Under Source.mu.
	content   []byte          // the payload, to compare with; nil once a hash stands for it
	sum       lightchain.Hash // of the content, when that is nil
	durable   bool
	own       ticket          // what ticket points to first
	ticket    *ticket         // its place in the order of the connection on which it came last; nil with QoS 0
	followers []*delivery     // retained replays equal to it that came before it was durable
	replay    lightchain.Hash // its key in Source.replays, if it is there
}

// same reports whether the message is d come again. Only for what came under d's packet id.
func (d *delivery) same(topic string, qos byte, payload []byte) bool {
	if d.topic != topic || d.qos != qos {
		return false
	}
	if d.content != nil {
		return bytes.Equal(d.content, payload)
	}
	return d.sum == sha256.Sum256(payload)
}

// forgetContent lets go of the content of a message whose connection is gone: it waits to be recognised, for which its
// hash is enough.
func (d *delivery) forgetContent() {
	if d.content != nil {
		d.sum, d.content = sha256.Sum256(d.content), nil
	}
}

// receive takes a PUBLISH from the gate. It never blocks: paho's reading, pings included, stands still meanwhile.
func (l *link) receive(p *publish) {
	s := l.source
	topic, id, _ := p.parse() // which the gate has done before
	d := &delivery{qos: p.qos(), id: id, payload: p.body[p.payload:len(p.body):len(p.body)], received: s.cfg.Now(), beside: p.payload}
	d.topic, d.source = s.named(topic)
	d.sub = s.subscription(d.topic)
	d.size = p.size
	if p.hashing {
		d.flags |= lightchain.PayloadHashed
	}
	retained, again := p.first&1 != 0, p.first&8 != 0
	var replay lightchain.Hash
	if retained {
		d.flags |= lightchain.Retained
		replay = replayKey(d.topic, d.payload)
	}
	if d.qos == 0 {
		d.flags |= lightchain.QoS0
	} else if again {
		d.flags |= lightchain.Redelivered
	}
	// Not an entry, unless the configuration asks for it.
	about := s.watched(d.topic, d.payload) && d.sub < 0

	s.mu.Lock()
	defer s.mu.Unlock()
	l.taking = 0 // the queue's now
	if about || !s.isNew(l, d, replay) {
		s.release(d.size)
		return
	}
	s.queue.push(d)
	notify(s.wake)
}

// Bounds of the table of topics: what devices make up anew with each message is not worth a place.
const (
	maxTopics     = 1024
	maxTopicBytes = 256
)

// named returns a topic, and the source of entries with it, from the table of those that came before. It is the reader's alone,
// of which there is one at a time.
func (s *Source) named(topic []byte) (name, source string) {
	source, known := s.topics[string(topic)]
	if !known {
		source = "mqtt:" + s.cfg.Name + ":" + string(topic)
		if len(topic) <= maxTopicBytes {
			if len(s.topics) >= maxTopics {
				clear(s.topics)
			}
			s.topics[source[len(source)-len(topic):]] = source
		}
	}
	return source[len(source)-len(topic):], source
}

// isNew reports whether d is to become an entry, and enters it where its acknowledgement, and its coming again, will
// look for it. Under s.mu.
func (s *Source) isNew(l *link, d *delivery, replay lightchain.Hash) bool {
	s.stats.Received++
	if d.flags&lightchain.PayloadHashed != 0 {
		s.stats.Hashed++
	}
	if d.qos == 0 {
		s.stats.QoS0++
	} else {
		l.judge(d)
		if s.redelivered(l, d) {
			s.stats.Recognised++
			return false
		}
		d.own = ticket{link: l, of: d, id: d.id, qos: d.qos}
		d.ticket = &d.own
		l.order.push(d.ticket)
		if d.sub < 0 || !s.filters[d.sub].Shared {
			d.content = d.payload
			s.unacked[d.id] = d
		}
	}
	if d.flags&lightchain.Retained != 0 && s.replayed(d, replay) {
		s.stats.Replays++
		return false
	}
	if d.flags&lightchain.Redelivered != 0 {
		s.stats.Redelivered++
	}
	if d.sub < 0 {
		s.unmatched(d.topic)
	}
	return true
}

// redelivered reports whether the message is certainly one that came before and was never acknowledged; the
// acknowledgement then waits for that one. The package comment says why it is certain. Under s.mu.
func (s *Source) redelivered(l *link, d *delivery) bool {
	first := s.unacked[d.id]
	if first == nil {
		return false
	}
	if d.flags&lightchain.Redelivered == 0 || !first.same(d.topic, d.qos, d.payload) {
		// The broker has freed the id without our acknowledgement: nothing is known of it any more.
		delete(s.unacked, d.id)
		return false
	}
	if first.ticket.link == l {
		// Sent again on a connection that stands. One acknowledgement is owed, and one is sent: a second could hit
		// the next message under this id.
		return true
	}
	first.ticket = &ticket{link: l, of: first, id: d.id, qos: d.qos}
	l.order.push(first.ticket)
	if first.durable {
		first.ticket.settle(ready)
	}
	return true
}

// replayed reports whether a retained message is a replay of one that is sealed, or on its way to be; the
// acknowledgement, if one is owed, waits for that one. Under s.mu.
func (s *Source) replayed(d *delivery, key lightchain.Hash) bool {
	first, seen := s.replays[key]
	switch {
	case !seen:
		if len(s.replays) < maxReplays {
			s.replays[key], d.replay = d, key
		}
		return false
	case d.ticket == nil:
	case first == nil:
		d.durable = true
		d.ticket.settle(ready)
	default:
		first.followers = append(first.followers, d)
	}
	return true
}

// replayKey is the hash of topic and payload.
func replayKey(topic string, payload []byte) (key lightchain.Hash) {
	h := sha256.New()
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(topic)))
	h.Write(n[:])
	h.Write([]byte(topic))
	h.Write(payload)
	h.Sum(key[:0])
	return key
}

// unmatched warns of a topic that no subscription of the configuration covers. Under s.mu.
func (s *Source) unmatched(topic string) {
	if s.stats.Unmatched++; s.stats.Unmatched == 1 {
		s.log.Warn("a message came that no configured filter covers: the session at the broker still has an older "+
			"subscription; such messages are kept, undecoded", "topic", topic, "client_id", s.cfg.ClientID)
	}
}

// pump decodes what has arrived and hands it to the sink, in order, until ctx ends.
func (s *Source) pump(ctx context.Context, sink sensors.Sink) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		for d := s.head(); d != nil; d = s.head() {
			if s.ignores(d) || !s.awaitPace(ctx, d) {
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			// Counted before: the sink may settle the message before Put has returned.
			s.opened(1)
			if err := sink.Put(ctx, s.message(d)); err != nil {
				s.opened(-1)
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("source %s: %w", s.cfg.Name, err)
			}
			s.taken()
		}
	}
}

// head returns the first message of the queue, which stays there until it is taken.
func (s *Source) head() *delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.len() == 0 {
		return nil
	}
	return s.queue.first()
}

// ignores deals with the first message of the queue if it is to go no further: as if it were durable already.
func (s *Source) ignores(d *delivery) bool {
	var count *int64
	switch {
	case s.cfg.Ignored != nil && s.cfg.Ignored(d.topic):
		count = &s.stats.Ignored
	case s.cfg.Unwanted != nil && s.cfg.Unwanted(d.topic):
		count = &s.stats.Unwanted
	default:
		return false
	}
	s.mu.Lock()
	*count++
	s.durable(d)
	s.mu.Unlock()
	s.taken()
	return true
}

// paceLook is how often the rate is looked at again by whoever waits for it.
const paceLook = time.Second

// awaitPace waits until the rate lets the first message of the queue pass, or ctx ends. One with QoS 0 that it does not let pass
// now is lost, for its sender keeps it no more than its broker does: then false is returned, and it is gone from the queue.
func (s *Source) awaitPace(ctx context.Context, d *delivery) bool {
	for slowed := false; ; {
		wait := s.pace.Take(time.Now(), int(s.rate.Load()))
		switch {
		case wait == 0:
			return true
		case d.qos == 0:
			s.exceed(d)
			return false
		}
		if !slowed {
			slowed = true
			s.mu.Lock()
			s.stats.Slowed++
			s.mu.Unlock()
		}
		select {
		case <-time.After(min(wait, paceLook)):
		case <-ctx.Done():
			return true // whoever asked sees that
		}
	}
}

// exceed gives up the first message of the queue.
func (s *Source) exceed(d *delivery) {
	s.mu.Lock()
	s.stats.Exceeded++
	s.exceeded.pending++
	s.disown(d)
	s.mu.Unlock()
	s.taken()
	if s.cfg.Exceeded != nil && d.flags&lightchain.Retained == 0 {
		s.cfg.Exceeded(d.topic)
	}
	s.tellExceeded(false)
}

// taken removes the first message of the queue: the sink has it.
func (s *Source) taken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.queue.first()
	s.queue.pop()
	d.payload, d.made = nil, nil
	s.release(d.size)
}

func (s *Source) opened(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
}

// message is what the sink gets for d.
func (s *Source) message(d *delivery) *sensors.Message {
	if d.made != nil {
		return d.made
	}
	var m *sensors.Message
	if d.sub >= 0 && s.cfg.Subscriptions[d.sub].Decode != nil {
		m = s.cfg.Subscriptions[d.sub].Decode(d.topic, d.flags, d.payload, d.received)
	}
	if m == nil {
		m = &sensors.Message{Flags: lightchain.NotUnderstood, Payload: d.payload}
	}
	// Brokers must refuse topics that are not UTF-8, and an entry cannot hold one.
	m.Source = strings.ToValidUTF8(d.source, "\uFFFD")
	m.Beside += d.beside
	m.Received = d.received
	m.Flags |= d.flags
	m.Done = func(err error) { s.settled(d, err) }
	d.made = m
	return m
}

// flush deals with what arrived and was not handed over when the source was told to end. With QoS 1 and 2 the broker
// still has it; what came with QoS 0 is nowhere else.
func (s *Source) flush(sink sensors.Sink) {
	var lost int64
	for d := s.head(); d != nil; d = s.head() {
		if s.ignores(d) {
			continue
		}
		if d.qos == 0 {
			s.opened(1)
			if !sink.TryPut(s.message(d)) {
				s.opened(-1)
				lost++
			}
		}
		s.taken()
	}
	s.mu.Lock()
	s.stats.Lost += lost
	lost = s.stats.Lost
	s.mu.Unlock()
	if lost > 0 {
		s.lose(int(lost), "arrived with QoS 0 and were not handed over when the program ended")
	}
}

func (s *Source) lose(n int, why string) {
	s.log.Warn("messages are lost", "count", n, "why", why)
	if s.cfg.Lost != nil {
		s.cfg.Lost(n, why)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
