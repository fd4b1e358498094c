package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
)

// Group is how what is polled together stands.
type Group struct {
	Name     string    `json:"name"`
	Reads    int       `json:"reads"`
	Failing  int       `json:"failing_reads,omitempty"` // of these, now
	Since    time.Time `json:"since,omitzero"`          // when the first of those began to fail
	Why      string    `json:"why,omitempty"`           // what the first of those says
	Late     bool      `json:"late,omitempty"`          // it misses its interval
	Answered time.Time `json:"answered,omitzero"`       // when all was answered last
	Polls    uint64    `json:"polls"`
	Failed   uint64    `json:"failed_polls,omitempty"` // of these, those of which not all was answered
	Missed   uint64    `json:"missed_polls,omitempty"` // that were not made
}

// Text says how it stands.
func (g *Group) Text() string {
	text := "not polled yet"
	switch {
	case g.Failing > 0:
		text = fmt.Sprintf("%d of %d reads fail since %s, %s", g.Failing, g.Reads, g.Since.UTC().Format(time.RFC3339), g.Why)
	case g.Polls > 0:
		text = fmt.Sprintf("up, %d reads", g.Reads)
	}
	if g.Late {
		text += ", misses its interval"
	}
	return text
}

// Polled is what one read gave that was asked for.
type Polled struct {
	Group    string    `json:"group"`
	Read     string    `json:"read"`
	Source   string    `json:"source,omitempty"` // as an entry would have it
	Received time.Time `json:"received,omitzero"`
	Payload  []byte    `json:"payload,omitempty"` // base64
	Decoder  string    `json:"decoder,omitempty"`
	Readings []Reading `json:"readings"`
	Error    string    `json:"error,omitempty"`   // why there is no answer
	Refused  bool      `json:"refused,omitempty"` // the device has answered, and does not give it
}

// Readings returns readings as an answer has them.
func Readings(all []lightchain.Reading) []Reading {
	out := []Reading{}
	for i := range all {
		out = append(out, newReading(&all[i]))
	}
	return out
}

// PollPath is where a polled source is asked for what it reads now. It changes nothing, so whoever may open the socket may.
const PollPath = "/v1/poll"

func (s *Server) poll(w http.ResponseWriter, r *http.Request) {
	if s.Poll == nil {
		notRunning(w)
		return
	}
	polled, err := s.Poll(r.Context(), r.URL.Query().Get("name"))
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, polled)
}

// Poll asks the agent for what a polled source reads now.
func (c *Client) Poll(ctx context.Context, name string) ([]Polled, error) {
	return localhttp.Object[[]Polled](c.get(ctx, http.MethodPost, PollPath, url.Values{"name": {name}}))
}
