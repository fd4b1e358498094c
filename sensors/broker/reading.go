package broker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"edgechain.example/mqttwire"
)

// smallPacket is how many bytes a packet has of which no account is kept while it is read.
const smallPacket = 16 << 10

// How fast a larger packet must come. The time in which its client is not read does not count.
const (
	slowest        = 32 << 10         // bytes a second, over the whole packet and after connectTimeout
	stretch        = 16 << 10         // bytes that never take longer than
	stretchTimeout = 10 * time.Second // this
)

// expect sets the deadline for the whole of the next packet: one and a half keep-alives from now, when the one before has
// been dealt with [MQTT-3.1.2-22]. A large packet has deadlines of its own.
func (c *conn) expect() error {
	patience := c.patience
	if patience == 0 { // 3.1.2.10: a keep-alive of 0 turns it off
		if c.readUntil.IsZero() {
			return nil
		}
		c.readUntil = time.Time{}
		return c.SetReadDeadline(c.readUntil)
	}
	// Setting a deadline costs as much as a short read: one that is nearly right is left as it is.
	now, most := time.Now(), patience+patience/16
	if left := c.readUntil.Sub(now); left >= patience && left <= most {
		return nil
	}
	c.readUntil = now.Add(most)
	return c.SetReadDeadline(c.readUntil)
}

// timedOut tells of an error whether a deadline has passed. A WebSocket hides [os.ErrDeadlineExceeded].
func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// body reads what follows a header. Of a PUBLISH the bytes stay with the message; of other packets they are overwritten by
// the next. done gives back the room that a large packet took.
func (c *conn) body(h mqttwire.Header, in *bufio.Reader) (body []byte, done func(), err error) {
	switch {
	case h.Length > smallPacket:
		r := c.b.reading.begin(h.Length)
		if body, err = r.read(c, in, h.Length); err != nil {
			r.end()
			return nil, nil, err
		}
		return body, r.end, nil
	case h.Type == mqttwire.PUBLISH:
		body = make([]byte, h.Length)
	default:
		if cap(c.scratch) < h.Length {
			c.scratch = make([]byte, h.Length)
		}
		body = c.scratch[:h.Length]
	}
	if _, err = io.ReadFull(in, body); err != nil {
		return nil, nil, err
	}
	return body, func() {}, nil
}

// reading is the account of large packets that are under way, from their header until they have been dealt with. Small ones
// have rooms of their own, so that those that take long, and may, keep none of the others waiting.
type reading [3]budget

// The largest packets of the first two rooms.
const (
	mediumPacket = 128 << 10
	largePacket  = 1 << 20
)

// newReading parts most bytes.
func newReading(most int) reading {
	return reading{{most: most / 6}, {most: most / 12 * 5}, {most: most / 12 * 5}}
}

func (all *reading) held() (bytes, packets int) {
	for i := range all {
		g := &all[i]
		g.mu.Lock()
		bytes += g.taken
		packets += len(g.under)
		g.mu.Unlock()
	}
	return bytes, packets
}

// begin enters a packet of n bytes.
func (all *reading) begin(n int) *room {
	g := &all[0]
	switch {
	case n > largePacket:
		g = &all[2]
	case n > mediumPacket:
		g = &all[1]
	}
	r := &room{g: g, given: make(chan struct{}, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.under = append(g.under, r)
	return r
}

// budget is how many bytes of packets may be half-way read at one time, from all clients together. A packet takes room as it
// comes, not for what its header claims. The oldest one always gets what it wants, so that no two wait for each other: most is
// exceeded by one packet.
type budget struct {
	most int

	mu    sync.Mutex
	taken int
	under []*room // packets under way, the oldest first
}

// room is what one packet takes of a budget.
type room struct {
	g     *budget
	taken int           // guarded by g.mu
	wants int           // likewise: more that it waits for
	given chan struct{} // has room for one; told when it has that
}

// take waits for n bytes more. The client's socket is not read meanwhile.
func (r *room) take(c *conn, n int) error {
	g := r.g
	g.mu.Lock()
	r.wants = n
	g.grant()
	waits := r.wants > 0
	g.mu.Unlock()
	if waits {
		defer c.keepAlive()()
	}
	select {
	case <-r.given:
		return nil
	case <-c.gone:
		return errGone
	}
}

// end gives back what the packet took.
func (r *room) end() {
	g := r.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken -= r.taken
	g.under = slices.DeleteFunc(g.under, func(u *room) bool { return u == r })
	g.grant()
}

// grant gives room to those that wait, in the order in which their packets began. The caller holds mu.
func (g *budget) grant() {
	for i, r := range g.under {
		if r.wants == 0 {
			continue
		}
		if i > 0 && g.taken+r.wants > g.most {
			return
		}
		g.taken += r.wants
		r.taken += r.wants
		r.wants = 0
		tell(r.given)
	}
}

// read reads a packet of n bytes, whose first smallPacket stand on no account: whoever sends no more holds nobody up.
func (r *room) read(c *conn, in *bufio.Reader, n int) ([]byte, error) {
	body := make([]byte, 0, smallPacket)
	left := connectTimeout + time.Duration(n)*time.Second/slowest
	for len(body) < n {
		if len(body) == cap(body) {
			grown := min(n, 2*len(body))
			if err := r.take(c, grown-len(body)); err != nil {
				return nil, err
			}
			body = append(make([]byte, 0, grown), body...)
		}
		part := body[len(body):min(len(body)+stretch, cap(body))]
		began := time.Now()
		c.readUntil = began.Add(min(left, stretchTimeout))
		if err := c.SetReadDeadline(c.readUntil); err != nil {
			return nil, err
		}
		switch _, err := io.ReadFull(in, part); {
		case timedOut(err) && !c.isGone():
			return nil, &mqttwire.Error{Code: mqttwire.QuotaExceeded, Why: "a large packet that comes too slowly"}
		case err != nil:
			return nil, err
		}
		left -= time.Since(began)
		body = body[:len(body)+len(part)]
	}
	return body, nil
}
