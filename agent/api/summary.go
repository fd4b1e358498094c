package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
)

// Summary is what the readings of a selection have in common.
type Summary struct {
	Series   []Series  `json:"series"` // in the order of device, name and unit
	Readings uint64    `json:"readings"`
	First    time.Time `json:"first,omitzero"` // when the first of them was measured, or arrived if the question was for that
	Last     time.Time `json:"last,omitzero"`
	Blocks   *Heights  `json:"blocks,omitempty"` // what a bundle must hold to show that none was left out; absent where nothing is sealed
	More     bool      `json:"more"`             // there are more series than MostReadings: of those nothing is said
	Gone     []string  `json:"gone"`             // what could not be read, and may have held more
	// Before this time entries were deleted, where the question reaches further back.
	HeldSince time.Time `json:"held_since,omitzero"`
}

// Heights are blocks one after the other, both ends included: those that hold what arrived in the time that was asked for, and what
// was found, which may have come later.
type Heights struct {
	From     uint64 `json:"from"`
	To       uint64 `json:"to"`
	Unsealed bool   `json:"unsealed"` // some of what was found is in no block yet
}

// Series is all readings of one device, name and unit: no mean is made of numbers with different units.
type Series struct {
	Device     string   `json:"device"`
	Name       string   `json:"name"`
	Unit       string   `json:"unit"`
	Count      uint64   `json:"count"`       // of all,
	Bad        uint64   `json:"bad"`         // of those that are marked bad, which count for nothing else
	NotNumbers uint64   `json:"not_numbers"` // of those that are not, and are no numbers either
	Min        *Point   `json:"min"`         // null where there are no numbers; the earliest of several, and so is Max
	Mean       *float64 `json:"mean"`
	Max        *Point   `json:"max"`
	Last       *Point   `json:"last"` // a number or not; null where all are bad or null
}

// Point is one reading of a series.
type Point struct {
	Value  json.RawMessage `json:"value"`
	Time   time.Time       `json:"time"`
	Number uint64          `json:"number"`  // of its entry,
	Index  int             `json:"reading"` // and which of its readings it is, from 0
	Height uint64          `json:"height"`

	value lightchain.Value
}

// selected reads which entries a question is about.
func (q *question) selected() store.Query {
	return store.Query{
		Device: q.values.Get("device"), Name: q.values.Get("name"), Source: q.values.Get("source"),
		From: number[int64](q, "since", 0), To: number[int64](q, "until", 0), Received: q.flag("received"),
		After: number[uint64](q, "from", 0), Before: number[uint64](q, "to", 0),
		Reverse: q.flag("reverse"),
	}
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	q := &question{values: r.URL.Query()}
	query := q.selected()
	if q.err != nil {
		fail(w, q.err)
		return
	}
	query.Reverse, query.Done = false, r.Context().Done()
	all := summing{series: map[[3]string]*Series{}}
	all.Gone = s.setBack()
	for m, err := range s.Chain.Find(query) {
		switch {
		case err != nil && goneWord(err) == "":
			fail(w, err)
			return
		case err != nil:
			all.Gone = append(all.Gone, err.Error())
		case m.Reading >= 0:
			all.add(&m, query.Received)
		}
	}
	if r.Context().Err() != nil {
		fail(w, errors.New(cutOff))
		return
	}
	all.HeldSince, all.Blocks = s.heldSince(query.From), s.blocksOf(&query, &all)
	answer(w, all.summary())
}

// summing makes a summary of one reading after the other, in the order of their numbers.
type summing struct {
	Summary
	series    map[[3]string]*Series
	low, high uint64 // heights of the readings, the open block's among them
}

