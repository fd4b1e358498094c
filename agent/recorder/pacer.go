package recorder

import (
	"math"
	"time"
)

// How long a group waits for more where nothing keeps it from being closed at once: until nothing new came for a moment, and no
// longer than that several senders find a place in it.
const (
	soonIdle = 2 * time.Millisecond
	soonMost = 25 * time.Millisecond
)

// gathered is what waits to be put to disk.
type gathered struct {
	messages int
	bytes    int
	first    time.Time // when the first of them came
	newest   time.Time // when the last one did
	stalled  time.Time // from when on somebody sends no more before he has acknowledgements; zero: nobody
	alone    bool      // nobody else sends
	silent   time.Time // when somebody has been silent for so long that he waits for acknowledgements, by what is known of him; zero: nobody
}

// pacer decides when a group is closed.
//
// Groups are as far apart as the budget wants them, whenever their messages came: one that comes after a quiet time finds its group
// due, and is put to disk at once. A sender that sends no more before it has acknowledgements goes before the budget: nothing
// would be gained by waiting but messages of others, and it would fall behind.
type pacer struct {
	closed time.Time // when the group before was
	part   float64   // of what the budget wants, this time
}

// close notes that a group was closed. Groups are not evenly apart, so that it shows who keeps to their acknowledgements, and who
// happens to send as often.
func (p *pacer) close(now time.Time) {
	p.closed = now
	const golden = 0.6180339887498949 // no part of it repeats soon
	_, p.part = math.Modf(p.part + golden)
}

// due returns when the group is to be closed, if nothing more comes; a time that has passed is now. wait is what the budget wants
// between two groups.
func (p *pacer) due(g gathered, wait time.Duration) time.Time {
	at := later(soon(g.first, g.newest), p.closed.Add(wait-time.Duration(0.3*p.part*float64(wait))))
	if !g.silent.IsZero() {
		at = earlier(at, g.silent)
	}
	if g.stalled.IsZero() {
		return at
	}
	stalled := g.stalled
	if !g.alone { // who sends at the same time has a place, as without a budget
		stalled = soon(g.stalled, later(g.newest, g.stalled))
	}
	return earlier(at, stalled)
}

// soon is when a group is closed that waits for nobody.
func soon(first, newest time.Time) time.Time {
	return earlier(newest.Add(soonIdle), first.Add(soonMost))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
