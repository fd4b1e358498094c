package mqttsource

// verdict is what the gate shall do next about a PUBLISH.
type verdict byte

const (
	letPass verdict = iota
	answerPing
	discard
)

// admit waits until there is room for a PUBLISH, and reserves it. It returns early when paho's ping is to be answered.
func (l *link) admit(h *publish) (verdict, error) {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case l.closed:
			return 0, errClosed
		case l.ending:
			if h.first&6 == 0 {
				s.stats.Lost++
			}
			return discard, nil
		case !s.stopping && (s.reserved == 0 || s.reserved+h.size <= s.cfg.QueueBytes):
			s.reserved += h.size
			l.taking = h.size
			l.paused, l.slow = false, false
			return letPass, nil
		case l.pinged:
			l.pinged = false
			s.stats.PingsCovered++
			if !l.slow && !s.stopping {
				l.slow = true
				s.log.Warn("what has arrived is not yet on disk, so nothing is read from the broker, for longer than a keep-alive by now",
					"queued_bytes", s.reserved, "unacknowledged", len(s.unacked))
			}
			return answerPing, nil
		}
		if !l.paused {
			l.paused = true
			s.stats.Pauses++
		}
		s.room.Wait()
	}
}

// giveUp gives back what was reserved for a PUBLISH that is none.
func (l *link) giveUp(h *publish) {
	l.source.mu.Lock()
	defer l.source.mu.Unlock()
	l.taking = 0
	l.source.release(h.size)
}

// cover reports whether a ping of paho's waits for an answer, and takes it for answered.
func (l *link) cover() bool {
	l.source.mu.Lock()
	defer l.source.mu.Unlock()
	was := l.pinged
	l.pinged = false
	return was
}

func (l *link) pinging() {
	l.source.mu.Lock()
	defer l.source.mu.Unlock()
	l.pinged = true
	l.source.room.Broadcast()
}

func (l *link) ponged() {
	l.source.mu.Lock()
	defer l.source.mu.Unlock()
	l.pinged = false
}

// release gives back what admit reserved. Under s.mu.
func (s *Source) release(size int) {
	s.reserved -= size
	s.room.Broadcast()
}
