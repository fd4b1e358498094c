package recorder

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// ErrStopping is what a source hears that still has a message when the agent stops taking any.
var ErrStopping = errors.New("the agent is stopping and takes no more messages")

// Queue is the one queue between all sources and the committer. It is bounded by the bytes of the messages in flight,
// which are those taken and not yet done, so that a slow disk delays acknowledgements and stops sockets being read instead
// of filling the memory.
//
// Each source has a share of its own, so that none that floods keeps another out: see admits. As a [sensors.Sink] the queue
// is the share of the agent's own entries.
type Queue struct {
	maxBytes int
	wake     int // the committer is woken at once when as many messages wait

	own *Share // of the agent's own entries; never changed

	first chan struct{} // holds a token while messages wait that the committer has not seen
	full  chan struct{} // holds a token while there may be a reason not to gather more

	mu           sync.Mutex
	waiting      []*sensors.Message
	waitingBytes int
	began        time.Time // when the first of those that wait came, or later: when the committer took some before it
	newest       time.Time // when the last message was taken
	inFlight     int       // bytes, waiting ones included
	qos0         int       // of these, bytes of messages of which no delivery was promised
	busy         time.Time // since when there have been any; zero while there are none
	taken        map[*sensors.Message]taken
	shares       []*Share // the agent's own first
	closed       bool
	hurries      int // of those who wait for what is taken to be on disk: no group is gathered meanwhile
	senders      map[string]*sender
	newcomers    map[string]*sender // by user, "broker:press": who connects anew for each message is learned by that
	swept        time.Time          // when those were forgotten that sent nothing any more
	stalled      []*sender          // that may wait for the group to be closed
	turning      []*sender          // that have messages waiting, and wait for acknowledgements once they are silent
}

// taken is what a message in flight counts.
type taken struct {
	share  *Share
	sender *sender // nil: nobody waits for an acknowledgement
	bytes  int
	qos0   int
}

// Share is the part of the queue that one source has. It is its [sensors.Sink].
type Share struct {
	queue    *Queue
	name     string
	inFlight int        // bytes; guarded by the queue's mutex, as all below
	waiters  []*putting // who wait for room, in the order in which they came
	retired  bool       // its source has stopped: nothing is kept free for it
}

// putting is somebody who waits for room.
type putting struct {
	m    *sensors.Message
	done chan struct{} // closed when m was taken, or never will be
	err  error         // why not
}

var (
	_ sensors.Sink = (*Queue)(nil)
	_ sensors.Sink = (*Share)(nil)
)

// NewQueue returns a queue for so many bytes, which wakes the committer at once when as many messages wait.
func NewQueue(maxBytes, wake int) *Queue {
	q := &Queue{maxBytes: maxBytes, wake: wake, first: make(chan struct{}, 1), full: make(chan struct{}, 1), taken: map[*sensors.Message]taken{}, senders: map[string]*sender{}, newcomers: map[string]*sender{}}
	q.own = &Share{queue: q}
	q.shares = []*Share{q.own}
	return q
}

// Share returns the share of the source with that name, until it is retired.
func (q *Queue) Share(name string) *Share {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.shares[1:] {
		if s.name == name {
			s.retired = false
			return s
		}
	}
	s := &Share{queue: q, name: name}
	q.shares = append(q.shares, s)
	return s
}

// Retire gives back what is kept free for a source that has stopped.
func (s *Share) Retire() {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	s.retired = true
	q.forget(s)
	q.admitWaiting()
}

// forget drops a share that is retired and has nothing in flight any more.
func (q *Queue) forget(s *Share) {
	if s.retired && s.inFlight == 0 && len(s.waiters) == 0 {
		q.shares = slices.DeleteFunc(q.shares, func(other *Share) bool { return other == s })
	}
}

// Put implements [sensors.Sink].
func (q *Queue) Put(ctx context.Context, m *sensors.Message) error { return q.own.Put(ctx, m) }

// TryPut implements [sensors.Sink].
func (q *Queue) TryPut(m *sensors.Message) bool { return q.own.TryPut(m) }

// Put implements [sensors.Sink].
func (s *Share) Put(ctx context.Context, m *sensors.Message) error {
	q := s.queue
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrStopping
	}
	if s.takes(m) {
		q.admit(s, m)
		q.mu.Unlock()
		return nil
	}
	w := &putting{m: m, done: make(chan struct{})}
	s.waiters = append(s.waiters, w)
	signal(q.full) // there is no room for more
	q.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(s.waiters, w); i >= 0 {
		s.waiters = slices.Delete(s.waiters, i, i+1)
		q.admitWaiting() // who stood behind may fit
		return ctx.Err()
	}
	return w.err // it was taken just before
}

// TryPut implements [sensors.Sink].
func (s *Share) TryPut(m *sensors.Message) bool {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || !s.takes(m) {
		return false
	}
	q.admit(s, m)
	return true
}

// takes reports whether a new message of a share is taken at once: whoever waits there goes first.
func (s *Share) takes(m *sensors.Message) bool { return len(s.waiters) == 0 && s.queue.admits(s, m) }

