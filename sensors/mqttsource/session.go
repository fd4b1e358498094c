package mqttsource

import (
	"maps"

	"edgechain.example/lightchain"
)

const (
	sessionLost = "the broker knows no session of this client any more: what it kept while the connection was down is lost. " +
		"Was it started again without persistence, or the session thrown away?"
	sessionDoubtful = "nobody knows whether the broker still has the session that it kept for this client: it did not answer an " +
		"earlier connection, which may have begun another one, or one ended before the subscriptions were granted. What came " +
		"before them may be lost. Was the broker started again without persistence?"
)

// recall takes over what was noted of the session.
func (s *Source) recall() {
	if s.cfg.Session == nil {
		return
	}
	noted := s.cfg.Session()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.noted = noted, noted
	if noted == SessionDoubtful {
		s.asking = new(link) // perhaps
	}
}

// begin is called when the broker has accepted, before anything that it sends is seen.
func (l *link) begin(present bool) {
	s := l.source
	s.mu.Lock()
	l.anew = !present
	if !present || s.asking != nil {
		// Another session, or perhaps: its packet ids start anew, and nothing of the old one will come again.
		clear(s.unacked)
	}
	lost := !present && s.kept != SessionNone && s.told == nil // what is lost after it is told when filters are granted
	if lost {
		s.told = l
	}
	s.stats.Connected = true
	s.mu.Unlock()
	if lost {
		s.doubt() // until its filters are granted it holds nothing
		s.lose(0, sessionLost)
	}
}

// doubt notes that the session that the broker kept may be lost. One that was never granted a filter kept nothing.
func (s *Source) doubt() {
	s.mu.Lock()
	if s.kept != SessionNone {
		s.kept = SessionDoubtful
	}
	s.mu.Unlock()
	s.noteSession()
}

// judge ends the doubt, where there is one and the first message is one that came before: a session sends again before it sends
// anything new, and a new session has nothing to send again unless it was asked for filters on an earlier connection. A server
// tells nothing of another one's sessions, nor a shared subscription of this client's. Under s.mu.
func (l *link) judge(d *delivery) {
	s := l.source
	if d.flags&lightchain.Redelivered == 0 {
		l.fresh = true
	}
	if l.fresh || l.anew || s.kept != SessionDoubtful || s.asking != nil && s.asking != l ||
		len(s.cfg.Servers) > 1 || d.sub >= 0 && s.filters[d.sub].Shared {
		return
	}
	s.kept, s.asking, s.told = SessionKept, nil, nil
}

// holds notes that the session holds what the broker granted of the filters.
func (l *link) holds() {
	s := l.source
	s.mu.Lock()
	untold := s.kept == SessionDoubtful && s.told != l
	s.kept, s.asking, s.told = SessionKept, nil, nil
	if untold {
		// What the old session still owes would have come before the filters were granted.
		maps.DeleteFunc(s.unacked, func(_ uint16, d *delivery) bool { return d.ticket.link != l })
	}
	s.mu.Unlock()
	switch {
	case untold && l.anew:
		s.lose(0, sessionLost)
	case untold:
		s.lose(0, sessionDoubtful)
	}
	s.noteSession() // before anything else may be lost with the session
}

// noteSession has noted what is known of the session. It is called from one goroutine at a time.
func (s *Source) noteSession() {
	s.mu.Lock()
	was := s.noted
	s.noted = s.kept
	now := s.noted
	s.mu.Unlock()
	if was != now && s.cfg.NoteSession != nil {
		s.cfg.NoteSession(now)
	}
}
