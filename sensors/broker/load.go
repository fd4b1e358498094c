package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
	"edgechain.example/sensors/broker/subscriberstore"
)

// loadPatience is how long opening what is kept for subscribers may take: then clients are let in without it. Nothing of a
// device's may wait for a subscriber's.
const loadPatience = 30 * time.Second

// found is what was kept, as it is read.
type found struct {
	b    *Broker
	now  time.Time
	wall time.Time // what the clock says now
	loaded
}

type loaded struct {
	chain    string
	cursor   uint64
	at       time.Time // now by the clock under which it was written: see times
	sessions map[uint64]*session
	order    []*session
	subs     []*subscription
	bodies   map[string]*message
	retained []*message
	wills    []*will

	inherited bool    // it was in memory
	due       []*will // then alone
	notes     map[notedKey][]*forward
	stray     []string // keys that belong to nothing
	passed    uint64   // up to which messages that are in no entry were routed
	alone     []*forward

	queuedBytes, retainedBytes int // of the messages that are whole

	newest uint64 // session
	last   uint64 // and message
}

// notedKey tells for which entry a note is.
type notedKey struct {
	source string
	digest [sha256.Size]byte
}

// Reset implements [subscriberstore.Content].
func (l *found) Reset() {
	l.loaded = loaded{at: l.wall, sessions: make(map[uint64]*session), bodies: make(map[string]*message), notes: make(map[notedKey][]*forward)}
}

// Load implements [subscriberstore.Content]. It holds no more payloads than there is room for.
func (l *found) Load(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("an empty key")
	}
	e, rest := encoded{b: value}, key[1:]
	var number uint64
	switch string(key[:1]) {
	case keySession, keySubscription, keyMessage, keyQueued, keyRecall:
		if len(rest) < 8 {
			return fmt.Errorf("the key %q", key)
		}
		number, rest = binary.BigEndian.Uint64(rest), rest[8:]
	}
	switch string(key[:1]) {
	case keyMeta:
		e.begun()
		l.chain, l.cursor = e.text(), e.number()
		l.written(time.Unix(0, e.signed()))
		if len(e.b) > 0 { // not written by older programs
			l.passed = e.number()
		}
	case keySession:
		l.session(&e, number)
	case keySubscription:
		l.subscription(&e, number, string(key), string(rest))
	case keyMessage:
		l.bodies[string(key)] = l.take(&e, &l.queuedBytes, outgoingOverhead, l.b.cfg.Bounds.Queued)
		l.last = max(l.last, number)
	case keyQueued:
		l.queued(&e, number, string(key))
	case keyRecall:
		l.recall(&e, number, string(key), string(rest))
	case keyRetained:
		if m := l.take(&e, &l.retainedBytes, retainedOverhead, l.b.cfg.Bounds.Retained); m.topic == string(rest) {
			l.retained = append(l.retained, m)
		} else {
			e.fail()
		}
	case keyWill:
		l.will(&e)
	default:
		e.fail()
	}
	if err := e.end(); err != nil {
		return fmt.Errorf("the key %q: %w", key[:min(len(key), 100)], err)
	}
	return nil
}

func (l *found) session(e *encoded, number uint64) {
	e.begun()
	left, expiry, lastID := e.signed(), time.Duration(e.signed()), e.number()
	s := &session{id: e.text(), user: e.text(), expiry: expiry, kept: number, written: true, left: l.now}
	if left != 0 {
		s.left = l.now.Add(min(0, l.later(left).Sub(l.now)))
	}
	// Packet ids that were given since this was written, nobody knows. Whoever has one half-acknowledged (QoS 2) would take
	// another message with it for the same.
	s.out.lastID = uint16(lastID) + 1<<14
	s.doubt = left == 0
	l.sessions[number], l.newest = s, max(l.newest, number)
	l.order = append(l.order, s)
}

