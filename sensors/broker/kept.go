package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors/broker/subscriberstore"
)

// Subscribers is where a broker keeps what subscribers are to find again after a restart, and where it finds what it did not
// come to. Nothing of it may be nil.
//
// A publisher's acknowledgement waits for the chain alone, and what follows from a message for subscribers is written up to
// a second later. What a crash takes of that is routed again from the entries of the chain, from the number on that was
// written last; so of what was acknowledged at QoS 1 and 2 nothing is missing, and some of it may come twice, with DUP where
// the subscriber was there. What an entry does not say (that the message is retained, QoS 2, properties, a payload of which the
// chain has the hash) is in a note, which outlives the program and not always a power cut: see subscriberstore.
type Subscribers struct {
	Store subscriberstore.Options // its Tail is the broker's

	Chain    string                                        // which one the entries are of
	Next     func() uint64                                 // the number of the entry after the newest durable one
	Recorded func(from uint64) iter.Seq2[*Recorded, error] // the broker's own entries from a number on; an error stands for some that are missing
	Boot     string                                        // names the machine's boot; "": it is not known
}

// Recorded is an entry that the broker made.
type Recorded struct {
	Number  uint64
	Source  string
	Flags   lightchain.Flags
	Payload []byte
}

// The keys, by their first byte, in the order in which they are read. Numbers in them are big-endian.
const (
	keyMeta         = "M" // -> meta
	keySession      = "S" // number -> session
	keySubscription = "f" // session's number, filter -> identifier, options
	keyMessage      = "m" // number -> forward
	keyQueued       = "q" // session's number, its place -> outgoing
	keyRetained     = "r" // topic -> forward
	keyRecall       = "s" // session's number, filter -> QoS, identifier: retained messages that it is still to get
	keyWill         = "w" // client id -> will
)

// layout is written with everything: another one is read by none but its own program.
const layout = 2

// cursorEvery is after how many entries it is noted that they were routed, where nothing else is to be written.
const cursorEvery = 10_000

// kept writes down what of the broker's memory outlives it. Its methods never wait for the disk; of a nil one they do nothing.
// Its mutex is the innermost.
type kept struct {
	b     *Broker
	where *Subscribers
	store *subscriberstore.Store
	ids   *subscriberstore.Journal // of QoS 2 messages that are on disk, and not released

	mu       sync.Mutex
	sessions uint64             // number of the newest
	messages uint64             // likewise
	bodies   map[*forward]*body // of messages that wait in some outbox
	cursor   uint64             // entries below it are routed
	noted    uint64             // the cursor that was written last
	alone    uint64             // number of the newest message of QoS 1 or 2 that is in no entry, see noteAlone
	passed   uint64             // up to which these are routed

	clock clock // owned by housekeeping
}

// body is a message that is written once, whoever waits for it.
type body struct {
	key  string
	refs int
}

func numbered(prefix string, numbers ...uint64) string {
	b := []byte(prefix)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return string(b)
}

// Append encodes a message that does not expire.
func (f *forward) Append(b []byte) []byte { return f.append(b, 0) }

func (f *forward) append(b []byte, expires int64) []byte {
	b = append(b, layout, f.qos, truth(f.retain))
	b = binary.AppendVarint(b, expires)
	for _, part := range [...][]byte{[]byte(f.origin), []byte(f.topic), f.properties, f.payload} {
		b = appendPart(b, part)
	}
	return b
}

