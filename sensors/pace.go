package sensors

import "time"

// Pace holds what somebody sends to so many messages a second: evenly, after a second's worth at once. Its zero value is that of
// somebody who has sent nothing. It is not safe for concurrent use.
type Pace struct {
	due time.Time // when all that was taken would have come at an even pace
}

// Idle reports whether somebody who has sent nothing would be let do as much.
func (p *Pace) Idle(now time.Time) bool { return !p.due.After(now) }

// Take takes a message if the rate, in messages a second, allows one more now, and returns 0; else it returns how long that is
// from now, above 0, and takes nothing. A rate of 0 or less allows any number.
func (p *Pace) Take(now time.Time, rate int) (wait time.Duration) {
	if rate <= 0 {
		return 0
	}
	each := time.Second / time.Duration(rate)
	most := max(time.Second, each)
	switch { // the second: the clock was set back
	case p.due.Before(now):
		p.due = now
	case p.due.Sub(now) > most:
		p.due = now.Add(most)
	}
	due := p.due.Add(each)
	if wait := due.Sub(now) - most; wait > 0 {
		return wait
	}
	p.due = due
	return 0
}
