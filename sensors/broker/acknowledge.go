package broker

import (
	"slices"
	"time"

	"edgechain.example/mqttwire"
)

const acksPerWrite = 1024 // four or five bytes each

// kick starts the connection's writer if there is something that may go out. The caller holds sess.mu; it may be the
// committer.
func (c *conn) kick() {
	s := c.sess
	if c.writing || s.conn != c || !(len(s.queue) > 0 && s.queue[0].settled() || s.out.ready(c)) {
		return
	}
	c.writing = true
	c.writer.Go(c.write)
}

// write sends what is owed and may be sent, and what waits for the client, then ends. Only here acknowledgements of
// publications go out: one writer at a time, from the front of the queue, so in the order in which the messages came
// [MQTT-4.6.0-2].
func (c *conn) write() {
	var out []byte
	for {
		out = c.due(out[:0])
		if out == nil {
			return
		}
		if c.send(out) != nil {
			c.Close() // nothing more can be sent; the reader ends, and detaches the session
		}
		if cap(out) > 2*writeSize {
			out = nil // after a large message
		}
	}
}

// writeSize is how many bytes of messages go into one write, the last one's excess not counted.
const writeSize = 16 << 10

// due takes the durable head of the queue and encodes its acknowledgements, and then what may go out to a subscriber; nil
// ends the writer. From here on the client may have seen the acknowledgements: they are forgotten before they are written.
func (c *conn) due(b []byte) []byte {
	s := c.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	n, more := 0, false
	if s.conn == c && !c.isGone() {
		for n < len(s.queue) && n < acksPerWrite && s.queue[n].settled() {
			ex := s.queue[n]
			ex.conn, ex.told = nil, true
			b = ex.appendAck(b)
			n++
		}
		b = s.out.collect(c, b, time.Now())
		more = s.out.recalling(c)
	}
	if n == 0 && len(b) == 0 && !more {
		c.writing = false
		tell(c.idle)
		return nil
	}
	s.queue = slices.Delete(s.queue, 0, n)
	tell(c.room)
	if b == nil {
		b = []byte{}
	}
	return b
}

// appendAck appends PUBACK or PUBREC. With a reason code it is a packet of MQTT 5, which alone knows refusals.
func (ex *exchange) appendAck(b []byte) []byte {
	if ex.silent {
		return b
	}
	kind := mqttwire.PUBACK
	if ex.qos == 2 {
		kind = mqttwire.PUBREC
	}
	ex.b.stats.acknowledged.Add(1)
	ack := mqttwire.Ack{ID: ex.id, Code: ex.code}
	return ack.Append(mqttwire.V5, kind, b)
}

func (c *conn) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// drain waits until no acknowledgement that may go out is left; a client that does not read ends it by its time-out.
func (c *conn) drain() {
	for s := c.sess; ; {
		s.mu.Lock()
		writing := c.writing
		s.mu.Unlock()
		if !writing {
			return
		}
		<-c.idle
	}
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
