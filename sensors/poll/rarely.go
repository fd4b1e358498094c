package poll

import "time"

// What goes on is told at once, then after a minute, and then ever more seldom.
const (
	leastBetween = time.Minute
	mostBetween  = 24 * time.Hour
)

// Seldom says when to tell of what may go on for years: each time is an entry. Its zero value is that of nothing told.
type Seldom struct {
	told    time.Time
	between time.Duration
}

// Due is when it may be told again; zero: at once.
func (s *Seldom) Due() time.Time {
	if s.told.IsZero() {
		return s.told
	}
	return s.told.Add(s.between)
}

// Tell reports whether it may be told now, and if so, that is noted. After a time without anything it begins anew.
func (s *Seldom) Tell() bool {
	now := time.Now()
	if now.Before(s.Due()) {
		return false
	}
	if s.told.IsZero() || now.Sub(s.told) > 2*s.between {
		s.between = leastBetween
	} else {
		s.between = min(2*s.between, mostBetween)
	}
	s.told = now
	return true
}