// admits reports whether there is room for a message of a share.
//
// A source that has nothing in flight may always put one message, whatever the others do. Of the queue an equal part is kept
// for each source that has something in flight, and half of that for one that has not; the rest is for whoever needs it.
// Messages of QoS 0, which their senders do not send again, fill half of the queue at most.
func (q *Queue) admits(s *Share, m *sensors.Message) bool {
	size := m.Size()
	if s.inFlight == 0 {
		return true
	}
	if q.inFlight+size > q.maxBytes || m.Flags&lightchain.QoS0 != 0 && q.qos0 > 0 && q.qos0+size > q.maxBytes/2 {
		return false
	}
	guaranteed, kept := q.guaranteed(), 0
	if s.inFlight+size <= guaranteed {
		return true
	}
	for _, other := range q.shares {
		if other != s && !other.retired {
			part := guaranteed
			if other.inFlight == 0 {
				part /= 2
			}
			kept += max(0, part-other.inFlight)
		}
	}
	return q.inFlight+size+kept <= q.maxBytes
}

// guaranteed returns how many bytes are each source's, where several want more than there is.
func (q *Queue) guaranteed() int {
	sources := 0
	for _, s := range q.shares[1:] { // the agent's own entries are few, and never more than one at a time for long
		if !s.retired {
			sources++
		}
	}
	if sources < 2 {
		return 0 // there is nobody to keep it from
	}
	return q.maxBytes / sources
}

// admit takes a message for which there is room.
func (q *Queue) admit(s *Share, m *sensors.Message) {
	t := taken{share: s, bytes: m.Size()}
	if m.Flags&lightchain.QoS0 != 0 {
		t.qos0 = t.bytes
	}
	q.newest = time.Now()
	if len(q.taken) == 0 {
		q.busy = q.newest
	}
	if len(q.waiting) == 0 {
		q.began = q.newest
	}
	t.sender = q.arrived(m, q.newest)
	q.taken[m] = t
	q.waiting = append(q.waiting, m)
	q.waitingBytes += t.bytes
	q.inFlight += t.bytes
	q.qos0 += t.qos0
	s.inFlight += t.bytes
	signal(q.first)
	if len(q.waiting) >= q.wake || q.waitingBytes >= groupBytes {
		signal(q.full)
	}
}

// admitWaiting takes messages of those who wait while there is room for any of them: first of the share that has least in
// flight, so that each of those who want more than there is gets as much as the others, however many wait in it.
func (q *Queue) admitWaiting() {
	for {
		var next *Share
		for _, s := range q.shares {
			if len(s.waiters) > 0 && (next == nil || s.inFlight < next.inFlight) && q.admits(s, s.waiters[0].m) {
				next = s
			}
		}
		if next == nil {
			return
		}
		w := next.waiters[0]
		next.waiters = slices.Delete(next.waiters, 0, 1)
		q.admit(next, w.m)
		close(w.done)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take moves at most n waiting messages to the end of group, and of those after the first no more than the bytes given.
func (q *Queue) take(group []*sensors.Message, n, bytes int) []*sensors.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.waiting))
	for i, m := range q.waiting[:n] {
		size := q.taken[m].bytes
		if bytes -= size; bytes < 0 && i > 0 {
			n = i
			break
		}
		q.waitingBytes -= size
		if s := q.taken[m].sender; s != nil {
			s.waiting--
		}
	}
	group = append(group, q.waiting[:n]...)
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	q.stalled = slices.DeleteFunc(q.stalled, func(s *sender) bool { return s.waiting < s.window() })
	q.turning = slices.DeleteFunc(q.turning, func(s *sender) bool { return s.waiting == 0 })
	if rest > 0 {
		q.began = time.Now()
		signal(q.first)
	}
	return group
}

// Pending returns how many messages and bytes are in flight.
func (q *Queue) Pending() (messages, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.taken), q.inFlight
}

// busySince returns since when there have been messages in flight without a break; zero: there are none.
func (q *Queue) busySince() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy
}

// Limit returns how many bytes may be in flight.
func (q *Queue) Limit() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.maxBytes
}

// release gives back the room of messages that are done.
func (q *Queue) release(messages []*sensors.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range messages {
		t, ok := q.taken[m]
		if !ok {
			continue // the committer's own
		}
		delete(q.taken, m)
		q.inFlight -= t.bytes
		q.qos0 -= t.qos0
		t.share.inFlight -= t.bytes
		q.forget(t.share)
	}
	if len(q.taken) == 0 {
		q.busy = time.Time{}
	}
	q.admitWaiting()
}

// Close refuses every further message; those taken stay.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, s := range q.shares {
		for _, w := range s.waiters {
			w.err = ErrStopping
			close(w.done)
		}
		s.waiters = nil
	}
	signal(q.first)
	signal(q.full) // no more is waited for
}

// Stopped says that no further message will come.
func (q *Queue) Stopped() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// Hurry has what is taken put to disk without waiting for more, until calm is called.
func (q *Queue) Hurry() (calm func()) {
	add := func(n int) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.hurries += n
		signal(q.full)
	}
	add(1)
	return func() { add(-1) }
}

// gathers says that a group may wait for more.
func (q *Queue) gathers() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.closed && q.hurries == 0
}

// drained says that no further message will come and none waits.
func (q *Queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.waiting) == 0
}

// SetLimits changes the budget, which holds for what comes from now on.
func (q *Queue) SetLimits(maxBytes, wake int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxBytes, q.wake = maxBytes, wake
	q.admitWaiting()
}