func (l *found) subscription(e *encoded, number uint64, key, filter string) {
	e.begun()
	o := mqttwire.Options{QoS: e.octet(), NoLocal: e.octet() == 1, RetainAsPublished: e.octet() == 1, RetainHandling: e.octet()}
	sub := &subscription{s: l.sessions[number], filter: filter, options: o, id: uint32(e.number())}
	if sub.s == nil || mqttwire.CheckFilter(filter) != nil {
		l.stray = append(l.stray, key)
		return
	}
	l.subs = append(l.subs, sub)
}

func (l *found) queued(e *encoded, number uint64, key string) {
	e.begun()
	m := &outgoing{qos: e.octet(), retain: e.octet() == 1, received: e.octet() == 1, id: uint16(e.number()), body: e.text(), key: key}
	for len(e.b) > 0 {
		m.ids = append(m.ids, uint32(e.number()))
	}
	s, body := l.sessions[number], l.bodies[m.body]
	if s == nil || body == nil || len(key) != 17 {
		l.stray = append(l.stray, key)
		return
	}
	m.forward = body.forward
	s.places = binary.BigEndian.Uint64([]byte(key)[9:])
	m.sent = m.id > 0 || s.doubt
	if m.id > 0 {
		s.out.flight = append(s.out.flight, m)
	} else {
		s.out.waiting = append(s.out.waiting, m)
	}
}

func (l *found) recall(e *encoded, number uint64, key, filter string) {
	e.begun()
	sub := &subscription{filter: filter, options: mqttwire.Options{QoS: e.octet()}, id: uint32(e.number())}
	s := l.sessions[number]
	if s == nil || mqttwire.CheckFilter(filter) != nil {
		l.stray = append(l.stray, key)
		return
	}
	s.out.recalls = append(s.out.recalls, newRecall(sub))
}

func (l *found) will(e *encoded) {
	e.begun()
	due := l.later(e.signed())
	c := &conn{b: l.b, version: mqttwire.Version(e.octet())}
	w := &will{conn: c, due: due, pk: mqttwire.Publish{QoS: e.octet(), Retain: e.octet() == 1}}
	c.clientID, c.named, c.user, c.source, w.topic = e.text(), e.text(), e.text(), e.text(), e.text()
	w.pk.Properties, w.pk.Payload = mqttwire.Properties(slices.Clone(e.part())), slices.Clone(e.part())
	l.wills = append(l.wills, w)
}

// Note implements [subscriberstore.Content]. One that cannot be read is none.
func (l *found) Note(value []byte) {
	e := encoded{b: value}
	var key notedKey
	if key.source = e.text(); key.source == "" {
		number := e.number()
		f := l.forward(&e)
		if f.alone = number; e.end() == nil {
			l.alone = append(l.alone, f)
		}
		return
	}
	copy(key.digest[:], e.part())
	f := l.forward(&e)
	if e.end() == nil {
		l.notes[key] = append(l.notes[key], f)
	}
}

// load opens what was kept and takes it over, or goes on without.
func (b *Broker) load() {
	where := b.cfg.Subscribers
	if where == nil {
		return
	}
	k := &kept{b: b, where: where, bodies: make(map[*forward]*body)}
	l := &found{b: b, now: time.Now(), wall: b.cfg.Now()}
	l.Reset()
	o := where.Store
	o.Log, o.Tail = b.log, k.tail
	type opening struct {
		store *subscriberstore.Store
		err   error
	}
	opened := make(chan opening, 1)
	go func() {
		s, err := subscriberstore.Open(o, l)
		opened <- opening{s, err}
	}()
	var it opening
	select {
	case it = <-opened:
	case <-time.After(loadPatience):
		it.err = fmt.Errorf("not open after %s", loadPatience)
		go func() {
			if late := <-opened; late.err == nil {
				_ = late.store.Close() // it is used by none; the next start finds it as it was
			}
		}()
	}
	if err := it.err; err != nil {
		b.log.Warn("failed to open what is kept for subscribers: sessions and retained messages are in memory, and not kept over a restart; the chain is not concerned", "folder", o.Dir, "err", err)
		b.mu.Lock()
		b.unkept = err
		b.mu.Unlock()
		return
	}
	k.store = it.store
	k.sessions, k.messages = l.newest, l.last
	k.clock.stepped(l.now, l.wall)
	young := k.takeIDs(l)
	b.mu.Lock()
	b.kept = k
	b.mu.Unlock()
	b.takeOver(l)
	b.mu.Lock()
	for _, s := range young {
		if b.sessions[s.id] == s {
			k.session(s)
		}
	}
	b.mu.Unlock()
	b.follow(l)
}

