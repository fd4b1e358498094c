package broker

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// session is what the broker remembers of a client for as long as MQTT's session lasts, over any number of connections.
// What it is to get is written down as well, and which ids of QoS 2 it holds; else what it owes and is owed as a publisher is in
// memory.
//
// # When a message is a repetition
//
// A repetition (DUP) of a message that is already taken is certain only while the client cannot have given its
// packet id to another message, which it may do once it has seen our acknowledgement. So what counts is what was
// handed to the socket, received or not:
//
//   - QoS 1: the client was told that its session is resumed, an earlier connection took a message with this packet
//     id and the same content, and no PUBACK for it was handed to the socket. It is not taken again; the
//     acknowledgement it is owed goes out, once the message is durable, on the new connection.
//   - QoS 2: the client has not released the id (PUBREL) since a message with the same content, for as long as the session
//     lasts. Which ids these are is noted, so that a restart of the program changes nothing: see unreleased.go.
//
// And since clients forget their session without telling, with QoS 1 the connection on which the message came must be the
// one before, or on each connection between the client must have shown that it remembers, by another certain
// repetition or by PUBREL. On a connection of which nothing arrived it may have sent, as a new message, what it now
// repeats. Nothing new may have come there either: what is unacknowledged comes first [MQTT-4.6.0-1], so
// what did not come by then may have been given up.
//
// Everything else is kept, with the flag Redelivered: with QoS 1 after a restart of the broker, when the PUBACK may have been
// lost on its way, when the client was never seen to send a message without DUP. A message without DUP is never a
// repetition [MQTT-3.3.1-1], whatever its id: clients that use one id for ever, or begin again at 1 with a session
// that they have forgotten, lose nothing.
//
// An acknowledgement owed to an older connection is never sent unasked on a newer one: the client would get two for
// one id, and might take the second for the next message's.
type session struct {
	id, user string // of the client; never changed

	// Guarded by Broker.mu.
	expiry time.Duration // how long it is kept without a connection
	left   time.Time     // when its last connection ended

	subscriptions map[string]*subscription // by filter as the client gave it, group and all; guarded by tree.mu
	filterBytes   int                      // likewise
	over          bool                     // likewise: it takes no more
	filterWeight  weight                   // likewise

	target target // owned by the fan-out

	pace   *pace         // of what it publishes; made by the first attach, if not before
	taking chan struct{} // full while a message goes to the sink: keeps the order when a connection replaces another; made by the first attach

	mu        sync.Mutex
	conn      *conn                // the connection it belongs to now, or nil
	ended     bool                 // it gets nothing any more
	out       outbox               // what the client is to get
	count     int                  // how many connections it has had
	remembers bool                 // on conn came something by which the client shows that it knows an earlier one
	fresh     bool                 // on conn came a message without DUP
	queue     []*exchange          // acknowledgements owed on conn, in order of arrival
	orphans   []*exchange          // QoS 1, owed on earlier connections, never handed to a socket, and still to be recognised
	received  map[uint16]*exchange // QoS 2 by packet id, from PUBLISH to PUBREL
	kept      uint64               // its number where sessions are written down; 0: it is not
	written   bool                 // it was; guarded by Broker.mu
	noted     bool                 // beside the ids that it holds, see noteSession
	lasting   time.Duration        // expiry as its last connection wanted it
	places    uint64               // that of the newest message in what is written of out
	doubt     bool                 // while it is read: the client was there when the broker ended, and may have got what waits
	marks     bool                 // the client has sent a first delivery without DUP: it knows what DUP means
}

// exchange is one PUBLISH of QoS 1 or 2 and the acknowledgement it is owed.
type exchange struct {
	b      *Broker
	s      *session
	digest uint64 // of topic, payload and retain
	sum    []byte // likewise, and the same in each run; of QoS 2, where ids are noted
	id     uint16
	qos    byte

	// Guarded by s.mu.
	state    state
	conn     *conn           // whose queue it is in, or nil
	number   int             // of the last connection on which it was published
	silent   bool            // the same connection repeated it, and the repetition's acknowledgement counts for both
	restored bool            // a former run took it
	told     bool            // a PUBREC for it was handed to a socket
	code     mqttwire.Reason // of a refusal

	pass *forward // what to hand to subscribers; the committer takes it
}

type state byte

const (
	pending state = iota
	durable
	refused // never meant for the sink
	failed  // will never be durable
)