func (s *summing) add(m *store.Match, received bool) {
	r := &m.Entry.Readings[m.Reading]
	at := store.MeasuredAt(&m.Entry, r)
	if received {
		at = m.Entry.Received
	}
	of := [3]string{r.Device, r.Name, r.Unit}
	series := s.series[of]
	if series == nil && len(s.series) == MostReadings {
		s.More = true
		return
	}
	if series == nil {
		series = &Series{Device: r.Device, Name: r.Name, Unit: r.Unit}
		s.series[of] = series
	}
	p := Point{Time: lighttime.Instant(at), Number: m.Number, Index: m.Reading, Height: m.Height, value: r.Value}
	if s.Readings == 0 || p.Time.Before(s.First) {
		s.First = p.Time
	}
	if s.Readings == 0 || p.Time.After(s.Last) {
		s.Last = p.Time
	}
	if s.Readings == 0 {
		s.low = m.Height
	}
	s.high = m.Height
	s.Readings++
	series.add(&p, r.Quality&lightchain.Bad != 0)
}

func (s *Series) add(p *Point, bad bool) {
	s.Count++
	if bad {
		s.Bad++
		return
	}
	if p.value.Kind() != lightchain.KindNull && (s.Last == nil || !p.Time.Before(s.Last.Time)) {
		s.Last = p
	}
	number, is := p.value.Float()
	if !is {
		s.NotNumbers++
		return
	}
	if s.Mean == nil {
		s.Mean = new(float64)
	}
	// Added up, large numbers could be beyond what a number holds.
	n := float64(s.Count - s.Bad - s.NotNumbers)
	*s.Mean += number/n - *s.Mean/n
	if s.Min == nil || before(compareNumbers(p.value, s.Min.value), p, s.Min) {
		s.Min = p
	}
	if s.Max == nil || before(compareNumbers(s.Max.value, p.value), p, s.Max) {
		s.Max = p
	}
}

// blocksOf returns the blocks that a question is about.
func (s *Server) blocksOf(q *store.Query, found *summing) *Heights {
	tip := s.Chain.Tip().Height
	if found.Readings == 0 || found.low > tip {
		return nil
	}
	b := Heights{From: min(found.low, s.sealedFrom(q.From, tip)), To: min(found.high, tip), Unsealed: found.high > tip}
	if q.To > 0 {
		b.To = max(b.To, s.sealedFrom(q.To, tip))
	} else {
		b.To = tip
	}
	if oldest, err := s.Chain.OldestBlock(); err == nil && oldest > 1 {
		b.From = max(b.From, oldest)
	}
	return &b
}

// sealedFrom returns the height of the first block that was sealed at a time or later, at most the tip's, as far as the gateway's clock
// did not jump: of what arrived from then on no block below it holds anything.
func (s *Server) sealedFrom(t int64, tip uint64) uint64 {
	return uint64(sort.Search(int(tip), func(height int) bool {
		h, err := s.Chain.HeaderAt(uint64(height))
		return err == nil && h.Sealed >= t
	}))
}

// before tells whether p takes the place of another: by how they compare or, where they are the same, since it was measured earlier.
func before(compared int, p, other *Point) bool {
	return compared < 0 || compared == 0 && p.Time.Before(other.Time)
}

// compareNumbers compares integers by all their digits.
func compareNumbers(a, b lightchain.Value) int {
	if m, is := a.Int(); is {
		if n, is := b.Int(); is {
			return cmp.Compare(m, n)
		}
	}
	x, _ := a.Float()
	y, _ := b.Float()
	return cmp.Compare(x, y)
}

func (s *summing) summary() Summary {
	s.Series = make([]Series, 0, len(s.series))
	for _, series := range s.series {
		for _, p := range [...]*Point{series.Min, series.Max, series.Last} {
			if p == nil || p.Value != nil { // it may be more than one of them
				continue
			}
			var err error
			if p.Value, err = json.Marshal(p.value); err != nil {
				p.Value = json.RawMessage("null")
			}
		}
		s.Series = append(s.Series, *series)
	}
	slices.SortFunc(s.Series, func(a, b Series) int {
		return cmp.Or(strings.Compare(a.Device, b.Device), strings.Compare(a.Name, b.Name), strings.Compare(a.Unit, b.Unit))
	})
	return s.Summary
}
