package recorder

import (
	"sync"
	"time"
)

// What a day's budget is spent by.
const (
	// page is what a device writes at least for each sync, and what it rounds up to.
	page = 4096
	// purseParts is into how many parts a day's budget is cut: one is what may be saved up, and spent at once; the others come
	// in evenly. So no 24 hours see more than the budget, wherever they begin.
	purseParts = 96
	// rich is the part of what may be saved up from which on groups wait for nothing. A program that begins has as much.
	rich = 0.5
	// MostWait is between two groups where there is nothing left. A message after a quiet second waits for nothing, then.
	MostWait = time.Second
	// metered is how often it is looked at what was written: to ask the store costs more than a small group.
	metered = time.Second
)

// What was written in a day is told over rateWindow, in parts of which the oldest one is dropped as a new one begins, once it was
// counted for rateLeast.
const (
	rateWindow = 24 * time.Hour
	rateParts  = 24
	ratePart   = rateWindow / rateParts
	rateLeast  = 10 * time.Minute
)

// stored is what a store says that it wrote since it was opened.
type stored struct{ Log, Tables uint64 }

// budget is how much may be written to the card, and how much was. It is a bucket that fills evenly: see [budget.wait] for what
// its level is good for.
type budget struct {
	written func() stored

	mu      sync.Mutex
	perDay  uint64    // 0: no limit
	level   float64   // bytes that may be written by now
	at      time.Time // up to when that is known
	last    stored    // as it was then
	syncs   uint64    // since then
	beside  uint64    // bytes, since then, that the store does not count
	perSync float64   // bytes that the log takes for a group, its pages included, on average

	began time.Time
	total uint64            // bytes written since then
	parts [rateParts]uint64 // of these, by the time since then
	part  int64             // number of the part that was counted in last; number n has the place n % rateParts
}

func newBudget(perDay uint64, now time.Time, written func() stored) *budget {
	b := &budget{written: written, perDay: perDay, at: now, began: now, perSync: page, last: written()}
	b.level = rich * b.most()
	return b
}

// most is how much may be saved up.
func (b *budget) most() float64 { return float64(b.perDay) / purseParts }

// rate is by how many bytes a second the level rises.
func (b *budget) rate() float64 { return (float64(b.perDay) - b.most()) / rateWindow.Seconds() }

// set brings another budget into force; what was saved up stays as much of it as it was.
func (b *budget) set(perDay uint64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.meter(now)
	saved := rich
	if b.perDay > 0 {
		saved = b.level / b.most()
	}
	b.perDay = perDay
	b.level = saved * b.most()
}

// synced counts a sync, and bytes that were written with it and are not the store's to count.
func (b *budget) synced(beside uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.syncs++
	b.beside += beside
}

// meter charges what was written since it was called last, and lets the level rise. Under b.mu.
func (b *budget) meter(now time.Time) {
	passed := now.Sub(b.at)
	if passed < -metered { // a clock was set back, see untilPast
		b.at = now
	}
	if passed <= 0 {
		return
	}
	is := b.written()
	log := grown(b.last.Log, is.Log) + float64(b.syncs*page)
	spent := log + grown(b.last.Tables, is.Tables) + float64(b.beside)
	if b.syncs > 0 {
		b.perSync += (log/float64(b.syncs) - b.perSync) / 8
	}
	b.level = min(max(b.level+b.rate()*passed.Seconds()-spent, 0), b.most())
	b.at, b.last, b.syncs, b.beside = now, is, 0, 0
	b.turn(now)
	b.parts[b.part%rateParts] += uint64(spent)
	b.total += uint64(spent)
}

// grown is by how much a count has grown; one that began anew has grown by what it is.
func grown(was, is uint64) float64 {
	if is < was {
		return float64(is)
	}
	return float64(is - was)
}

// turn empties the parts that were passed since.
func (b *budget) turn(now time.Time) {
	part := int64(now.Sub(b.began) / ratePart)
	for n := b.part + 1; n <= part && n <= b.part+rateParts; n++ {
		b.parts[n%rateParts] = 0
	}
	b.part = max(b.part, part)
}

// wait returns how long after one group the next one is closed. As long as half of what can be saved up is there, that is at
// once; below it rises, from as often as the budget bears at a quarter, until nothing is left.
func (b *budget) wait(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if since := now.Sub(b.at); since >= metered || since < -metered {
		b.meter(now)
	}
	return b.between()
}

func (b *budget) between() time.Duration {
	if b.perDay == 0 {
		return 0
	}
	saved := b.level / b.most()
	if saved >= rich {
		return 0
	}
	wait := b.perSync / b.rate() * (rich - saved) / max(saved, 1e-9) // seconds
	return time.Duration(min(wait, MostWait.Seconds()) * float64(time.Second))
}

// Spending is what the card suffers, and what it may.
type Spending struct {
	PerDay  uint64        // the budget; 0: there is none
	Rate    float64       // bytes written a day, over the last day or what there is of it; 0: not known yet
	Over    float64       // bytes by which the rate exceeds the budget, what may be saved up allowed for
	Total   uint64        // bytes written since the start
	PerSync float64       // bytes that a group takes in the log, its pages included, on average
	Wait    time.Duration // between two groups, now
	Fixed   bool          // the configuration says how long groups wait: the budget has no say
	Limited []Limited     // those for whom groups are closed earlier
}

// Limited is somebody who sends no more before he has acknowledgements.
type Limited struct {
	Sender string // as an entry's source names it, without what comes behind: "mqtt:plant", "broker:user/client"; newcomers of a user are "broker:user"
	Window int    // how many messages he sends ahead of them
}

func (b *budget) spending(now time.Time) Spending {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.meter(now)
	s := Spending{PerDay: b.perDay, Total: b.total, PerSync: b.perSync, Wait: b.between()}
	ran := now.Sub(b.began)
	if ran < rateLeast {
		return s
	}
	window := min(ran, rateWindow)
	if ran >= rateWindow { // the newest part has only begun: what it lacks the window does not have either
		window += ran%ratePart - ratePart
	}
	var sum uint64
	for _, n := range b.parts {
		sum += n
	}
	days := window.Seconds() / rateWindow.Seconds()
	s.Rate = float64(sum) / days
	if b.perDay > 0 {
		s.Over = max(0, (float64(sum)-b.most()-days*(float64(b.perDay)-b.most()))/days)
	}
	return s
}
