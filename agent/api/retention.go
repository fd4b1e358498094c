package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"edgechain.example/localhttp"
)

// Limits are what a configuration says of the payloads that need not be kept.
type Limits struct {
	MaxAge  int64 `json:"max_age_seconds"` // 0: none
	MaxSize int64 `json:"max_size_bytes"`  // 0: none
	Quorum  int   `json:"quorum"`          // of aggregators that must have countersigned what goes
	MinAge  int64 `json:"min_age_seconds"` // of what goes for size or for room; 0: none
	// RoomPerDay is by how much the store may shrink in a day for want of room; 0: a share of MaxSize.
	RoomPerDay int64 `json:"room_per_day_bytes"`
	// DeleteUnreceiptedEvidence lets go what nobody has countersigned.
	DeleteUnreceiptedEvidence bool `json:"delete_unreceipted_evidence"`
}

// Stretch is a run of blocks with their entries.
type Stretch struct {
	From       uint64    `json:"from"` // heights, both included
	To         uint64    `json:"to"`
	FirstEntry uint64    `json:"first_entry"` // numbers, the second one not included
	NextEntry  uint64    `json:"next_entry"`
	Since      time.Time `json:"since"` // when the first and the last block were sealed
	Until      time.Time `json:"until"`
	Bytes      uint64    `json:"bytes"` // about, on disk
}

// Retention is what limits mean for a chain.
type Retention struct {
	Limits    Limits   `json:"limits"`
	Bytes     uint64   `json:"store_bytes"`
	Oldest    uint64   `json:"oldest_block"`        // the lowest whose payloads are held
	Receipted uint64   `json:"receipted"`           // the highest header that a quorum has countersigned; 0: none
	Goes      *Stretch `json:"goes,omitempty"`      // what was deleted, or would be
	Why       []string `json:"why,omitempty"`       // age, size, room
	HeldBack  *Stretch `json:"held_back,omitempty"` // beyond the limits, and kept because it is not receipted
	Kept      []Kept   `json:"kept,omitempty"`      // receipted, too large or without room, and kept all the same
	// Ageless says that nothing counts as old which is not receipted, for the gateway's clock is not synchronised.
	Ageless bool `json:"ageless,omitempty"`
}

// Kept is what a key of [retention] keeps that would go for size or for want of room.
type Kept struct {
	By string `json:"by"` // min_age or room_per_day
	Stretch
}

// Keepers are the keys that keep something.
func Keepers() []string { return []string{"min_age", "room_per_day"} }

// values writes limits for a request, limitsOf reads them.
func (l *Limits) values() url.Values {
	return url.Values{
		"max_age": {strconv.FormatInt(l.MaxAge, 10)}, "max_size": {strconv.FormatInt(l.MaxSize, 10)},
		"min_age": {strconv.FormatInt(l.MinAge, 10)}, "room_per_day": {strconv.FormatInt(l.RoomPerDay, 10)},
		"quorum": {strconv.Itoa(l.Quorum)}, "delete_unreceipted_evidence": {strconv.FormatBool(l.DeleteUnreceiptedEvidence)},
	}
}

func limitsOf(values url.Values) (l Limits, err error) {
	q := &question{values: values}
	l = Limits{MaxAge: number[int64](q, "max_age", 0), MaxSize: number[int64](q, "max_size", 0), Quorum: number(q, "quorum", 1),
		MinAge: number[int64](q, "min_age", 0), RoomPerDay: number[int64](q, "room_per_day", 0), DeleteUnreceiptedEvidence: q.flag("delete_unreceipted_evidence")}
	if q.err == nil && (l.Quorum < 1 || max(l.MaxAge, l.MinAge) > math.MaxInt64/int64(time.Second)) {
		q.err = &wrongQuestion{fmt.Errorf("quorum=%d, max_age=%d, min_age=%d: expected at least 1, and seconds", l.Quorum, l.MaxAge, l.MinAge)}
	}
	return l, q.err
}

// ErrNotInForce refuses a deletion under other limits than the agent goes by.
var ErrNotInForce = errors.New("the running agent goes by other limits")

func (s *Server) retention(w http.ResponseWriter, r *http.Request) { answerLimits(w, r, s.Retention) }

func (s *Server) prune(w http.ResponseWriter, r *http.Request) { answerLimits(w, r, s.Prune) }

func answerLimits(w http.ResponseWriter, r *http.Request, do func(context.Context, Limits) (Retention, error)) {
	if do == nil {
		notRunning(w)
		return
	}
	limits, err := limitsOf(r.URL.Query())
	var result Retention
	if err == nil {
		result, err = do(r.Context(), limits)
	}
	if errors.Is(err, ErrNotInForce) {
		err = &wrongQuestion{err}
	}
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, result)
}

// Retention asks what the limits would have deleted.
func (c *Client) Retention(ctx context.Context, l Limits) (Retention, error) {
	return localhttp.Object[Retention](c.get(ctx, http.MethodGet, "/v1/retention", l.values()))
}

// Prune has the agent delete that, if the limits are those in force.
func (c *Client) Prune(ctx context.Context, l Limits) (Retention, error) {
	return localhttp.Object[Retention](c.get(ctx, http.MethodPost, "/v1/prune", l.values()))
}
