package pace

import (
	"sync"
	"time"
)

// Seldom counts what happens again and again, and has it told once a minute: whoever floods does not flood the log. It may be used
// by many goroutines at once.
type Seldom struct {
	mu    sync.Mutex
	times int       // guarded by mu: since it was told last
	next  time.Time // guarded by mu: not told before
}

// Count counts once more. If that is to be told, times is how often it happened since the last time.
func (s *Seldom) Count() (times int, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times++
	times, now := s.times, time.Now()
	if now.Before(s.next) {
		return times, false
	}
	s.times, s.next = 0, now.Add(time.Minute)
	return times, true
}
