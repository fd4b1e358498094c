package recorder

import "time"

// Some send a number of messages that is another one each time, wait until all of them are acknowledged, and go on with the next:
// no window tells when they wait. They are known by going on at once, again and again, after a silence that their acknowledgements
// ended.
const (
	// turnsBy is how often in a row that has to be seen.
	turnsBy = 5
	// turnsRatio is how many times as long as it takes to answer the silence was, then. Of somebody who keeps to no acknowledgement
	// these end anywhere between two of his messages: one in five looks so, and one in 3,000 of so many in a row.
	turnsRatio = 4
	// turnsPause is how many times as long as between two messages of one turn a silence is.
	turnsPause = 3
	// brokenBy is what it counts that a silence was ended before the acknowledgements. A device may falter once.
	brokenBy = 4
	// heldBy is how often somebody has to be right, until doubts of him are forgotten.
	heldBy = 64
)

// turns is whether a sender sends no more, once it was silent for a moment, before all that it sent is acknowledged.
type turns struct {
	known     bool
	within    time.Duration // between two messages of a turn, on average; nothing, where a turn has only one
	several   bool          // the present turn has more than one
	emptied   time.Time     // when its last message was acknowledged with fewer under way than its window, until the next one; zero: it was not
	told      time.Time     // when its newest acknowledgement went out
	silence   time.Duration // how long nothing had come when it was emptied
	exposed   time.Duration // the sum of these
	afterAck  average       // from then to the next message
	afterLast average       // from the message before to the next one
	hits      int           // times in a row that it came at once
	answer    average       // from an acknowledgement to the next message, of these times
	gains     int           // times that it went on as soon, since it is known
	misses    int           // times that it did not, less those that it did
	doubt     time.Duration // for which nothing is concluded, where that was wrong lately
	doubted   time.Time     // until then
}

// quiet is after how long a silence a turn is over: as without a budget, unless its messages come more slowly.
func (t *turns) quiet() time.Duration { return min(max(soonIdle, 2*t.within), soonMost) }

// arrived looks what a message says that comes while others are owed, or came after the last one was acknowledged.
func (t *turns) arrived(now, last time.Time, owed int) {
	switch gap := now.Sub(last); {
	case last.IsZero():
	case owed == 0:
		if !t.several {
			t.within -= t.within / 8
		}
		t.several = false
		if !t.emptied.IsZero() {
			t.judge(now)
		}
	case t.told.After(last): // it may be an answer
	case t.within > 0 && gap >= max(turnsPause*t.within, soonIdle):
		if !t.known {
			t.hits, t.answer = 0, average{}
		}
		t.miss(now, brokenBy)
		fallthrough
	default:
		t.several = true
		t.within += (gap - t.within) / 8
	}
	t.emptied = time.Time{}
}

// done looks whether a sender that was not acknowledged lately is, with all that it sent. One whose window was full is judged by that.
func (t *turns) done(now, last time.Time, owed int, full bool) {
	t.told = now
	if owed == 0 && !full {
		t.emptied, t.silence = now, now.Sub(last)
	}
}

// judge draws its conclusion from how soon after its last acknowledgement a sender goes on.
func (t *turns) judge(now time.Time) {
	response := now.Sub(t.emptied)
	if t.known {
		if response > t.answer.mean*3/2+trip {
			t.miss(now, 1)
			return
		}
		t.misses = max(0, t.misses-1)
		t.gains++
		return
	}
	if now.Before(t.doubted) {
		return
	}
	t.exposed += t.silence
	t.afterAck.add(response)
	t.afterLast.add(response + t.silence)
	if turnsRatio*response <= t.silence && t.silence >= turnsPause*t.within {
		t.hits++
		t.answer.add(response)
	} else {
		t.hits, t.answer = 0, average{}
	}
	keeps := t.afterAck.n >= keptBy && t.exposed >= exposedBy*t.afterAck.mean &&
		4*t.afterAck.deviation < t.afterAck.mean && 2*t.afterAck.deviation < t.afterLast.deviation
	switch {
	case t.hits >= turnsBy:
	case keeps:
		t.answer = t.afterAck
	default:
		return
	}
	t.known, t.misses, t.gains = true, 0, 0
}

// miss counts against what is known.
func (t *turns) miss(now time.Time, by int) {
	if !t.known {
		return
	}
	if t.misses += by; t.misses < refutedBy {
		return
	}
	if t.gains >= heldBy {
		t.doubt = 0
	}
	t.doubt = min(max(2*t.doubt, windowKept), mostDoubt)
	*t = turns{within: t.within, doubt: t.doubt, doubted: now.Add(t.doubt)}
}

// silent returns when a sender that takes turns has been silent for so long that its turn is over; zero: it does not, or messages of
// it are on their way to the disk, whose acknowledgements it may answer.
func (s *sender) silent() time.Time {
	if !s.turns.known || s.waiting == 0 || s.owed > s.waiting {
		return time.Time{}
	}
	return later(s.last, s.turns.told).Add(s.turns.quiet())
}
