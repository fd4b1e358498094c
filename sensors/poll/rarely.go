package poll

import "time"

// What goes on is told at once, then after a minute, and then ever more seldom.
const (
	leastBetween = time.Minute
	mostBetween  = 24 * time.Hour
)

// Rarely says when to tell of what may go on for years: each time is an entry. Its zero value is that of nothing told.
type Rarely struct {
	told    time.Time
	between time.Duration
}

// Due is when it may be told again; zero: at once.
func (r *Rarely) Due() time.Time {
	if r.told.IsZero() {
		return r.told
	}
	return r.told.Add(r.between)
}

// Tell reports whether it may be told now, and if so, that is noted. After a time without anything it begins anew.
func (r *Rarely) Tell() bool {
	now := time.Now()
	if now.Before(r.Due()) {
		return false
	}
	if r.told.IsZero() || now.Sub(r.told) > 2*r.between {
		r.between = leastBetween
	} else {
		r.between = min(2*r.between, mostBetween)
	}
	r.told = now
	return true
}
