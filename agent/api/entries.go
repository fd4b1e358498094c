package api

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"net/http"
	"slices"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
)

// Entry is one entry, or one of its readings alone where the question was for readings.
type Entry struct {
	Number   uint64               `json:"number"`
	Height   uint64               `json:"height"`
	Sealed   bool                 `json:"sealed"`
	Received time.Time            `json:"received,omitzero"`
	Source   string               `json:"source"`
	Flags    []string             `json:"flags,omitempty"`
	Payload  []byte               `json:"payload"`           // base64
	Decoder  string               `json:"decoder,omitempty"` // what made the readings of the payload, with its version
	Readings []Reading            `json:"readings"`
	Note     *lightchain.NoteView `json:"note,omitempty"` // what a person said, or attached

	// Gone stands instead of everything but Number where entries cannot be had: deleted, damaged, never held. Number is
	// that of the first one then, and Count says how many; 0: it is not known. Why is pruned, not_held or damaged.
	Gone  string `json:"gone,omitempty"`
	Why   string `json:"why,omitempty"`
	Count uint64 `json:"count,omitempty"`
}

// Reading is one measured value.
type Reading struct {
	Device  string          `json:"device"`
	Name    string          `json:"name"`
	Unit    string          `json:"unit,omitempty"`
	Value   json.RawMessage `json:"value"`
	Bytes   bool            `json:"bytes,omitempty"` // the value is bytes, in hexadecimal
	Time    time.Time       `json:"time,omitzero"`   // when the device says
	Quality []string        `json:"quality,omitempty"`
	Derived bool            `json:"derived,omitempty"` // computed by the gateway
	Meaning string          `json:"meaning,omitempty"` // hash of what gave it its name and unit, in hexadecimal
}

func (s *Server) entries(w http.ResponseWriter, r *http.Request) {
	q := &question{values: r.URL.Query()}
	query := q.selected()
	limit := number[uint64](q, "limit", math.MaxInt64) // of entries; the store counts readings
	if q.err != nil {
		fail(w, q.err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	for limit > 0 {
		next := max(query.After, s.Chain.Next())
		for e, err := range s.find(r.Context(), query) {
			if err != nil {
				_ = out.Encode(Failure{Error: err.Error()})
				return
			}
			if r.Context().Err() != nil {
				break
			}
			if out.Encode(e) != nil {
				return
			}
			if limit--; limit == 0 {
				return
			}
		}
		if !q.flag("follow") || s.Status == nil {
			if r.Context().Err() != nil {
				_ = out.Encode(Failure{Error: cutOff})
			}
			return
		}
		_ = http.NewResponseController(w).Flush()
		query.After, query.Reverse = next, false
		if !s.waitFor(r.Context(), next) {
			return
		}
	}
}

// followInterval is how often a chain that is followed is looked at.
const followInterval = 100 * time.Millisecond

// waitFor waits until the chain has an entry with the given number.
func (s *Server) waitFor(ctx context.Context, number uint64) bool {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for s.Chain.Next() <= number {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// find gathers the matches of one entry into one answer, until ctx ends.
func (s *Server) find(ctx context.Context, query store.Query) iter.Seq2[Entry, error] {
	byReading := query.Device != "" || query.Name != ""
	query.Done = ctx.Done()
	return func(yield func(Entry, error) bool) {
		var pending *Entry
		give := func() bool {
			if query.Reverse && byReading { // an entry's readings stand as they were sent
				slices.Reverse(pending.Readings)
			}
			return yield(*pending, nil)
		}
		for m, err := range s.Chain.Find(query) {
			if pending != nil && (err != nil || pending.Number != m.Number) {
				if !give() {
					return
				}
				pending = nil
			}
			if err != nil {
				why := goneWord(err)
				first, count := store.Gone(err)
				if why != "" && yield(Entry{Number: first, Count: count, Gone: err.Error(), Why: why}, nil) {
					continue
				}
				if why == "" {
					yield(Entry{}, err)
				}
				return
			}
			if pending == nil {
				pending = newEntry(m.Record, s.Chain.Chain())
				if byReading {
					pending.Readings = nil
				}
			}
			if byReading && m.Reading >= 0 {
				pending.Readings = append(pending.Readings, newReading(&m.Entry.Readings[m.Reading]))
			}
		}
		if pending != nil {
			give()
		}
	}
}

func newEntry(r *store.Record, chain lightchain.ChainID) *Entry {
	e := &Entry{
		Number: r.Number, Height: r.Height, Sealed: r.Sealed, Received: lighttime.Instant(r.Entry.Received),
		Source: r.Entry.Source, Flags: flagWords(r.Entry.Flags), Payload: r.Entry.Payload, Decoder: r.Entry.Decoder, Readings: []Reading{},
	}
	for i := range r.Entry.Readings {
		e.Readings = append(e.Readings, newReading(&r.Entry.Readings[i]))
	}
	if lightchain.IsNote(e.Source) {
		note := lightchain.JudgeNote(&r.Entry, chain, new(lightchain.Trust)).View() // whose a key is the gateway does not know
		e.Note = &note
	}
	return e
}

func newReading(r *lightchain.Reading) Reading {
	value, err := json.Marshal(r.Value)
	if err != nil {
		value = []byte("null")
	}
	out := Reading{Device: r.Device, Name: r.Name, Unit: r.Unit, Value: value, Bytes: r.Value.Kind() == lightchain.KindBytes, Quality: qualityWords(r.Quality)}
	out.Time, _ = lighttime.Measured(r)
	out.Derived = r.Derived
	if r.Meaning != nil {
		out.Meaning = r.Meaning.String()
	}
	return out
}

func flagWords(f lightchain.Flags) (words []string) {
	for _, w := range [...]struct {
		flag lightchain.Flags
		word string
	}{
		{lightchain.Retained, "retained"}, {lightchain.Redelivered, "redelivered"}, {lightchain.QoS0, "qos0"},
		{lightchain.NotUnderstood, "not-understood"}, {lightchain.PayloadHashed, "payload-hashed"}, {lightchain.ByAgent, "by-agent"},
	} {
		if f&w.flag != 0 {
			words = append(words, w.word)
		}
	}
	return words
}

func qualityWords(q lightchain.Quality) (words []string) {
	for _, w := range [...]struct {
		quality lightchain.Quality
		word    string
	}{{lightchain.Historical, "historical"}, {lightchain.Bad, "bad"}, {lightchain.Zoneless, "zoneless"}} {
		if q&w.quality != 0 {
			words = append(words, w.word)
		}
	}
	return words
}

func (s *Server) proof(w http.ResponseWriter, r *http.Request) {
	q := &question{values: r.URL.Query()}
	n, quorum := number[uint64](q, "number", 0), number(q, "quorum", 0)
	if q.err == nil && !q.values.Has("number") {
		q.err = &wrongQuestion{errors.New("number=: which entry is to be proved?")}
	}
	if q.err != nil {
		fail(w, q.err)
		return
	}
	proof, err := s.Chain.Prove(n, quorum)
	if err != nil {
		fail(w, err)
		return
	}
	b, err := proof.Append(nil)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", lightchain.MediaTypeProof)
	_, _ = w.Write(b)
}
