package agent

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/mqttsource"
)

const sessionsFile = "sessions.json"

// sessions remembers over restarts which brokers keep a session for this gateway, and with which filters, in a small file
// of the data folder. A backup does not take it along: on another board, or after a long while, a broker that knows no
// session has lost nothing that was promised.
type sessions struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	known map[string]heldSession // guarded by mu
}

// heldSession is what a broker keeps for this gateway.
type heldSession struct {
	Kept     bool     `json:"kept"`               // it has granted filters
	Doubtful bool     `json:"doubtful,omitempty"` // and may have forgotten the session since
	Filters  []string `json:"filters,omitempty"`  // that it may hold, in the order of the alphabet

	// Where it is, for whoever has to end it when the configuration names it no more.
	ClientID string            `json:"client_id,omitempty"`
	Servers  []mqttconn.Server `json:"servers,omitempty"` // without user and password
}

// openSessions reads what was noted. Where that cannot be read nothing was.
func openSessions(data string, log *slog.Logger) *sessions {
	s := &sessions{path: filepath.Join(data, sessionsFile), log: log, known: map[string]heldSession{}}
	text, err := readSmall(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s
	}
	if err == nil {
		err = json.Unmarshal(text, &s.known)
	}
	if err != nil || s.known == nil {
		log.Warn("failed to read which brokers kept a session: one that lost it is not noticed at this start, nor a filter given up that was taken out", "file", s.path, "err", err)
		s.known = map[string]heldSession{}
	}
	return s
}

// sessionOf names a session: another client id, or another broker, knows nothing of it. What identifies it may hold a
// password, so only its hash is written down.
func sessionOf(chain lightchain.ChainID, c *mqttconn.Config) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %q %q", chain, c.ClientID, c.Servers))
	return fmt.Sprintf("%s %x", c.Name, h[:8])
}

func (s *sessions) state(name string) mqttsource.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch held := s.known[name]; {
	case !held.Kept:
		return mqttsource.SessionNone
	case held.Doubtful:
		return mqttsource.SessionDoubtful
	}
	return mqttsource.SessionKept
}

// note remembers what is known of a session, durably as far as the disk lets it.
func (s *sessions) note(name string, state mqttsource.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.known[name]
	kept, doubtful := state != mqttsource.SessionNone, state == mqttsource.SessionDoubtful
	if held.Kept != kept || held.Doubtful != doubtful {
		held.Kept, held.Doubtful = kept, doubtful
		s.set(name, held)
	}
}

// at notes where a session is.
func (s *sessions) at(name, clientID string, servers []mqttconn.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, known := s.known[name]
	if known && (held.ClientID != clientID || !slices.Equal(held.Servers, servers)) {
		held.ClientID, held.Servers = clientID, servers
		s.set(name, held)
	}
}

// forget forgets a session that has ended.
func (s *sessions) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.known[name]; known {
		delete(s.known, name)
		if err := s.write(); err != nil {
			s.log.Warn("failed to note that a broker keeps a session no more", "session", name, "err", err)
		}
	}
}

// others returns the sessions that are held beside those given.
func (s *sessions) others(wanted map[string]bool) map[string]heldSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	others := map[string]heldSession{}
	for name, held := range s.known {
		if !wanted[name] && (held.Kept || len(held.Filters) > 0) {
			others[name] = held
		}
	}
	return others
}

// filters returns those that a session may hold.
func (s *sessions) filters(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[name].Filters
}

// hold remembers which filters a session may hold, as [sessions.note] does.
func (s *sessions) hold(name string, filters []string) {
	filters = slices.Sorted(slices.Values(filters))
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.known[name]; !slices.Equal(held.Filters, filters) {
		held.Filters = filters
		s.set(name, held)
	}
}

// set notes what is known of a session. Under s.mu.
func (s *sessions) set(name string, held heldSession) {
	s.known[name] = held
	if err := s.write(); err != nil {
		s.log.Warn("failed to note that a broker keeps a session", "session", name, "err", err)
	}
}

func (s *sessions) write() error {
	text, err := json.Marshal(s.known)
	if err != nil {
		return err
	}
	// Cut off before the rename is durable there is the old note: a session is missed that was lost meanwhile, or a filter is
	// given up again that is gone already; one that was asked for since may stay.
	return replaceSmall(s.path, append(text, '\n'), 0o600, true, s.log)
}
