package agent

import (
	"math"
	"sync"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/sensors"
)

// A rate is told over pulseWindow, in parts of which the oldest one is dropped as a new one begins; by an agent that has not
// run so long, over the time that it has, and a minute at least: what came in its first second says nothing of the next ones.
const (
	pulseLeast  = time.Minute
	pulseWindow = 5 * time.Minute
	pulsePart   = 10 * time.Second
	pulseParts  = int(pulseWindow / pulsePart)
)

// pulses knows of each source when its newest message arrived, and how many came lately. It counts what is on disk.
type pulses struct {
	began time.Time        // the agent's start
	now   func() time.Time // with a monotonic reading: a clock that is stepped makes no silence

	mu    sync.Mutex
	known map[string]*pulse // guarded by mu; by the source's name, which the configuration bounds
}

type pulse struct {
	received time.Time // as the newest message says
	heard    time.Time // when it was on disk
	parts    [pulseParts]uint64
	newest   int64 // number of the part that was counted in last; number n has the place n % pulseParts
}

func newPulses(began time.Time, now func() time.Time) *pulses {
	return &pulses{began: began, now: now, known: map[string]*pulse{}}
}

// heard counts a group of messages that is on disk.
func (p *pulses) heard(group []*sensors.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for _, m := range group {
		name := sourceName(m.Source)
		one := p.known[name]
		if one == nil {
			one = new(pulse)
			p.known[name] = one
		}
		one.turn(p.part(now))
		one.parts[one.newest%int64(pulseParts)]++
		one.received, one.heard = m.Received, now
	}
}

func (p *pulses) part(now time.Time) int64 { return int64(now.Sub(p.began) / pulsePart) }

// turn empties the parts that were passed since.
func (one *pulse) turn(part int64) {
	for n := one.newest + 1; n <= part && n <= one.newest+int64(pulseParts); n++ {
		one.parts[n%int64(pulseParts)] = 0
	}
	one.newest = max(one.newest, part)
}

// show adds what is known of a source to its status.
func (p *pulses) show(s *api.Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	window := min(max(now.Sub(p.began), pulseLeast), pulseWindow)
	s.Window = window.Seconds()
	one := p.known[s.Name]
	if one == nil {
		return
	}
	one.turn(p.part(now))
	var count uint64
	for _, n := range one.parts {
		count += n
	}
	if now.Sub(p.began) >= pulseWindow { // the newest part has only begun: what it lacks the window does not have either
		window += now.Sub(p.began)%pulsePart - pulsePart
	}
	s.Last, s.Silent = one.received, now.Sub(one.heard).Seconds()
	s.PerMinute = math.Round(float64(count)/window.Minutes()*100) / 100
}
