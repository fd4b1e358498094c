package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"edgechain/lightchain"
	headersync "edgechain/sync"
)

// wrongQuestion is an error of who asks.
type wrongQuestion struct{ error }

func (w *wrongQuestion) Unwrap() error { return w.error }

func wrong(format string, args ...any) error { return &wrongQuestion{fmt.Errorf(format, args...)} }

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var question *wrongQuestion
	switch {
	case errors.As(err, &question):
		code = http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		code = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Failure{err.Error()})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked is gone if this fails
}

// lines answers with one JSON object a line; send may be called by list until that returns.
func lines(w http.ResponseWriter, list func(send func(v any) error) error) {
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	sent := false
	err := list(func(v any) error {
		sent = true
		return out.Encode(v)
	})
	switch {
	case err == nil || errors.Is(err, errEnough):
	case sent:
		_ = out.Encode(Failure{err.Error()})
	default:
		fail(w, err)
	}
}

var errEnough = errors.New("enough")

// find returns the record that a request names: by all 52 characters, or by the first ones of one that is known here.
func (s *Server) find(r *http.Request) (*Record, error) {
	name := r.PathValue("chain")
	if chain, err := lightchain.ParseChainID(name); err == nil {
		record, err := s.Store.Record(r.Context(), chain)
		if errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("chain %s: %w", name, err)
		}
		return record, err
	}
	// SPEC: A prefix of 8 or more may select from a list that the program already holds
	const least = 8
	if len(name) < least {
		return nil, wrong("chain %q: 52 characters, or at least the first %d of one that is known here", name, least)
	}
	var found []lightchain.ChainID
	err := EachRecord(r.Context(), s.Store, func(r *Record) error {
		if strings.HasPrefix(r.Chain.String(), name) {
			found = append(found, r.Chain)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("chain %s: %w", name, ErrNotFound)
	case len(found) > 1:
		return nil, wrong("chain %s: %d chains begin like this; name all 52 characters", name, len(found))
	}
	return s.Store.Record(r.Context(), found[0])
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st := Status{Identity: s.Identity, Gateways: map[Standing]int{}, Ailing: map[Kind]int{}}
	now := s.Now()
	err := EachRecord(r.Context(), s.Store, func(r *Record) error {
		st.Gateways[r.Standing]++
		if r.Standing == Approved {
			for _, a := range r.Ailments(now, s.Registry.Rules().Silence) {
				st.Ailing[a.Kind]++
			}
		}
		return nil
	})
	if err != nil {
		fail(w, err)
		return
	}
	if s.Live != nil {
		st.Running, st.Live = true, s.Live()
	}
	answer(w, st)
}

func (s *Server) tell(r *Record) Gateway {
	return Gateway{Record: *r, Ailments: append([]Ailment{}, r.Ailments(s.Now(), s.Registry.Rules().Silence)...)}
}

func (s *Server) gateways(w http.ResponseWriter, r *http.Request) {
	standing, finding := Standing(r.FormValue("standing")), Kind(r.FormValue("finding"))
	lines(w, func(send func(any) error) error {
		return EachRecord(r.Context(), s.Store, func(r *Record) error {
			if standing != "" && r.Standing != standing {
				return nil
			}
			g := s.tell(r)
			if finding != "" && !g.has(finding) {
				return nil
			}
			return send(g)
		})
	})
}

// has reports whether there is a finding; "any" is whichever.
func (g *Gateway) has(kind Kind) bool {
	for _, a := range g.Ailments {
		if a.Kind == kind || kind == "any" {
			return true
		}
	}
	return false
}

func (s *Server) gateway(w http.ResponseWriter, r *http.Request) {
	record, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	g := s.tell(record)
	if state := record.State; state != nil && len(state.Keys) > 0 {
		g.Keys = len(state.Keys)
		g.Key = lightchain.FormatPublicKey(*state.Keys[g.Keys-1].Header.NextKey)
		g.Genesis = state.Keys[0].Header.Sealed
	}
	answer(w, g)
}

func (s *Server) headers(w http.ResponseWriter, r *http.Request) {
	record, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	from, err1 := number(r, "from", 0)
	to, err2 := number(r, "to", record.Head.Height)
	limit, err3 := number(r, "limit", 1000)
	if err := errors.Join(err1, err2, err3); err != nil {
		fail(w, err)
		return
	}
	lines(w, func(send func(any) error) error {
		sent, last := uint64(0), uint64(0)
		out := func(h *lightchain.Header, hash lightchain.Hash, signed bool) error {
			if sent++; sent > limit {
				return errEnough
			}
			last = h.Height
			return send(tellHeader(h, hash, signed))
		}
		err := WalkHeaders(r.Context(), s.Store, record.Chain, from, to, func(held headersync.Held) error {
			h, err := lightchain.DecodeHeader(held.Bytes)
			if err != nil {
				return err
			}
			return out(&h, lightchain.LeafHash(held.Bytes), held.Signature != nil)
		})
		// Where only heads are held, the newest stands in the state alone.
		if state := record.State; err == nil && state != nil && state.Head != nil {
			head := state.Head.Head
			if height := head.Header.Height; height >= from && height <= to && (sent == 0 || height > last) {
				err = out(&head.Header, head.Hash(), true)
			}
		}
		return err
	})
}

func tellHeader(h *lightchain.Header, hash lightchain.Hash, signed bool) Header {
	told := Header{
		Height: h.Height, Hash: hash, First: h.First, Count: h.Count, Sealed: h.Sealed, Clock: h.Clock.State.String(),
		Boot: h.Clock.Boot, Root: h.Root, Beacon: h.Beacon != nil, Signed: signed,
	}
	if h.NextKey != nil {
		told.NextKey = lightchain.FormatPublicKey(*h.NextKey)
	}
	return told
}

func number(r *http.Request, name string, usual uint64) (uint64, error) {
	text := r.FormValue(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, wrong("%s=%q: expected a whole number", name, text)
	}
	return n, nil
}

func (s *Server) receipt(w http.ResponseWriter, r *http.Request) {
	record, err := s.find(r)
	var height uint64
	if err == nil {
		height, err = number(r, "height", record.Receipt.Height)
	}
	var receipts []Receipted
	if err == nil {
		receipts, err = s.Store.Receipts(r.Context(), record.Chain, height, 1)
	}
	switch {
	case err != nil:
	case len(receipts) == 0 || r.FormValue("height") == "" && receipts[0].Height != height:
		err = fmt.Errorf("a receipt at height %d or above: %w", height, ErrNotFound)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", lightchain.MediaTypeHeader)
	_, _ = w.Write(receipts[0].Body)
}

func (s *Server) forks(w http.ResponseWriter, r *http.Request) {
	record, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	found, err := s.Store.Forks(r.Context(), record.Chain)
	if err != nil {
		fail(w, err)
		return
	}
	lines(w, func(send func(any) error) error {
		for _, e := range found {
			if err := send(Fork{record.Chain, record.Name, e.ID, e.Height, e.Seen, len(e.Body)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) evidence(w http.ResponseWriter, r *http.Request) {
	record, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	found, err := s.Store.Forks(r.Context(), record.Chain)
	if err != nil {
		fail(w, err)
		return
	}
	for _, e := range found {
		if id := r.PathValue("id"); len(id) >= 8 && strings.HasPrefix(e.ID.String(), id) {
			w.Header().Set("Content-Type", "application/cbor")
			_, _ = w.Write(e.Body)
			return
		}
	}
	fail(w, fmt.Errorf("evidence %s: %w", r.PathValue("id"), ErrNotFound))
}

// maxRequest bounds the body of a request in bytes.
const maxRequest = 64 << 10

func read(w http.ResponseWriter, r *http.Request, v any) error {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	in.DisallowUnknownFields()
	if err := in.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return wrong("the request's body: %w", err)
	}
	return nil
}

func (s *Server) approve(w http.ResponseWriter, r *http.Request) {
	var settings Settings
	// A chain that was never heard of may be approved before it is, but then by its whole name.
	chain, err := lightchain.ParseChainID(r.PathValue("chain"))
	if err != nil {
		var record *Record
		if record, err = s.find(r); err == nil {
			chain = record.Chain
		}
	}
	if err == nil {
		err = read(w, r, &settings)
	}
	if e := settings.Check(); err == nil && e != nil {
		err = wrong("%w", e)
	}
	if err == nil {
		err = s.Registry.Approve(r.Context(), chain, settings, "command")
	}
	s.decided(w, r, chain, err)
}

func (s *Server) reject(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, s.Registry.Reject)
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, s.Registry.Forget)
}

func (s *Server) change(w http.ResponseWriter, r *http.Request, change func(context.Context, lightchain.ChainID) error) {
	record, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	s.decided(w, r, record.Chain, change(r.Context(), record.Chain))
}

func (s *Server) decided(w http.ResponseWriter, r *http.Request, chain lightchain.ChainID, err error) {
	var record *Record
	if err == nil {
		record, err = s.Store.Record(r.Context(), chain)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, s.tell(record))
}

func (s *Server) approveNames(w http.ResponseWriter, r *http.Request) {
	var settings Settings
	err := read(w, r, &settings)
	if e := settings.Check(); err == nil && e != nil {
		err = wrong("%w", e)
	}
	if r.FormValue("name") == "" && err == nil {
		err = wrong("name=: which names?")
	}
	var chains []lightchain.ChainID
	if err == nil {
		chains, err = s.Registry.ApproveNames(r.Context(), r.FormValue("name"), settings)
	}
	if err != nil {
		fail(w, err)
		return
	}
	lines(w, func(send func(any) error) error {
		for _, chain := range chains {
			record, err := s.Store.Record(r.Context(), chain)
			if err != nil {
				return err
			}
			if err := send(s.tell(record)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) tokens(w http.ResponseWriter, r *http.Request) {
	tokens, err := s.Registry.Tokens(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	lines(w, func(send func(any) error) error {
		for _, t := range tokens {
			if err := send(t); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) newToken(w http.ResponseWriter, r *http.Request) {
	var request TokenRequest
	err := read(w, r, &request)
	var t *Token
	if err == nil {
		if t, err = s.Registry.NewToken(r.Context(), request.Life, request.Labels); err != nil {
			err = wrong("%w", err)
		}
	}
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, t)
}

func (s *Server) removeToken(w http.ResponseWriter, r *http.Request) {
	if err := s.Registry.RemoveToken(r.Context(), r.PathValue("id")); err != nil {
		fail(w, err)
		return
	}
	answer(w, struct{}{})
}