func (ex *exchange) settled() bool { return ex.state == durable || ex.state == refused }

// attach makes c the session's connection; what was owed to the one before becomes orphaned.
func (s *session) attach(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pace == nil {
		s.pace = new(pace)
	}
	if s.taking == nil {
		s.taking = make(chan struct{}, 1)
	}
	s.orphan()
	s.conn = c
	s.lasting = c.lasting
	s.count++
	s.remembers, s.fresh = false, false
	s.out.again()
	c.kick()
}

// detach ends c's part in the session, unless another connection has it already.
func (s *session) detach(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.orphan()
	}
}

func (s *session) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// serves tells whether it is c's, and goes on.
func (s *session) serves(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == c && !s.ended
}

// connection is the connection that it belongs to now, or nil.
func (s *session) connection() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

func (s *session) orphan() {
	if s.conn == nil {
		return
	}
	if !s.remembers || s.fresh {
		s.orphans = nil
	}
	for _, ex := range s.queue {
		ex.conn = nil
		if ex.qos == 1 && !ex.silent && ex.state != refused {
			s.orphans = append(s.orphans, ex)
		}
	}
	s.out.dropUnpromised(s.conn.b)
	s.queue, s.conn = nil, nil
}

// verdict is what becomes of a PUBLISH.
type verdict byte

const (
	take     verdict = iota // a new message, or one that may be
	repeated                // certainly taken before: only its acknowledgement is owed
	late                    // its connection has lost the session
	tooMany                 // the client releases no ids
)

// admit decides about the PUBLISH that ex stands for, and if it is to be taken, notes that an acknowledgement is owed.
func (s *session) admit(c *conn, ex *exchange, dup bool) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return late
	}
	if !dup {
		s.marks, s.fresh = true, true
		s.orphans = slices.DeleteFunc(s.orphans, func(o *exchange) bool { return o.id == ex.id })
	} else if ex.qos == 2 {
		if p := s.received[ex.id]; p != nil && p.holds(ex) && p.state != failed {
			p.number, s.remembers = s.count, true
			if p.conn == nil {
				s.owe(c, p)
			}
			return repeated
		}
	} else if s.marks {
		if i := slices.IndexFunc(s.orphans, ex.same); i >= 0 {
			p := s.orphans[i]
			s.orphans = slices.Delete(s.orphans, i, i+1)
			p.number, s.remembers = s.count, true
			s.owe(c, p)
			return repeated
		}
	}
	if dup && ex.qos == 1 {
		// Repeated on one connection, before it was acknowledged: both are kept, and one PUBACK goes out, when both
		// are durable. A second could be taken for that of the next message with this id.
		for _, p := range s.queue {
			if ex.same(p) {
				p.silent = true
			}
		}
	}
	ex.number = s.count
	if ex.qos == 2 {
		if s.received[ex.id] == nil && !s.mayHold(c) {
			return tooMany
		}
		s.hold(ex)
	}
	s.owe(c, ex)
	return take
}

// mayHold reports whether a session has room for one more QoS 2 id. It holds s.mu.
func (s *session) mayHold(c *conn) bool {
	n := len(s.received)
	return n < c.unreleased() && (n < ownUnreleased || c.b.held.Load() < allUnreleased)
}

// hold keeps the id of a QoS 2 message until it is released. It holds s.mu.
func (s *session) hold(ex *exchange) {
	if s.received == nil {
		s.received = make(map[uint16]*exchange)
	}
	if s.received[ex.id] == nil && !s.ended {
		ex.b.held.Add(1)
	}
	s.received[ex.id] = ex
}

// letGo gives back the id of a QoS 2 message that the session holds. It holds s.mu.
func (s *session) letGo(ex *exchange) {
	delete(s.received, ex.id)
	if !s.ended {
		ex.b.held.Add(-1)
	}
}

// holds tells whether a message of QoS 2 is the one that p stands for, which may be of a former run.
func (p *exchange) holds(ex *exchange) bool {
	if p.restored {
		return bytes.Equal(p.sum, ex.sum)
	}
	return p.digest == ex.digest
}

func (ex *exchange) same(p *exchange) bool {
	return p.id == ex.id && p.qos == ex.qos && p.digest == ex.digest && p.state != refused && p.state != failed
}

// owe puts ex at the end of what c is to be told. It holds s.mu.
func (s *session) owe(c *conn, ex *exchange) {
	ex.conn = c
	s.queue = append(s.queue, ex)
	c.kick()
}

