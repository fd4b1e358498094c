package api

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
)

// Devices is which devices were heard, and what each of their readings was last.
type Devices struct {
	Since   time.Time `json:"since"` // what arrived at this time or later was looked at
	Now     time.Time `json:"now"`   // by the gateway's clock, from which ages are counted
	Running bool      `json:"running"`
	Devices []Device  `json:"devices"` // in the order of their names
	More    bool      `json:"more"`    // there are more readings than MostReadings: these arrived last
	Gone    []string  `json:"gone"`    // what could not be read, and may have held newer ones
	// Before this time entries were deleted, where Since is earlier.
	HeldSince time.Time `json:"held_since,omitzero"`
}

// Device is one of them. Late is judged by a running agent alone.
type Device struct {
	Name     string        `json:"device"`
	Late     bool          `json:"late"`       // silent for longer than its own rhythm explains
	Heard    time.Time     `json:"last_heard"` // when its newest message arrived
	Usual    float64       `json:"usual_seconds,omitempty"`
	Readings []LastReading `json:"readings"` // none where it was not heard since that time, and is late
}

// LastReading is what one reading of a device was last.
type LastReading struct {
	Reading
	Quality  []string  `json:"quality"`
	Time     time.Time `json:"time"` // when it was measured,
	ByDevice bool      `json:"time_by_device"`
	Age      float64   `json:"age_seconds"` // and how long ago
	Received time.Time `json:"received"`
	Number   uint64    `json:"number"` // of its entry
	Sealed   bool      `json:"sealed"`
}

// MostReadings is how many readings a list of devices has at most.
const MostReadings = 10_000

// devicesSpan is how far back devices are looked for where nobody says it. Of one that is silent for longer only the list of those
// that are late tells.
const devicesSpan = 7 * 24 * time.Hour

func (s *Server) devices(w http.ResponseWriter, r *http.Request) {
	q := &question{values: r.URL.Query()}
	now := time.Now()
	since := number(q, "since", now.Add(-devicesSpan).UnixNano())
	if q.err != nil {
		fail(w, q.err)
		return
	}
	query := store.LatestQuery{Since: since, Most: MostReadings, Done: r.Context().Done()}
	matches := func(string) bool { return true }
	if pattern := q.values.Get("device"); pattern != "" {
		matches = func(device string) bool { return matchesPattern(pattern, device) }
		query.Of = matches
		if !strings.ContainsAny(pattern, "*?") {
			query.Device = pattern
		}
	}
	latest, err := s.Chain.Latest(query)
	if err == nil && r.Context().Err() != nil {
		err = errors.New(cutOff)
	}
	if err != nil {
		fail(w, err)
		return
	}
	all := Devices{Since: lighttime.Instant(since), Now: now.UTC(), Devices: []Device{}, More: latest.More, Gone: s.setBack(), HeldSince: s.heldSince(since)}
	for _, err := range latest.Gone {
		all.Gone = append(all.Gone, err.Error())
	}
	byName := map[string]*Device{}
	for i := range latest.Series {
		n := &latest.Series[i]
		d := deviceOf(byName, n.Reading.Device)
		d.Readings = append(d.Readings, lastReading(n, now))
		if received := lighttime.Instant(n.Received); received.After(d.Heard) {
			d.Heard = received
		}
	}
	if s.Status != nil {
		if status := s.Status(); status.Live != nil {
			all.Running = true
			for _, late := range status.Live.Late {
				if matches(late.Name) {
					d := deviceOf(byName, late.Name)
					d.Late, d.Heard, d.Usual = true, late.Last.UTC(), late.Usual
				}
			}
		}
	}
	for _, d := range byName {
		slices.SortFunc(d.Readings, func(a, b LastReading) int { return cmp.Compare(a.Name, b.Name) })
		all.Devices = append(all.Devices, *d)
	}
	slices.SortFunc(all.Devices, func(a, b Device) int { return cmp.Compare(a.Name, b.Name) })
	answer(w, all)
}

func deviceOf(all map[string]*Device, name string) *Device {
	if all[name] == nil {
		all[name] = &Device{Name: name, Readings: []LastReading{}}
	}
	return all[name]
}

func lastReading(n *store.Newest, now time.Time) LastReading {
	r := &n.Reading
	l := LastReading{
		Reading: newReading(r), Quality: []string{}, Time: lighttime.Instant(n.Measured), ByDevice: r.Timed && r.Quality&lightchain.Bad == 0,
		Age: float64(now.UnixNano()-n.Measured) / 1e9, Received: lighttime.Instant(n.Received), Number: n.Number, Sealed: n.Sealed,
	}
	l.Quality = append(l.Quality, l.Reading.Quality...)
	return l
}

// setBack says which blocks at its end a chain that is read as it lies does not have; empty where it has them.
func (s *Server) setBack() []string {
	if b := s.Chain.SetBack(); b != nil {
		return []string{b.String()}
	}
	return []string{}
}

// heldSince returns when the newest of the blocks was sealed whose entries were deleted, where that was after a time; else zero.
func (s *Server) heldSince(since int64) (t time.Time) {
	oldest, err := s.Chain.OldestBlock()
	if err != nil || oldest <= 1 {
		return t
	}
	if h, err := s.Chain.HeaderAt(oldest - 1); err == nil && h.Sealed > since {
		t = lighttime.Instant(h.Sealed)
	}
	return t
}

// matchesPattern reports whether the whole of a name is like a pattern: * stands for any characters, slashes among them, ? for one.
func matchesPattern(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	star, again := -1, 0 // the last * so far, and from where it is tried to stand for one character more
	at := 0
	for i := 0; i < len(n); {
		switch {
		case at < len(p) && p[at] == '*':
			star, again = at, i
			at++
		case at < len(p) && (p[at] == '?' || p[at] == n[i]):
			at++
			i++
		case star >= 0:
			again++
			at, i = star+1, again
		default:
			return false
		}
	}
	for at < len(p) && p[at] == '*' {
		at++
	}
	return at == len(p)
}
