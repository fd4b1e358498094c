package store

import (
	"errors"
	"math"
	"time"

	"edgechain.example/lightchain"
)

// LatestQuery says of which devices the newest readings are wanted.
type LatestQuery struct {
	Device string                   // this one alone; "" any
	Of     func(device string) bool // of those that it says yes to; nil: all
	Since  int64                    // that arrived at this time or later, nanoseconds since the Unix epoch
	Most   int                      // how many series to find: those that arrived last; 0: all

	Done <-chan struct{} // as in [Query]
}

// Newest is the newest reading of one device and name.
type Newest struct {
	Number   uint64
	Sealed   bool
	Received int64 // nanoseconds since the Unix epoch, as all times
	Measured int64 // see [MeasuredAt]
	Reading  lightchain.Reading
}

// Latest is what was found.
type Latest struct {
	Series []Newest // in no order
	More   bool     // there are more than were asked for
	Gone   []error  // what could not be read of where they may have been, see [Gone]
}

// latestSpan is how long before the reading of a series that arrived last another one may have arrived and be measured later: what a
// device has stored, and sends while it measures on, comes among the new. A longer span would have a series whose device tells
// a time that stands still searched for to the end.
const latestSpan = int64(time.Hour)

// mostHashes is how many series are remembered to be known. Those beyond are looked for in every block.
const mostHashes = 1 << 16

// Latest returns the newest reading of each series, the one measured last. It goes back from the newest block, and looks only into
// those of which a summary lists a series that is not known yet, or could be newer there; where all have been found it reads
// summaries alone. Two series with one hash pass for one: then of the one that is silent longer a reading may be missing.
func (r *Reader) Latest(q LatestQuery) (Latest, error) {
	l := &latest{q: q, series: map[[2]string]*Newest{}, known: map[uint32]arrival{}}
	l.f = &finder{
		r: r, q: Query{Received: true, Reverse: true, Done: q.Done}, at: r.view(), times: span{q.Since, math.MaxInt64},
		yield: l.take, worth: l.worth,
	}
	if l.f.to = l.f.at.next; l.f.to > 0 {
		l.f.run()
	}
	for _, n := range l.series {
		l.found.Series = append(l.found.Series, *n)
	}
	return l.found, l.err
}

// arrival is when the reading of a series arrived that came last, and when its newest was measured.
type arrival struct{ received, measured int64 }

// known is what a hash has that says nothing about time: that of a device, of a name, of a source.
var known = arrival{math.MaxInt64, math.MaxInt64}

type latest struct {
	q      LatestQuery
	f      *finder
	series map[[2]string]*Newest
	known  map[uint32]arrival // of devices that are not wanted, too
	found  Latest
	err    error
}

// worth tells whether blocks with this summary may hold what is not known yet.
func (l *latest) worth(s summary) bool {
	if s.any {
		return true
	}
	if l.q.Device != "" {
		if _, there := s.series[seriesHash(seriesDevice, l.q.Device, "")]; !there {
			return false
		}
	}
	newest := max(s.received.max, s.measured.max)
	for hash := range s.series {
		a, found := l.known[hash]
		if !found || newest > a.measured && s.received.max >= a.received-latestSpan {
			return true
		}
	}
	return false
}

// take takes in one match of the search; it is false where no more is wanted.
func (l *latest) take(m Match, err error) bool {
	switch {
	case err == nil:
	case errors.Is(err, ErrPruned), errors.Is(err, ErrNotHeld), errors.Is(err, ErrDamaged):
		l.found.Gone = append(l.found.Gone, err)
		return true
	default:
		l.err = err
		return false
	}
	e := &m.Entry
	if e.Flags&lightchain.ByAgent != 0 {
		l.remember(seriesHash(seriesSource, e.Source, ""), known)
	}
	if m.Reading < 0 {
		return true
	}
	reading := &e.Readings[m.Reading]
	l.remember(seriesHash(seriesDevice, reading.Device, ""), known)
	l.remember(seriesHash(seriesName, reading.Name, ""), known)
	pair := seriesHash(seriesPair, reading.Device, reading.Name)
	if l.q.Device != "" && l.q.Device != reading.Device || l.q.Of != nil && !l.q.Of(reading.Device) {
		l.remember(pair, known)
		return true
	}
	of := [2]string{reading.Device, reading.Name}
	measured := MeasuredAt(e, reading)
	n := l.series[of]
	switch {
	case n == nil && l.q.Most > 0 && len(l.series) == l.q.Most:
		l.found.More = true
		return false
	case n == nil:
		n = &Newest{}
		l.series[of] = n
		delete(l.known, pair) // that of another name, maybe
		l.remember(pair, arrival{e.Received, measured})
	case measured <= n.Measured || e.Received < l.known[pair].received-latestSpan:
		return true
	default:
		if a, found := l.known[pair]; found {
			l.known[pair] = arrival{a.received, measured}
		}
	}
	*n = Newest{m.Number, m.Sealed, e.Received, measured, *reading}
	return true
}

func (l *latest) remember(hash uint32, a arrival) {
	if _, found := l.known[hash]; !found && len(l.known) < mostHashes {
		l.known[hash] = a
	}
}