func truth(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendPart(b, part []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}

// encoded reads what was encoded here. After an error all is zero.
type encoded struct {
	b   []byte
	err error
}

func (e *encoded) fail() {
	e.b = nil
	if e.err == nil {
		e.err = fmt.Errorf("not as this program writes it")
	}
}

func (e *encoded) octet() byte {
	if len(e.b) == 0 {
		e.fail()
		return 0
	}
	v := e.b[0]
	e.b = e.b[1:]
	return v
}

func (e *encoded) number() uint64 {
	v, n := binary.Uvarint(e.b)
	if n <= 0 {
		e.fail()
		return 0
	}
	e.b = e.b[n:]
	return v
}

func (e *encoded) signed() int64 {
	v, n := binary.Varint(e.b)
	if n <= 0 {
		e.fail()
		return 0
	}
	e.b = e.b[n:]
	return v
}

func (e *encoded) part() []byte {
	n := e.number()
	if n > uint64(len(e.b)) {
		e.fail()
		return nil
	}
	v := e.b[:n:n]
	e.b = e.b[n:]
	return v
}

func (e *encoded) text() string { return string(e.part()) }

// begun takes the layout, by which each value begins.
func (e *encoded) begun() {
	if e.octet() != layout {
		e.fail()
	}
}

func (e *encoded) end() error {
	if len(e.b) > 0 {
		e.fail()
	}
	return e.err
}

// tail is what is written with everything: up to where the chain was routed.
func (k *kept) tail() (string, []byte) {
	cursor := k.advance()
	k.mu.Lock()
	k.noted = cursor
	passed := k.passed
	k.mu.Unlock()
	return keyMeta, k.meta(cursor, passed)
}

func (k *kept) meta(cursor, passed uint64) []byte {
	b := binary.AppendUvarint(appendPart([]byte{layout}, []byte(k.where.Chain)), cursor)
	return binary.AppendUvarint(binary.AppendVarint(b, k.b.cfg.Now().UnixNano()), passed)
}

// advance moves the cursor over entries that nothing followed from, and returns it.
func (k *kept) advance() uint64 {
	// In this order: each message below next is owed until it was offered, and then until it is routed.
	next := k.where.Next()
	idle := k.b.owed.Load() == 0
	done := k.b.fanout.done.Load()
	routed := k.b.fanout.owed.Load() == 0
	k.mu.Lock()
	defer k.mu.Unlock()
	if routed {
		k.cursor = max(k.cursor, done)
	}
	if routed && idle {
		k.cursor = max(k.cursor, next)
	}
	return k.cursor
}

// tick notes now and then up to where the chain was routed, though nothing follows from it.
func (k *kept) tick() {
	if k == nil {
		return
	}
	k.followClock()
	k.store.Begin()
	cursor := k.advance()
	k.store.End()
	k.mu.Lock()
	far := cursor >= k.noted+cursorEvery
	k.mu.Unlock()
	if far {
		k.store.Touch()
	}
}

// routed says that all consequences of a message are set. The caller is between Begin and End.
func (k *kept) routed(f *forward) {
	k.mu.Lock()
	if f.entry > 0 {
		k.cursor = max(k.cursor, f.entry)
	}
	k.passed = max(k.passed, f.alone)
	k.mu.Unlock()
	if f.alone > 0 {
		k.store.Touch() // else it would come again
	}
	if f.note > 0 {
		k.store.DropNote(f.note)
	}
}

// note keeps what the chain does not have of a message that is on its way to it; hashed says that its payload is part of that.
func (k *kept) note(source string, f *forward, hashed bool) {
	if k == nil || f == nil || f.qos == 0 || f.qos == 1 && !f.retain && len(f.properties) == 0 && f.expires.IsZero() && !hashed {
		return
	}
	f.note = k.store.Note(k.appendNoted(source, f, hashed))
}

func (k *kept) appendNoted(source string, f *forward, hashed bool) []byte {
	digest := sha256.Sum256(f.payload)
	b := appendPart(appendPart(nil, []byte(source)), digest[:])
	without := *f
	if !hashed {
		without.payload = nil
	}
	return k.value(&without).Append(b)
}

// noteAlone notes a message that is passed on and becomes no entry, and has then called when that is written: at once, where it is
// no promise, or nothing of it outlives the program anyway. So its publisher is acknowledged when its message outlives a kill of the
// program, as one in the chain does.
func (k *kept) noteAlone(f *forward, then func()) {
	if k == nil || f == nil || f.qos == 0 || !f.retain && !k.wanted(f.topic) {
		then()
		return
	}
	k.mu.Lock()
	number := k.alone + 1
	f.alone = number
	value := binary.AppendUvarint(appendPart(nil, nil), number) // of an entry a source stands here
	noted := k.store.NoteThen(k.value(f).Append(value), func(id uint64) {
		f.note = id
		then()
	}) > 0
	if noted {
		k.alone = number
	}
	k.mu.Unlock()
	if !noted {
		f.alone = 0
		then()
	}
}

// wanted reports whether a session that is written has subscribed to a topic.
func (k *kept) wanted(topic string) (found bool) {
	k.b.tree.match(topic, func(sub *subscription) { found = found || sub.s.number() > 0 })
	return found
}

// unnote drops the note of a message that became no entry.
func (k *kept) unnote(f *forward) {
	if k != nil && f != nil && f.note > 0 {
		k.store.DropNote(f.note)
	}
}

// begin has a session written from now on, with all that it has. The caller holds Broker.mu.
func (k *kept) begin(s *session) {
	if k == nil || s.number() > 0 {
		return
	}
	t := &k.b.tree
	t.mu.Lock()
	defer t.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	k.mu.Lock()
	k.sessions++
	s.kept = k.sessions
	k.mu.Unlock()
	for _, sub := range s.subscriptions {
		k.setSubscription(s.kept, sub, true)
	}
	for _, m := range slices.Concat(s.out.flight, s.out.waiting) {
		k.queue(s, m)
	}
	for _, r := range s.out.recalls {
		k.recall(s, r)
	}
}

// number is that of a session that is written; 0: it is not.
func (s *session) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

// session writes what a session is. The caller holds Broker.mu.
func (k *kept) session(s *session) {
	if k == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == 0 {
		return
	}
	var left int64
	if s.conn == nil && !s.left.IsZero() {
		left = k.wall(s.left)
	}
	b := binary.AppendVarint([]byte{layout}, left)
	b = binary.AppendVarint(b, int64(s.expiry))
	b = binary.AppendUvarint(b, uint64(s.out.lastID))
	b = appendPart(appendPart(b, []byte(s.id)), []byte(s.user))
	k.store.Set(numbered(keySession, s.kept), subscriberstore.Bytes(b), !s.written)
	s.written = true
}

// endSession forgets a session, whose subscriptions and messages have gone. The caller holds Broker.mu.
func (k *kept) endSession(s *session) {
	if n := s.number(); k != nil && n > 0 {
		k.store.Delete(numbered(keySession, n))
		k.letAllGo(s, n)
	}
}

// subscribe writes a subscription. The caller holds tree.mu.
func (k *kept) subscribe(sub *subscription, fresh bool) {
	if n := sub.s.number(); k != nil && n > 0 {
		k.setSubscription(n, sub, fresh)
	}
}

func (k *kept) setSubscription(session uint64, sub *subscription, fresh bool) {
	o := sub.options
	b := []byte{layout, o.QoS, truth(o.NoLocal), truth(o.RetainAsPublished), o.RetainHandling}
	k.store.Set(numbered(keySubscription, session)+sub.filter, subscriberstore.Bytes(binary.AppendUvarint(b, uint64(sub.id))), fresh)
}

// unsubscribe forgets a subscription. The caller holds tree.mu.
func (k *kept) unsubscribe(s *session, filter string) {
	if n := s.number(); k != nil && n > 0 {
		k.store.Delete(numbered(keySubscription, n) + filter)
	}
}

// recalls writes that a session is to get retained messages. If the program ends before it has them all, it gets them from the
// first on.
func (k *kept) recalls(s *session, all []*recall) {
	if k == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range all {
		k.recall(s, r)
	}
}

// recall does so for one subscription. The caller holds s.mu.
func (k *kept) recall(s *session, r *recall) {
	if s.kept > 0 && r.qos > 0 {
		k.store.Set(numbered(keyRecall, s.kept)+r.filter, subscriberstore.Bytes(binary.AppendUvarint([]byte{layout, r.qos}, uint64(r.id))), false)
	}
}

// unrecall forgets it. The caller holds s.mu.
func (k *kept) unrecall(s *session, filter string) {
	if k != nil && s.kept > 0 {
		k.store.Delete(numbered(keyRecall, s.kept) + filter)
	}
}

// queue writes a message that waits for a session, which was promised to it. The caller holds s.mu.
func (k *kept) queue(s *session, m *outgoing) {
	if k == nil || s.kept == 0 || m.qos == 0 || m.own || m.key != "" {
		return
	}
	k.mu.Lock()
	at := k.bodies[m.forward]
	if at == nil {
		k.messages++
		at = &body{key: numbered(keyMessage, k.messages)}
		k.bodies[m.forward] = at
		k.store.Set(at.key, k.value(m.forward), true)
	}
	at.refs++
	m.body = at.key
	k.mu.Unlock()
	// Even if it is acknowledged before anything is written: else it would come again after a crash.
	k.store.Touch()
	s.places++
	m.key = numbered(keyQueued, s.kept, s.places)
	k.place(m, true)
}

// moved writes how far a message has come. The caller holds session.mu.
func (k *kept) moved(m *outgoing) {
	if k != nil && m.key != "" {
		k.place(m, false)
	}
}

func (k *kept) place(m *outgoing, fresh bool) {
	b := []byte{layout, m.qos, truth(m.retain), truth(m.received)}
	b = binary.AppendUvarint(b, uint64(m.id))
	b = appendPart(b, []byte(m.body))
	for _, id := range m.ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	k.store.Set(m.key, subscriberstore.Bytes(b), fresh)
}

// unqueue forgets a message that waits no more. The caller holds session.mu.
func (k *kept) unqueue(m *outgoing) {
	if k == nil || m.key == "" {
		return
	}
	k.store.Delete(m.key)
	m.key = ""
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := k.bodies[m.forward]; at != nil {
		if at.refs--; at.refs == 0 {
			delete(k.bodies, m.forward)
			k.store.Delete(at.key)
		}
	}
}

// retain writes a retained message in the place of another, or of none.
func (k *kept) retain(f, old *forward) {
	if k == nil {
		return
	}
	if f != nil && !f.own {
		k.store.Set(keyRetained+f.topic, k.value(f), old == nil || old.own)
	} else if old != nil && !old.own {
		k.store.Delete(keyRetained + old.topic)
	}
}

// will writes a will that waits out its delay. The caller holds Broker.mu.
func (k *kept) will(w *will, fresh bool) {
	if k == nil {
		return
	}
	c := w.conn
	b := binary.AppendVarint([]byte{layout}, k.wall(w.due))
	b = append(b, byte(c.version), w.pk.QoS, truth(w.pk.Retain))
	for _, part := range []string{c.clientID, c.named, c.user, c.source, w.topic, string(w.pk.Properties), string(w.pk.Payload)} {
		b = appendPart(b, []byte(part))
	}
	k.store.Set(keyWill+c.clientID, subscriberstore.Bytes(b), fresh)
}

func (k *kept) unwill(clientID string) {
	if k != nil {
		k.store.Delete(keyWill + clientID)
	}
}

// close writes what is left.
func (k *kept) close() {
	if k == nil {
		return
	}
	k.store.Touch()
	k.ids.Close()
	if err := k.store.Close(); err != nil {
		k.b.log.Warn("failed to write the newest of what is kept for subscribers", "err", err)
	}
}

// subackPatience is how long a subscription may wait for the disk before it is answered all the same: its client waits for it,
// and what it publishes next behind it.
const subackPatience = 5 * time.Second

// subscribed waits until a session's new subscriptions are on disk: a client that finds its session again does not ask for
// them again.
func (k *kept) subscribed(s *session) {
	if k == nil || s.number() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(k.b.run, subackPatience)
	defer cancel()
	if err := k.store.Flush(ctx); err != nil && k.b.run.Err() == nil {
		k.b.told.Warn("MQTT subscription answered that is in memory alone", err.Error(), "client", s.id, "user", s.user)
	}
}
