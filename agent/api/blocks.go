package api

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
)

// Block is one header with what it says.
type Block struct {
	Height   uint64           `json:"height"`
	Hash     *lightchain.Hash `json:"hash,omitempty"`
	First    uint64           `json:"first"`
	Count    uint64           `json:"count"`
	Sealed   time.Time        `json:"sealed,omitzero"`
	Clock    string           `json:"clock"`
	Boot     uint64           `json:"boot"`
	Root     lightchain.Hash  `json:"root"`
	NextKey  string           `json:"next_key,omitempty"`
	Beacon   bool             `json:"beacon,omitempty"`
	Signed   bool             `json:"signed"`
	Gone     string           `json:"gone,omitempty"`
	Receipts []string         `json:"receipts,omitempty"` // names of aggregators
}

func (s *Server) blocks(w http.ResponseWriter, r *http.Request) {
	q := &question{values: r.URL.Query()}
	top := s.Chain.Tip().Height
	from, to := number[uint64](q, "from", 0), min(number(q, "to", top+1), top+1)
	limit := number[uint64](q, "limit", math.MaxInt64)
	if q.err != nil {
		fail(w, q.err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	for i := range min(limit, to-min(from, to)) {
		height := from + i
		if q.flag("reverse") {
			height = to - 1 - i
		}
		if r.Context().Err() != nil {
			_ = out.Encode(Failure{Error: cutOff})
			return
		}
		if out.Encode(s.block(height)) != nil {
			return
		}
	}
}

func (s *Server) block(height uint64) Block {
	signed, err := s.Chain.Header(height)
	var h lightchain.Header
	b := Block{Height: height}
	switch {
	case err == nil:
		h, b.Signed = signed.Header, true
		hash := signed.Hash()
		b.Hash = &hash
	case errors.Is(err, store.ErrUnsigned):
		if h, err = s.Chain.HeaderAt(height); err == nil {
			break
		}
		fallthrough
	default:
		b.Gone = err.Error()
		return b
	}
	if receipts, err := s.Chain.Receipts(height); err == nil {
		for _, r := range receipts {
			b.Receipts = append(b.Receipts, r.Name)
		}
	}
	b.First, b.Count, b.Sealed, b.Root = h.First, h.Count, lighttime.Instant(h.Sealed), h.Root
	b.Clock, b.Boot, b.Beacon = h.Clock.State.String(), h.Clock.Boot, h.Beacon != nil
	if h.NextKey != nil {
		b.NextKey = lightchain.FormatPublicKey(*h.NextKey)
	}
	return b
}
