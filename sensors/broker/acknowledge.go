package broker

import (
	"encoding/binary"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"
)

const acksPerWrite = 1024 // four or five bytes each

// kick starts the connection's writer if the first acknowledgement that is owed may go out. The caller holds sess.mu;
// it may be the committer.
func (c *conn) kick() {
	s := c.sess
	if c.writing || s.conn != c || len(s.queue) == 0 || !s.queue[0].settled() {
		return
	}
	c.writing = true
	c.writer.Go(c.acknowledge)
}

// acknowledge sends what is owed and may be sent, then ends. Only here acknowledgements of publications go out: one
// writer at a time, from the front of the queue, so in the order in which the messages came [MQTT-4.6.0-2].
func (c *conn) acknowledge() {
	var acks []byte
	for {
		acks = c.due(acks[:0])
		if acks == nil {
			return
		}
		c.cl.Lock() // mochi writes under this lock as well, whole packets each time
		_, err := c.Write(acks)
		c.cl.Unlock()
		if err != nil {
			c.Close() // nothing more can be sent; the reader ends, and detaches the session
			continue
		}
	}
}

// due takes the durable head of the queue and encodes its acknowledgements; nil ends the writer. From here on the
// client may have seen them: they are forgotten before they are written.
func (c *conn) due(b []byte) []byte {
	s := c.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if s.conn == c && !c.isGone() {
		for n < len(s.queue) && n < acksPerWrite && s.queue[n].settled() {
			ex := s.queue[n]
			ex.conn = nil
			b = ex.appendAck(b)
			n++
		}
	}
	if n == 0 {
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
	kind := packets.Puback
	if ex.qos == 2 {
		kind = packets.Pubrec
	}
	ex.b.stats.acknowledged.Add(1)
	if ex.code == 0 {
		return binary.BigEndian.AppendUint16(append(b, kind<<4, 2), ex.id)
	}
	b = binary.BigEndian.AppendUint16(append(b, kind<<4, 3), ex.id)
	return append(b, ex.code)
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