// refuse answers a PUBLISH that is not taken with a reason code, in its turn.
func (s *session) refuse(c *conn, ex *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.owe(c, ex)
	}
}

// withdraw forgets a message that the sink did not take: it is owed nothing, and its repetition will be new.
func (s *session) withdraw(ex *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(ex)
}

func (s *session) drop(ex *exchange) {
	is := func(e *exchange) bool { return e == ex }
	ex.state, ex.conn = failed, nil
	s.queue = slices.DeleteFunc(s.queue, is)
	s.orphans = slices.DeleteFunc(s.orphans, is)
	if s.received[ex.id] == ex {
		s.letGo(ex)
	}
}

// release answers a PUBREL. false is a client that releases an id before we have answered its PUBLISH: a PUBCOMP would
// tell it that the message is safe.
func (s *session) release(c *conn, id uint16) (code mqttwire.Reason, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ex := s.received[id]; {
	case s.conn != c:
		return code, false
	case ex == nil:
		// Our PUBREC went out, perhaps before a restart, and only for what was durable. [MQTT-4.3.3]: not an error
		// during recovery, and PUBCOMP is the answer.
		return mqttwire.PacketIdentifierNotFound, true
	case ex.state != durable || ex.conn != nil && !ex.told:
		return code, false
	}
	// The client repeated the PUBLISH before it saw our PUBREC. It needs no second one, and might take it for that of another
	// message.
	s.received[id].silent = true
	s.remembers = s.remembers || s.received[id].number < s.count
	s.letGo(s.received[id])
	return mqttwire.Success, true
}

// done is the sink's verdict on a message, nil if it was only to be passed on. It runs on the committer's goroutine.
func (ex *exchange) done(err error, m *sensors.Message) {
	b, s, pass := ex.b, ex.s, ex.pass
	ex.pass = nil
	s.mu.Lock()
	c := ex.conn
	if err != nil {
		s.drop(ex)
		if c != nil {
			// The client keeps what is not acknowledged, and will repeat it. Closing TLS may write: not here.
			c.writer.Go(func() { c.Close() })
		}
	} else if m == nil || !b.kept.hold(ex) { // what is passed on alone is in no entry
		ex.settle()
	}
	s.mu.Unlock()
	b.finish(err, pass, m)
}

// settle says that a message is on disk, and so is what there is to note of it. The caller holds s.mu.
func (ex *exchange) settle() {
	ex.state = durable
	if ex.conn != nil {
		ex.conn.kick()
	}
}

// finish counts a message that has left the sink, and passes on one that is durable; m is nil for one that was not there.
func (b *Broker) finish(err error, pass *forward, m *sensors.Message) {
	if err != nil {
		b.stats.failed.Add(1)
		b.kept.unnote(pass)
	} else {
		b.stats.committed.Add(1)
		if pass != nil && m != nil {
			pass.entry = m.Entry + 1
		}
		b.fanout.offer(b, pass)
		if m != nil {
			b.fanout.done.Store(m.Entry + 1)
		}
	}
	b.release()
}

// release says that one message fewer is in the sink.
func (b *Broker) release() {
	if b.owed.Add(-1) == 0 {
		select {
		case b.settled <- struct{}{}:
		default:
		}
	}
}

// put hands m to the sink, and waits for room there without losing the client, of which there is none for a will.
func (b *Broker) put(c *conn, m *sensors.Message) error {
	b.owed.Add(1)
	if b.sink.TryPut(m) {
		return nil
	}
	b.stats.waiting.Add(1)
	defer b.stats.waiting.Add(-1)
	ctx := b.run
	if c != nil {
		defer c.keepAlive()()
		present, end := c.present(ctx)
		defer end()
		ctx = present
	}
	err := b.sink.Put(ctx, m)
	if err != nil {
		b.stats.failed.Add(1)
		b.release()
		if c != nil && !b.isStopping() {
			reason := err.Error()
			if c.isGone() {
				reason = "its client has gone, and there was no room for it yet"
			}
			b.told.Warn("MQTT message not taken", reason, "client", c.clientID, "user", c.user)
		}
	}
	return err
}

// present is the context of what waits for no longer than the client is there: one that comes again and again, as devices do
// that hear no acknowledgement, costs one connection and not one each time.
func (c *conn) present(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-c.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
