package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"edgechain/sensors"
)

// errStopping is what a source hears that still has a message when the agent stops taking any.
var errStopping = errors.New("the agent is stopping and takes no more messages")

// queue is the agent's [sensors.Sink]: the one queue between all sources and the committer. It is bounded by the
// bytes of the messages in flight, which are those taken and not yet done, so that a slow disk delays
// acknowledgements and stops sockets being read instead of filling the memory.
type queue struct {
	maxBytes int
	wake     int // the committer is woken at once when as many messages wait

	first chan struct{} // holds a token while messages wait that the committer has not seen
	full  chan struct{} // holds a token while wake or more messages wait

	mu       sync.Mutex
	waiting  []*sensors.Message
	inFlight int           // bytes, waiting ones included
	count    int           // messages in flight
	busy     time.Time     // since when there have been any; zero while there are none
	room     chan struct{} // closed when bytes are released; nil while nobody waits for room
	closed   bool
}

var _ sensors.Sink = (*queue)(nil)

func newQueue(maxBytes, wake int) *queue {
	return &queue{maxBytes: maxBytes, wake: wake, first: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

// Put implements [sensors.Sink].
func (q *queue) Put(ctx context.Context, m *sensors.Message) error {
	for {
		taken, room, err := q.offer(m, true)
		if taken || err != nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TryPut implements [sensors.Sink].
func (q *queue) TryPut(m *sensors.Message) bool {
	taken, _, err := q.offer(m, false)
	return taken && err == nil
}

// offer takes m if there is room; where wait is set and there is none, room is closed once there may be some.
func (q *queue) offer(m *sensors.Message, wait bool) (taken bool, room <-chan struct{}, err error) {
	size := m.Size()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, nil, errStopping
	case q.inFlight > 0 && q.inFlight+size > q.maxBytes: // one message alone always fits
		if wait && q.room == nil {
			q.room = make(chan struct{})
		}
		return false, q.room, nil
	}
	q.waiting = append(q.waiting, m)
	q.inFlight += size
	if q.count++; q.count == 1 {
		q.busy = time.Now()
	}
	signal(q.first)
	if len(q.waiting) >= q.wake {
		signal(q.full)
	}
	return true, nil, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take moves at most n waiting messages to the end of group, and of those after the first no more than the bytes given.
func (q *queue) take(group []*sensors.Message, n, bytes int) []*sensors.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.waiting))
	for i, m := range q.waiting[:n] {
		if bytes -= m.Size(); bytes < 0 && i > 0 {
			n = i
			break
		}
	}
	group = append(group, q.waiting[:n]...)
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	if rest > 0 {
		signal(q.first)
	}
	return group
}

// waits returns how many messages wait for the committer.
func (q *queue) waits() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// pending returns how many messages and bytes are in flight.
func (q *queue) pending() (messages, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count, q.inFlight
}

// busySince returns since when there have been messages in flight without a break; zero: there are none.
func (q *queue) busySince() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy
}

// limit returns how many bytes may be in flight.
func (q *queue) limit() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.maxBytes
}

// release gives back the room of messages that are done.
func (q *queue) release(messages, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight -= bytes
	if q.count -= messages; q.count == 0 {
		q.busy = time.Time{}
	}
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// close refuses every further message; those taken stay.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	signal(q.first)
}

// stopped says that no further message will come.
func (q *queue) stopped() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// drained says that no further message will come and none waits.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.waiting) == 0
}

// setLimits changes the budget, which holds for what comes from now on.
func (q *queue) setLimits(maxBytes, wake int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxBytes, q.wake = maxBytes, wake
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}
