package api

import (
	"fmt"
	"io"
	"net/http"

	"edgechain.example/lightchain"
)

// What only a running agent does.

// Reloaded is what a reload has done, or would do.
type Reloaded struct {
	Changed     []string       `json:"changed,omitempty"`     // keys that have other values now
	Waiting     []string       `json:"waiting,omitempty"`     // keys whose changes wait for the next start
	Starts      []string       `json:"starts,omitempty"`      // sources that there were not
	Stops       []string       `json:"stops,omitempty"`       // sources that there are not any more
	Restarts    []string       `json:"restarts,omitempty"`    // sources that are stopped and started anew; all others go on
	Sessions    int            `json:"sessions,omitempty"`    // of clients of the embedded broker, that end with it
	GivenUp     []GivenUp      `json:"given_up,omitempty"`    // filters that brokers hold and that are not wanted any more
	Forgotten   []string       `json:"forgotten,omitempty"`   // sources whose sessions at brokers end, with what is queued there
	Disconnects []string       `json:"disconnects,omitempty"` // upstreams that end, or begin anew
	Failing     []NotListening `json:"failing,omitempty"`     // sources that are tried again; nobody knows beforehand
}

// GivenUp is a filter that a broker is told to forget.
type GivenUp struct {
	Source string `json:"source"`
	Filter string `json:"filter"`
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

// ReadingPath is where a checkpoint is to be had for a while by whoever may read.
const ReadingPath = "/v1/reading"

// reading answers with a checkpoint, and does not end its answer before the reader has gone.
func (s *Server) reading(w http.ResponseWriter, r *http.Request) {
	if s.Reading == nil {
		notRunning(w)
		return
	}
	said := false
	err := s.Reading(r.Context(), func(dir string) error {
		said = true
		answer(w, Checkpoint{dir})
		return http.NewResponseController(w).Flush()
	})
	if err != nil && !said {
		fail(w, err)
	}
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if s.Reload == nil {
		notRunning(w)
		return
	}
	q := &question{values: r.URL.Query()}
	dryRun := q.flag("dry_run")
	if q.err != nil {
		fail(w, q.err)
		return
	}
	reloaded, err := s.Reload(r.Context(), dryRun)
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
