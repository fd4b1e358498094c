package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"edgechain.example/mqttwire"
)

// A QoS 2 message is stored once as long as its session lasts, whatever becomes of the program. So of each session that is
// written down it is noted which ids it holds, with a digest of the message: after the commit, and before the PUBREC; and that it
// holds one no more before the PUBCOMP, after which the client may give the id to another message. A note outlives a program that
// is killed: see [subscriberstore.Journal]. After a power cut nobody knows what was released last, so none counts, and a
// repetition is recorded again and flagged; so it is where the program was killed between the commit and the note. In doubt both
// are kept.

// sum is a message's digest in notes.
func sum(topic string, pk *mqttwire.Publish) []byte {
	h := sha256.New()
	_, _ = h.Write([]byte(topic))
	_, _ = h.Write([]byte{0, truth(pk.Retain)})
	_, _ = h.Write(pk.Payload)
	return h.Sum(nil)[:16]
}

func idKey(session uint64, id uint16) string {
	return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(nil, session), id))
}

func sessionKey(session uint64) string { return string(binary.BigEndian.AppendUint64(nil, session)) }

// mostNotedSession is of what a session is noted with; one of a longer name is in the database alone, a moment later.
const mostNotedSession = 900

// noteSession notes a session with the ids that it holds: it may be younger than what the database has, and its client is to find
// it. The caller holds s.mu.
func (k *kept) noteSession(s *session) {
	if s.noted {
		return
	}
	s.noted = true
	b := binary.AppendVarint(appendPart(nil, []byte(k.where.Chain)), int64(s.lasting))
	if b = appendPart(appendPart(b, []byte(s.id)), []byte(s.user)); len(b) <= mostNotedSession {
		k.ids.Set(sessionKey(s.kept), b, nil)
	}
}

// takeSession gives back a session that the database does not have yet.
func (k *kept) takeSession(l *found, number uint64, value []byte) *session {
	e := encoded{b: value}
	chain, lasting := e.text(), time.Duration(e.signed())
	s := &session{id: e.text(), user: e.text(), expiry: lasting, lasting: lasting, kept: number, left: l.now, noted: true}
	same := func(other *session) bool { return other.id == s.id }
	if e.end() != nil || chain != k.where.Chain || l.sessions[number] != nil || slices.ContainsFunc(l.order, same) {
		return nil
	}
	l.sessions[number] = s
	l.order = append(l.order, s)
	k.sessions = max(k.sessions, number)
	return s
}

// takeIDs gives sessions back which ids they hold, and returns those that the database does not have.
func (k *kept) takeIDs(l *found) (young []*session) {
	held := 0
	var lost bool
	k.ids, lost = k.store.OpenJournal(k.where.Boot, func(key, value []byte) bool {
		if len(key) == 8 {
			s := k.takeSession(l, binary.BigEndian.Uint64(key), value)
			if s != nil {
				young = append(young, s)
			}
			return s != nil
		}
		if len(key) != 10 {
			return false
		}
		s := l.sessions[binary.BigEndian.Uint64(key)]
		if s == nil || l.chain != k.where.Chain && !slices.Contains(young, s) {
			return false // its client finds no session
		}
		id := binary.BigEndian.Uint16(key[8:])
		s.hold(&exchange{b: k.b, s: s, id: id, qos: 2, sum: slices.Clone(value), state: durable, restored: true, told: true})
		held++
		return true
	})
	switch {
	case lost:
		k.b.log.Warn("which QoS 2 messages publishers had not released is not known for certain: what they repeat is recorded again, and flagged")
	case held > 0:
		k.b.log.Info("QoS 2 messages that publishers have not released are known", "messages", held)
	}
	return young
}

// hold notes that a message is on disk, and has its PUBREC wait until that is written. false: nothing is noted. The caller holds
// s.mu, and may be the committer: nothing is waited for.
func (k *kept) hold(ex *exchange) bool {
	s := ex.s
	if k == nil || ex.sum == nil || s.kept == 0 || s.received[ex.id] != ex {
		return false
	}
	k.noteSession(s)
	k.ids.Set(idKey(s.kept, ex.id), ex.sum, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		ex.settle()
	})
	return true
}

// noteSlow is from when on waiting for a note is waiting for the disk.
const noteSlow = time.Second

// letGo notes that an id is released, before its PUBCOMP. It runs on the client's reader, and fails when the client has gone.
func (k *kept) letGo(c *conn, id uint16) error {
	if k == nil {
		return nil
	}
	n := c.sess.number()
	if n == 0 {
		return nil
	}
	return c.noted(k.ids.Delete(idKey(n, id)))
}

// letAllGo notes that a session holds no ids any more. The caller holds Broker.mu.
func (k *kept) letAllGo(s *session, number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.received {
		k.ids.Delete(idKey(number, id))
	}
	if s.noted {
		k.ids.Delete(sessionKey(number))
	}
}

// afresh waits until that is written of the sessions that have ended: the client, which hears of a new one, may use any id.
func (k *kept) afresh(c *conn) error {
	if k == nil {
		return nil
	}
	select { // nothing may be sent before the CONNACK
	case <-k.ids.Written():
		return nil
	case <-c.gone:
		return errGone
	}
}

// noted waits for a note.
func (c *conn) noted(done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-c.gone:
		return errGone
	case <-time.After(noteSlow):
	}
	defer c.keepAlive()()
	select {
	case <-done:
		return nil
	case <-c.gone:
		return errGone
	}
}
