package mqttsource

import (
	"context"
	"math"
	"strconv"
	"time"

	"edgechain.example/mqttconn"
)

// Where Mosquitto says which version it is and how many messages it dropped since it started, for any of its clients,
// because a queue was full. Other brokers have other topics, or none.
const (
	topicVersion = "$SYS/broker/version"
	topicDropped = "$SYS/broker/publish/messages/dropped"
)

// reportInterval is the least time between two reports of messages lost for one reason, each of which may become an entry.
const reportInterval = time.Minute

// report gathers messages that are lost. All of it is under Source.mu.
type report struct {
	pending int64     // lost and not yet reported
	told    time.Time // when the last report was made, for spacing them
}

// rest is how long a report that is pending has to wait; 0: it has not, or there is none.
func (r *report) rest() time.Duration {
	if r.pending == 0 || r.told.IsZero() {
		return 0
	}
	return max(0, reportInterval-time.Since(r.told))
}

// take returns how many are to be reported now, of those that are pending.
func (r *report) take(last bool) (n int64) {
	if r.pending == 0 || !last && r.rest() > 0 {
		return 0
	}
	n, r.pending, r.told = r.pending, 0, time.Now()
	return n
}

// drops follows the broker's counter of dropped messages. All of it is under Source.mu.
type drops struct {
	known bool // last is the counter's value
	last  int64
	report
	asking  bool // the subscription is sent and not yet answered
	never   bool // it once cost us the connection
	version string
}

// watchDrops subscribes to the counter. Some brokers close the connection of a client that subscribes where it may
// not read, so it is done last, and not again if the connection ends over it.
func (l *link) watchDrops(ctx context.Context) error {
	s := l.source
	s.mu.Lock()
	skip := s.cfg.IgnoreDrops || s.drops.never
	s.drops.asking = !skip
	s.mu.Unlock()
	if skip {
		return nil
	}
	granted, err := l.ask(ctx, map[string]byte{topicVersion: 0, topicDropped: 0})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.drops.never = ctx.Err() == nil
		return err
	}
	s.drops.asking = false
	if granted[topicDropped] == mqttconn.Refusal {
		s.log.Info("the broker does not let this user read how many messages it dropped", "topic", topicDropped)
	}
	return nil
}

// watched looks at a message of the broker's about itself, and reports whether it is one.
func (s *Source) watched(topic string, payload []byte) bool {
	switch topic {
	case topicVersion:
		s.mu.Lock()
		defer s.mu.Unlock()
		if v := string(payload); v != s.drops.version && len(v) < 100 {
			s.drops.version = v
			s.log.Info("the broker says what it is", "version", v)
		}
		return true
	case topicDropped:
		if n, err := strconv.ParseInt(string(payload), 10, 64); err == nil && n >= 0 {
			s.dropped(n)
			s.tellDrops(false)
		}
		return true
	}
	return false
}

// dropped takes in the counter's value.
func (s *Source) dropped(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.drops
	// What was dropped before this program ran cannot be told from what others lost long ago.
	if w.known {
		rise := n - w.last
		if rise < 0 {
			rise = n // a counter that fell is that of a broker that started again
		}
		w.pending += rise
		s.stats.Dropped += rise
	}
	w.known, w.last = true, n
}

// tellLate reports what was lost within a minute of a report when the minute is over, whether or not more is, until ctx ends.
func (s *Source) tellLate(ctx context.Context) {
	for {
		select {
		case <-s.late:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		rest := s.drops.rest()
		if other := s.exceeded.rest(); rest == 0 || other > 0 && other < rest {
			rest = other
		}
		s.mu.Unlock()
		select {
		case <-time.After(rest):
			s.tellDrops(false)
			s.tellExceeded(false)
		case <-ctx.Done():
			return // the last report has it
		}
	}
}

// tellDrops reports what the broker dropped, unless it did so a moment ago: then tellLate does it, or the last report.
func (s *Source) tellDrops(last bool) {
	s.tell(&s.drops.report, last, s.broker.Status().Server+" reports that it dropped this many messages for its clients, of which "+
		"this is one; raise max_queued_messages and max_inflight_messages there")
}

// tellExceeded does the same for what came with QoS 0 beyond the rate.
func (s *Source) tellExceeded(last bool) {
	s.tell(&s.exceeded, last, "they came with QoS 0 beyond the rate that the configuration allows this source")
}

func (s *Source) tell(r *report, last bool, why string) {
	s.mu.Lock()
	n := r.take(last)
	waits := r.pending > 0
	s.mu.Unlock()
	if n > 0 {
		s.lose(int(min(n, math.MaxInt32)), why)
	}
	if waits {
		notify(s.late)
	}
}
