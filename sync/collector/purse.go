package collector

import (
	"slices"
	"time"

	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// purse keeps a gateway's budget of bytes for a day, UTC: what an answer may cost at most is counted when it is asked
// for, and what it did not cost is given back.
//
// A page that does not come in time may come late: a broker keeps the pull for a gateway that is away. So what was
// reserved for it stays counted until the page is there, or cannot come any more: a gateway answers no pull below one that
// it has answered, and no page is on its way for longer than [givenUpAfter].
type purse struct {
	spent pace.Spent
	asked []asked // oldest first
	late  int64   // the day on which a page came that had been given up: nothing more is given up on it
}

// asked is a pull of which a page may come.
type asked struct {
	sequence uint64
	reserved uint64    // 0: given back
	most     uint64    // bytes that its page may have, and some
	day      int64     // on which it was counted
	passed   time.Time // when a later pull was answered; zero: none was
	came     bool
}

const (
	givenUpAfter = 15 * time.Minute
	mostAsked    = 32 // the oldest beyond these stay counted
	mostCame     = 3  // of those whose page came, in case it comes twice
)

// reserve counts what the answer to a pull may cost.
func (p *purse) reserve(now time.Time, sequence, bytes uint64) {
	p.spent.Add(now, bytes)
	// A slice of its own each time, lest what is gone takes room for each of very many chains.
	kept, came := make([]asked, 0, 4), 0
	for _, a := range slices.Backward(p.asked) {
		if a.came {
			came++
		}
		if len(kept) < mostAsked-1 && (!a.came || came <= mostCame) {
			kept = append(kept, a)
		}
	}
	slices.Reverse(kept)
	p.asked = append(kept, asked{sequence: sequence, reserved: bytes, most: bytes, day: p.spent.Day})
}

// knows reports whether a pull is one of the last.
func (p *purse) knows(sequence uint64) bool {
	return slices.ContainsFunc(p.asked, func(a asked) bool { return a.sequence == sequence })
}

// awaits reports whether a page of so many bytes may be the answer to a pull, and whether it is the first.
func (p *purse) awaits(sequence, bytes uint64) (asked, first bool) {
	for i := range p.asked {
		if a := &p.asked[i]; a.sequence == sequence {
			return bytes <= max(a.most, headersync.MinPage), !a.came
		}
	}
	return false, false
}

// arrived counts what a page did cost; proved says that the chain's keys vouch for it. Pages that nobody asked for count
// only then, and two for one pull: others on the broker may repeat them.
func (p *purse) arrived(now time.Time, sequence, bytes uint64, proved bool) {
	i := slices.IndexFunc(p.asked, func(a asked) bool { return a.sequence == sequence })
	if i < 0 {
		if proved {
			p.spent.Add(now, bytes)
		}
		return
	}
	p.spent.Add(now, bytes)
	switch a := &p.asked[i]; {
	case a.came:
		p.asked = slices.Delete(p.asked, i, i+1)
	case a.reserved == 0:
		a.came, p.late = true, p.spent.Day
	default:
		p.giveBack(a)
		a.came = true
	}
	if proved {
		for i := range p.asked {
			if a := &p.asked[i]; a.sequence < sequence && a.passed.IsZero() {
				a.passed = now
			}
		}
	}
}

func (p *purse) giveBack(a *asked) {
	if a.day == p.spent.Day {
		p.spent.Bytes -= min(p.spent.Bytes, a.reserved)
	}
	a.reserved = 0
}

// left returns what is left of the day's budget; 0 is no limit.
func (p *purse) left(now time.Time, budget uint64) uint64 {
	p.spent.Add(now, 0)
	for i := range p.asked {
		if a := &p.asked[i]; !a.passed.IsZero() && now.Sub(a.passed) >= givenUpAfter && p.late != p.spent.Day {
			p.giveBack(a)
		}
	}
	return p.spent.Left(now, budget)
}
