package api

import (
	"io"
	"net/http"

	"edgechain/lightchain"
)

// What only a running agent does.

// Reloaded is a configuration in force.
type Reloaded struct {
	Waiting []string `json:"waiting,omitempty"` // keys whose changes wait for the next start
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
	waiting, err := s.Reload()
	if err != nil {
		fail(w, &wrongQuestion{err})
		return
	}
	answer(w, Reloaded{waiting})
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
