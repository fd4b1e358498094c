package headersync

import "time"

// bucket lets through what comes at a bounded rate: burst at once, then one each interval.
type bucket struct {
	interval time.Duration
	burst    int
	full     time.Time // when the bucket would be full again
}

// take reports whether one more is let through now.
func (b *bucket) take(now time.Time) bool {
	from := b.full
	if from.Before(now) {
		from = now
	}
	if from.Sub(now) > time.Duration(b.burst-1)*b.interval {
		return false
	}
	b.full = from.Add(b.interval)
	return true
}

// ready reports whether take would let one through now.
func (b *bucket) ready(now time.Time) bool {
	return b.full.Sub(now) <= time.Duration(b.burst-1)*b.interval
}

// backoff grows from least to most, doubling with each failure.
type backoff struct {
	least, most time.Duration
	failures    int
}

// next returns how long to wait after one more failure.
func (b *backoff) next() time.Duration {
	wait := b.least << min(b.failures, 20)
	if wait > b.most || wait <= 0 {
		wait = b.most
	}
	b.failures++
	return wait
}

func (b *backoff) reset() { b.failures = 0 }

// Spent counts bytes within one day, UTC.
type Spent struct {
	Day   int64  `cbor:"1,keyasint"` // days since the Unix epoch
	Bytes uint64 `cbor:"2,keyasint"`
}

// perMessage is what a message costs beside topic and payload: MQTT's and TCP's headers, and the acknowledgement.
const perMessage = 100

// cost returns the bytes that a message takes on the wire, all told, roughly.
func cost(topic string, payload []byte) uint64 { return uint64(len(topic) + len(payload) + perMessage) }

// add counts n bytes at now, and begins anew on another day. A clock that went back by days begins anew too: that costs
// at most a day's budget more.
func (s *Spent) add(now time.Time, n uint64) {
	if !s.on(now) {
		*s = Spent{Day: now.Unix() / 86400}
	}
	s.Bytes += n
}

// on reports whether what is counted is of the day that it is now. About midnight somebody whose clock is ahead may have begun
// the next day already.
func (s *Spent) on(now time.Time) bool {
	day := now.Unix() / 86400
	return day == s.Day || day == s.Day-1
}

// tomorrow returns when the next day begins, UTC.
func tomorrow(now time.Time) time.Time { return time.Unix((now.Unix()/86400+1)*86400, 0) }

// left returns what is left of the day's budget; 0 is no limit.
func (s *Spent) left(now time.Time, budget uint64) uint64 {
	if budget == 0 {
		return 1 << 62
	}
	if !s.on(now) {
		return budget
	}
	if s.Bytes >= budget {
		return 0
	}
	return budget - s.Bytes
}
