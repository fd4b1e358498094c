package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"edgechain/lightchain"
	"edgechain/lightchain/store"
)

// Entry is one entry, or one of its readings alone where the question was for readings.
type Entry struct {
	Number   uint64    `json:"number"`
	Height   uint64    `json:"height"`
	Sealed   bool      `json:"sealed"`
	Received int64     `json:"received"` // nanoseconds since the Unix epoch
	Source   string    `json:"source"`
	Flags    []string  `json:"flags,omitempty"`
	Payload  []byte    `json:"payload"` // base64
	Readings []Reading `json:"readings"`

	// Gone stands instead of everything but Number where the entry cannot be had: deleted, damaged, never held.
	Gone string `json:"gone,omitempty"`
}

// Reading is one measured value.
type Reading struct {
	Device  string          `json:"device"`
	Name    string          `json:"name"`
	Unit    string          `json:"unit,omitempty"`
	Value   json.RawMessage `json:"value"`
	Bytes   bool            `json:"bytes,omitempty"` // the value is bytes, in hexadecimal
	Time    *int64          `json:"time,omitempty"`  // when the device says, nanoseconds since the Unix epoch
	Quality []string        `json:"quality,omitempty"`
}

// Block is one header with what it says.
type Block struct {
	Height   uint64           `json:"height"`
	Hash     *lightchain.Hash `json:"hash,omitempty"`
	First    uint64           `json:"first"`
	Count    uint64           `json:"count"`
	Sealed   int64            `json:"sealed"`
	Clock    string           `json:"clock"`
	Boot     uint64           `json:"boot"`
	Root     lightchain.Hash  `json:"root"`
	NextKey  string           `json:"next_key,omitempty"`
	Beacon   bool             `json:"beacon,omitempty"`
	Signed   bool             `json:"signed"`
	Gone     string           `json:"gone,omitempty"`
	Receipts []string         `json:"receipts,omitempty"` // names of aggregators
}

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

// Failure is the body of an answer that is not 200.
type Failure struct {
	Error string `json:"error"`
	Gone  string `json:"gone,omitempty"` // why, where the code is 410: pruned, not_held or damaged
}

// goneWords tell apart what cannot be had any more.
var goneWords = [...]struct {
	word string
	err  error
}{{"pruned", store.ErrPruned}, {"not_held", store.ErrNotHeld}, {"damaged", store.ErrDamaged}}

func goneWord(err error) string {
	for _, g := range goneWords {
		if errors.Is(err, g.err) {
			return g.word
		}
	}
	return ""
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { answer(w, s.Status()) }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// fail answers with the code that tells a client what kind of error it was.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var wrong *wrongQuestion
	switch {
	case errors.As(err, &wrong):
		code = http.StatusBadRequest
	case errors.Is(err, store.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, store.ErrNotSealed):
		code = http.StatusConflict
	case errors.Is(err, store.ErrPruned), errors.Is(err, store.ErrNotHeld), errors.Is(err, store.ErrDamaged):
		code = http.StatusGone
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Failure{Error: err.Error(), Gone: goneWord(err)})
}

// wrongQuestion is an error of the asker's.
type wrongQuestion struct{ err error }

func (e *wrongQuestion) Error() string { return e.err.Error() }

// question reads the parameters of a request; the first that is wrong is remembered.
type question struct {
	values url.Values
	err    error
}

func number[T int | int64 | uint64](q *question, name string, absent T) T {
	text := q.values.Get(name)
	if text == "" {
		return absent
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || T(n) < 0 && name != "since" && name != "until" || int64(T(n)) != n {
		q.err = &wrongQuestion{fmt.Errorf("%s=%q: expected a whole number", name, text)}
	}
	return T(n)
}

func (q *question) flag(name string) bool { return q.values.Get(name) == "true" }

func (s *Server) entries(w http.ResponseWriter, r *http.Request) {
	q := &question{values: r.URL.Query()}
	query := store.Query{
		Device: q.values.Get("device"), Name: q.values.Get("name"), Source: q.values.Get("source"),
		From: number[int64](q, "since", 0), To: number[int64](q, "until", 0), Received: q.flag("received"),
		After: number[uint64](q, "from", 0), Before: number[uint64](q, "to", 0),
		Reverse: q.flag("reverse"),
	}
	limit := number[uint64](q, "limit", math.MaxInt64) // of entries; the store counts readings
	if q.err != nil {
		fail(w, q.err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	for {
		next := max(query.After, s.Chain.Next())
		for e, err := range s.find(query) {
			if err != nil {
				_ = out.Encode(Failure{Error: err.Error()})
				return
			}
			if limit == 0 || out.Encode(e) != nil || r.Context().Err() != nil {
				break
			}
			limit--
		}
		if r.Context().Err() != nil || limit == 0 || !q.flag("follow") || s.Status == nil {
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

// find gathers the matches of one entry into one answer.
func (s *Server) find(query store.Query) iter.Seq2[Entry, error] {
	byReading := query.Device != "" || query.Name != ""
	return func(yield func(Entry, error) bool) {
		var pending *Entry
		for m, err := range s.Chain.Find(query) {
			if err != nil {
				if gone := goneEntry(err); gone != nil {
					if !yield(*gone, nil) {
						return
					}
					continue
				}
				yield(Entry{}, err)
				return
			}
			if pending != nil && pending.Number != m.Number {
				if !yield(*pending, nil) {
					return
				}
				pending = nil
			}
			if pending == nil {
				pending = newEntry(m.Record)
				if byReading {
					pending.Readings = nil
				}
			}
			if byReading && m.Reading >= 0 {
				pending.Readings = append(pending.Readings, newReading(&m.Entry.Readings[m.Reading]))
			}
		}
		if pending != nil {
			yield(*pending, nil)
		}
	}
}

// goneEntry turns the error that stands in for entries that cannot be had into an answer.
func goneEntry(err error) *Entry {
	if goneWord(err) != "" {
		return &Entry{Gone: err.Error()}
	}
	return nil
}

func newEntry(r *store.Record) *Entry {
	e := &Entry{
		Number: r.Number, Height: r.Height, Sealed: r.Sealed, Received: r.Entry.Received,
		Source: r.Entry.Source, Flags: flagWords(r.Entry.Flags), Payload: r.Entry.Payload, Readings: []Reading{},
	}
	for i := range r.Entry.Readings {
		e.Readings = append(e.Readings, newReading(&r.Entry.Readings[i]))
	}
	return e
}

func newReading(r *lightchain.Reading) Reading {
	value, err := json.Marshal(r.Value)
	if err != nil {
		value = []byte("null")
	}
	out := Reading{Device: r.Device, Name: r.Name, Unit: r.Unit, Value: value, Bytes: r.Value.Kind() == lightchain.KindBytes, Quality: qualityWords(r.Quality)}
	if r.Timed {
		out.Time = &r.Time
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
		if out.Encode(s.block(height)) != nil || r.Context().Err() != nil {
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
	b.First, b.Count, b.Sealed, b.Root = h.First, h.Count, h.Sealed, h.Root
	b.Clock, b.Boot, b.Beacon = h.Clock.State.String(), h.Clock.Boot, h.Beacon != nil
	if h.NextKey != nil {
		b.NextKey = lightchain.FormatPublicKey(*h.NextKey)
	}
	return b
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

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if s.Reload == nil {
		notRunning(w)
		return
	}
	waiting, err := s.Reload(r.Context())
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
