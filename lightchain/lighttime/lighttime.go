// Package lighttime gives the times of lightchain as time.Time, in UTC. The evidence itself reads no clock and knows no
// calendar: its times are nanoseconds since the Unix epoch by clocks of gateways and devices, which may be wrong, and whole
// seconds by those of aggregators.
package lighttime

import (
	"time"

	"edgechain.example/lightchain"
)

// Instant returns what a gateway's or a device's clock said: [lightchain.Entry.Received], [lightchain.Header.Sealed],
// [lightchain.Reading.Time].
func Instant(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// year10000 is the second from which RFC 3339 has no text.
const year10000 = 253402300800

// Second returns what an aggregator's clock said, or a bound: whole seconds since the Unix epoch. It is false from the year
// 10000 on, of which a signed receipt may speak and no calendar text does.
func Second(s uint64) (time.Time, bool) {
	if s >= year10000 {
		return time.Time{}, false
	}
	return time.Unix(int64(s), 0).UTC(), true
}

// Measured returns when a device says that it measured; false: it said nothing.
func Measured(r *lightchain.Reading) (time.Time, bool) {
	if !r.Timed {
		return time.Time{}, false
	}
	return Instant(r.Time), true
}

// Bracket returns between which times the block of a proof was closed, by the word of the aggregators whom the verifier
// trusts. A bound that is missing, or beyond the year 9999, is the zero time.
func Bracket(r *lightchain.Report) (notBefore, notAfter time.Time) {
	return bound(r.NotBefore), bound(r.NotAfter)
}

// NotAfter returns when everything in a bundle was closed; the zero time: it is not known.
func NotAfter(r *lightchain.BundleReport) time.Time { return bound(r.NotAfter) }

func bound(s *uint64) time.Time {
	if s == nil {
		return time.Time{}
	}
	t, _ := Second(*s)
	return t
}
