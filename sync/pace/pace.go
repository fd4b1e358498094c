// Package pace says how often and how much: token buckets, back-off, a day's budget of bytes, times that differ from chain to
// chain.
package pace

import "time"

// Bucket lets through what comes at a bounded rate: burst at once, then one each interval.
type Bucket struct {
	Interval time.Duration
	Burst    int
	full     time.Time // when the bucket would be full again
}

// Take reports whether one more is let through now.
func (b *Bucket) Take(now time.Time) bool {
	from := b.full
	if from.Before(now) {
		from = now
	}
	if from.Sub(now) > time.Duration(b.Burst-1)*b.Interval {
		return false
	}
	b.full = from.Add(b.Interval)
	return true
}

// Ready reports whether take would let one through now.
func (b *Bucket) Ready(now time.Time) bool {
	return b.full.Sub(now) <= time.Duration(b.Burst-1)*b.Interval
}

// Backoff grows from least to most, doubling with each failure.
type Backoff struct {
	Least, Most time.Duration
	Failures    int
}

// Next returns how long to wait after one more failure.
func (b *Backoff) Next() time.Duration {
	wait := b.Least << min(b.Failures, 20)
	if wait > b.Most || wait <= 0 {
		wait = b.Most
	}
	b.Failures++
	return wait
}

func (b *Backoff) Reset() { b.Failures = 0 }

// Spent counts bytes within one day, UTC.
type Spent struct {
	Day   int64  `cbor:"1,keyasint"` // days since the Unix epoch
	Bytes uint64 `cbor:"2,keyasint"`
}

// perMessage is what a message costs beside topic and payload: MQTT's and TCP's headers, and the acknowledgement.
const perMessage = 100

// Cost returns the bytes that a message takes on the wire, all told, roughly.
func Cost(topic string, payload []byte) uint64 { return uint64(len(topic) + len(payload) + perMessage) }

// Add counts n bytes at now, and begins anew on another day. A clock that went back by days begins anew too: that costs
// at most a day's budget more.
func (s *Spent) Add(now time.Time, n uint64) {
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

// Tomorrow returns when the next day begins, UTC.
func Tomorrow(now time.Time) time.Time { return time.Unix((now.Unix()/86400+1)*86400, 0) }

// Left returns what is left of the day's budget; 0 is no limit.
func (s *Spent) Left(now time.Time, budget uint64) uint64 {
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
