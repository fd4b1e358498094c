package recorder

import (
	"maps"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// A sender may have so many messages under way that are not acknowledged, and no more: its window. Mosquitto's is 20 as shipped,
// that of a device that waits for each PUBACK is 1. Nobody says how large it is, so it is learned: whoever has as many under
// way as ever lately, is silent, and goes on as soon as it has an acknowledgement, was kept waiting. Whoever waits until each of
// a number that varies is acknowledged is known otherwise: see [turns].
const (
	// provenBy is how often in a row that has to be seen, so that it is no chance.
	provenBy = 3
	// keptBy is how many answers at least show that they take about as long each, where they take long. The deviation of fewer is chance,
	// and who is taken for limited by it answers as soon as that from then on, whoever he is.
	keptBy = 12
	// exposedBy is how many times as long as it takes to answer the window has to have been full, so that it is no chance that
	// nothing came meanwhile.
	exposedBy = 6
	// refutedBy is how often in a row a sender may not be waiting, until it is believed that its window does not limit it now.
	refutedBy = 8
	// triedEach is of how many times that a window is full one leaves the group open for a while: a sender that sends more then
	// has a larger window, or none.
	triedEach = 64
	// windowKept is how long the most that a sender had under way counts at least.
	windowKept = time.Minute
	// mostDoubt is for how long nothing is concluded at most of a sender that was taken for limited again and again, and was not.
	mostDoubt = 32 * windowKept
	// trip is by how much an answer over a network may be later than another one.
	trip = 20 * time.Millisecond
	// forgotten is after how long without a message nothing of a sender is kept.
	forgotten = 2 * windowKept
	// mostSenders is of how many senders something is kept. Where there are more, as where each message comes with a connection of its
	// own, those go who were silent for a moment, and who finds no place is a newcomer still.
	mostSenders = 4096
)

// sender is one session of somebody who waits for acknowledgements, or all newcomers of one user: sessions with their first message.
type sender struct {
	name     string
	owed     int           // messages that are not acknowledged
	waiting  int           // of these, messages that the committer has not taken
	most     int           // that were owed at once, lately
	before   int           // likewise, in the time before that
	since    time.Time     // when most began to be counted
	last     time.Time     // when its newest message came
	interval time.Duration // between two messages, on average

	acked     time.Time     // when its full window was opened, until the next message; zero: it was not full
	silence   time.Duration // how long nothing had come by then
	exposed   time.Duration // the sum of these
	afterAck  average       // from then to the next message
	afterLast average       // from the message before to the next one
	hits      int           // times in a row that it came at once
	answer    average       // from an acknowledgement to the next message, of these times
	limited   bool          // its window is known to limit it
	gains     int           // times that it went on as soon, since then
	misses    int           // times in a row that it did not
	doubt     time.Duration // for which nothing is concluded, where that was wrong lately
	doubted   time.Time     // until then
	stalls    uint64        // times that it was
	stalled   time.Time     // from when on it waits for the group to be closed; zero: it does not

	turns turns // whether it waits with fewer under way, too
}

// senderOf names the sender in a message's source; "" is nobody who waits for an acknowledgement.
func senderOf(m *sensors.Message) string {
	if m.Flags&(lightchain.QoS0|lightchain.ByAgent) != 0 {
		return ""
	}
	kind, rest, _ := strings.Cut(m.Source, ":")
	name, _, named := strings.Cut(rest, ":")
	if !named {
		return m.Source
	}
	return m.Source[:len(kind)+1+len(name)]
}

// window is how many messages it sends ahead of acknowledgements, as far as that is known: no fewer.
func (s *sender) window() int { return max(s.most, s.before) }

// arrived counts a message.
func (s *sender) arrived(now time.Time) {
	if now.Sub(s.since) >= windowKept {
		was := s.window()
		s.before, s.most, s.since = s.most, s.owed, now
		if s.window() < was { // what was concluded is of another window
			s.forget()
		}
	}
	if !s.acked.IsZero() {
		s.judge(now)
		s.acked = time.Time{}
	}
	s.turns.arrived(now, s.last, s.owed)
	switch gap := now.Sub(s.last); {
	case s.last.IsZero():
	case s.interval == 0:
		s.interval = gap
	default:
		s.interval += (gap - s.interval) / 16
	}
	s.last, s.stalled = now, time.Time{}
	s.owed++
	s.waiting++
	if s.owed > s.window() {
		s.forget()
	}
	s.most = max(s.most, s.owed)
	// While some are on their way to the disk their acknowledgements come by themselves.
	if s.limited && s.waiting >= s.window() {
		s.stalls++
		s.stalled = now
		if s.stalls%triedEach == 0 {
			s.stalled = now.Add(2 * s.interval)
		}
	}
}

// done counts a message that is acknowledged.
func (s *sender) done(now time.Time) {
	full := s.owed == s.window()
	if full {
		s.acked, s.silence = now, now.Sub(s.last)
	}
	s.owed--
	s.turns.done(now, s.last, s.owed, full)
}

// judge draws its conclusion from how soon after an acknowledgement the next message came. Two things show that it had waited for
// that: it came at once, several times in a row; or it never came any earlier in all the time that the window was full, and keeps
// to the acknowledgement rather than to its message before.
func (s *sender) judge(now time.Time) {
	response := now.Sub(s.acked)
	if s.limited {
		s.review(now, response)
		return
	}
	s.exposed += s.silence
	s.afterAck.add(response)
	s.afterLast.add(response + s.silence)
	if now.Before(s.doubted) {
		s.hits = 0
		return
	}
	if 2*response <= s.silence && (s.window() == 1 || 2*s.silence >= 3*s.interval) {
		s.hits++
		s.answer.add(response)
	} else {
		s.hits, s.answer = 0, average{}
	}
	keeps := s.exposed >= exposedBy*s.afterAck.mean && 2*s.afterAck.deviation < s.afterLast.deviation
	switch {
	case s.hits >= provenBy:
	case keeps && s.afterAck.n >= keptBy:
		s.answer = s.afterAck
	default:
		return
	}
	s.limited, s.misses, s.gains = true, 0, 0
}

// forget has nothing be concluded from what was seen so far.
func (s *sender) forget() {
	s.limited, s.hits, s.exposed = false, 0, 0
	s.answer, s.afterAck, s.afterLast = average{}, average{}, average{}
}

// review looks whether a sender that is acknowledged at once goes on as soon as it did while it was kept waiting. One that never
// did only happens to send as often as groups are closed; that will happen again.
func (s *sender) review(now time.Time, response time.Duration) {
	if response <= s.answer.mean*3/2+trip {
		s.misses = 0
		s.gains++
		return
	}
	if s.misses++; s.misses < refutedBy {
		return
	}
	s.forget()
	if s.gains >= 2 {
		s.doubt = 0
		return
	}
	s.doubt = min(max(2*s.doubt, windowKept), mostDoubt)
	s.doubted = now.Add(s.doubt)
}

// average is that of durations, the newest of which count most.
type average struct {
	n               int
	mean, deviation time.Duration
}

func (a *average) add(d time.Duration) {
	if a.n++; a.n == 1 {
		a.mean = d
		return
	}
	part := time.Duration(min(a.n, 8))
	off := d - a.mean
	a.mean += off / part
	a.deviation += (max(off, -off) - a.deviation) / part
}

// arrived tells a message's sender, if it has one, and wakes the committer where that sends no more for now.
func (q *Queue) arrived(m *sensors.Message, now time.Time) *sender {
	name := senderOf(m)
	if name == "" {
		return nil
	}
	s := q.senders[name]
	if s == nil {
		q.sweep(now)
		s = know(q.senders, name, now)
		if user, _, has := strings.Cut(name, "/"); has { // only its further messages are its own
			s = know(q.newcomers, user, now)
		}
	}
	if s == nil {
		return nil
	}
	s.arrived(now)
	if !s.stalled.IsZero() {
		q.stalled = append(q.stalled, s)
		signal(q.full)
	}
	if s.turns.known && s.waiting == 1 {
		q.turning = append(q.turning, s)
		signal(q.full)
	}
	return s
}

// know begins to keep something of a sender, if there is a place.
func know(senders map[string]*sender, name string, now time.Time) *sender {
	s := senders[name]
	if s == nil && len(senders) < mostSenders {
		name = strings.Clone(name)
		s = &sender{name: name, since: now}
		senders[name] = s
	}
	return s
}

// acknowledging tells the senders of messages that their acknowledgements are about to go out. What they answer may be here before
// the last of them did.
func (q *Queue) acknowledging(messages []*sensors.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, m := range messages {
		if s := q.taken[m].sender; s != nil {
			s.done(now)
			if s.turns.known && s.waiting > 0 && s.owed == s.waiting { // what is left may be all that it has
				signal(q.full)
			}
		}
	}
}

// sweep forgets those who sent nothing any more, seldom.
func (q *Queue) sweep(now time.Time) {
	silent := forgotten
	if len(q.senders) >= mostSenders {
		silent = 2 * MostWait
	}
	if now.Sub(q.swept) < silent {
		return
	}
	q.swept = now
	gone := func(_ string, s *sender) bool { return s.owed == 0 && now.Sub(s.last) >= silent }
	maps.DeleteFunc(q.senders, gone)
	maps.DeleteFunc(q.newcomers, gone)
}

// limited returns those whose window limits them, by name.
func (q *Queue) limited() (all []Limited) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, senders := range []map[string]*sender{q.senders, q.newcomers} {
		for _, s := range senders {
			if (s.limited || s.turns.known) && now.Sub(s.last) < windowKept {
				all = append(all, Limited{Sender: s.name, Window: s.window()})
			}
		}
	}
	slices.SortFunc(all, func(a, b Limited) int { return strings.Compare(a.Sender, b.Sender) })
	return all
}

// waits returns what waits for the committer.
func (q *Queue) waits() gathered {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := gathered{messages: len(q.waiting), bytes: q.waitingBytes, first: q.began, newest: q.newest}
	q.sweep(q.newest)
	if slices.ContainsFunc(q.shares, func(s *Share) bool { return len(s.waiters) > 0 }) { // a source reads no more before there is room
		g.stalled, g.alone = q.newest, true
		return g
	}
	for _, s := range q.stalled {
		if !s.stalled.IsZero() && (g.stalled.IsZero() || s.stalled.Before(g.stalled)) {
			g.stalled = s.stalled
		}
	}
	for _, s := range q.turning {
		if at := s.silent(); !at.IsZero() && (g.silent.IsZero() || at.Before(g.silent)) {
			g.silent = at
		}
	}
	g.alone = len(q.senders) == 1
	return g
}