// mostFollowed is how many entries are looked through for what was not passed on: many more than come between two writes.
const mostFollowed = 10 * cursorEvery

// follow routes what the chain has and the last run did not come to.
func (b *Broker) follow(l *found) {
	k := b.kept
	next := k.where.Next()
	k.cursor = min(l.cursor, next)
	switch {
	case l.chain != k.where.Chain: // another one lay here
		k.cursor = next
	case next-k.cursor > mostFollowed:
		b.log.Warn("subscribers do not get what was recorded while nothing was kept for them", "entries", next-k.cursor-mostFollowed)
		k.cursor = next - mostFollowed
	}
	var targets []*session
	routed := 0
	for entry, err := range k.where.Recorded(k.cursor) {
		if err != nil {
			b.log.Warn("failed to read entries of the chain that subscribers may not have got", "err", err)
			continue
		}
		if f := b.again(l, entry); f != nil {
			targets = b.route(f, targets[:0])
			routed++
		}
	}
	k.cursor = next
	k.alone, k.passed = l.passed, l.passed
	for _, f := range l.alone {
		if f.alone > l.passed && l.chain == k.where.Chain && !f.expired(l.now) {
			targets = b.route(f, targets[:0])
			routed++
		}
		k.alone, k.passed = max(k.alone, f.alone), max(k.passed, f.alone)
		k.store.Touch()
	}
	for _, s := range l.order {
		s.doubt = false
	}
	if routed > 0 {
		b.log.Info("what the last run did not pass on is passed on", "messages", routed)
		// From here on the notes may go.
		if err := k.store.Flush(b.run); err != nil {
			b.log.Warn("failed to write what the last run did not pass on, which is passed on from memory", "err", err)
		}
	}
}

// again makes of an entry what its message was to subscribers; nil if it is nothing to them.
func (b *Broker) again(l *found, entry *Recorded) *forward {
	user, clientID, topic, ok := parseSource(entry.Source)
	if !ok || entry.Flags&lightchain.QoS0 != 0 {
		return nil
	}
	key := notedKey{source: entry.Source, digest: sha256.Sum256(entry.Payload)}
	hashed := entry.Flags&lightchain.PayloadHashed != 0
	if hashed {
		copy(key.digest[:], entry.Payload)
	}
	f := &forward{origin: clientID, topic: topic, qos: 1, payload: entry.Payload}
	if noted := l.notes[key]; len(noted) > 0 {
		f, l.notes[key] = noted[0], noted[1:]
		if !hashed {
			f.payload = entry.Payload
		}
	} else if hashed {
		b.lose(hashAlone, clientID, f)
		return nil
	}
	if b.reserved(&conn{user: user, clientID: clientID}, topic) {
		return nil
	}
	f.entry = entry.Number + 1
	return f
}

// parseSource is the inverse of what a connection's source begins with, and its topic.
func parseSource(source string) (user, clientID, topic string, ok bool) {
	rest, ok := strings.CutPrefix(source, "broker:")
	user, rest, slash := strings.Cut(rest, "/")
	clientID, topic, colon := strings.Cut(rest, ":")
	switch user {
	case "-":
		user = ""
	case "%2D":
		user = "-"
	}
	return sensors.NameInSource(user), sensors.NameInSource(clientID), topic, ok && slash && colon
}
