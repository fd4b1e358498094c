package pace

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"edgechain.example/lightchain"
)

// Earliest returns the first of the times that are not zero; zero if none is.
func Earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Spread returns a duration below most, another one for each chain and number.
func Spread(chain lightchain.ChainID, number uint64, most time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write(chain[:])
	h.Write(binary.BigEndian.AppendUint64(nil, number))
	return time.Duration(h.Sum64() % uint64(max(most, 1)))
}

// AfterConnect is how long all that a connection brought back together spread what they send then.
const AfterConnect = 5 * time.Second
