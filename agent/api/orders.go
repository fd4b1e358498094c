package api

import (
	"fmt"
	"io"
	"net/http"

	"edgechain/lightchain"
)

// What only a running agent does.

// Reloaded is a configuration in force.
type Reloaded struct {
	Waiting []string       `json:"waiting,omitempty"` // keys whose changes wait for the next start
	Failing []NotListening `json:"failing,omitempty"` // sources that are tried again
}

// NotListening is a source that cannot listen for the time being.
type NotListening struct {
	Source string `json:"source"`
	Why    string `json:"why"`
}

// String says so in words.
func (n NotListening) String() string {
	return fmt.Sprintf("the source %s cannot listen: %s; it is tried again", n.Source, n.Why)
}

// Checkpoint is a copy of the chain that the caller reads and then removes.
type Checkpoint struct {
	Dir string `json:"dir"`
}

// Rotation is a change of key.
type Rotation struct {
	Key    string `json:"key"`    // the new public key
	Height uint64 `json:"height"` // of the header that commits to it
}

func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) {
	if s.Checkpoint == nil {
		notRunning(w)
		return
	}
	dir, err := s.Checkpoint(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, Checkpoint{dir})
}

func (s *Server) reload(w http.ResponseWriter, _ *http.Request) {
	if s.Reload == nil {
		notRunning(w)
		return
	}
	reloaded, err := s.Reload()
	if err != nil {
		fail(w, &wrongQuestion{err})
		return
	}
	answer(w, reloaded)
}

func (s *Server) rotate(w http.ResponseWriter, r *http.Request) {
	if s.Rotate == nil {
		notRunning(w)
		return
	}
	key, height, err := s.Rotate(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, Rotation{lightchain.FormatPublicKey(key), height})
}

// notRunning answers what only a running agent can do.
func notRunning(w http.ResponseWriter) {
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, `{"error":"the agent does not run"}`)
}
