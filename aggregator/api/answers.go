package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
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
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, headlog.ErrNotFound), errors.Is(err, headlog.ErrEmpty):
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
func (s *Server) find(r *http.Request) (*registry.Record, error) {
	name := r.PathValue("chain")
	if chain, err := lightchain.ParseChainID(name); err == nil {
		record, err := s.Store.Record(r.Context(), chain)
		if errors.Is(err, registry.ErrNotFound) {
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
	err := registry.EachRecord(r.Context(), s.Store, func(r *registry.Record) error {
		if strings.HasPrefix(r.Chain.String(), name) {
			found = append(found, r.Chain)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("chain %s: %w", name, registry.ErrNotFound)
	case len(found) > 1:
		return nil, wrong("chain %s: %d chains begin like this; name all 52 characters", name, len(found))
	}
	return s.Store.Record(r.Context(), found[0])
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st := Status{Identity: s.Identity}
	if s.Live != nil {
		st.Running, st.Live = true, s.Live()
	}
	counted, before, err := s.count(r.Context(), st.Live)
	if err != nil && !st.Running {
		fail(w, err)
		return
	}
	if err != nil {
		st.Uncounted = err.Error()
	}
	if counted != nil {
		st.Gateways, st.Findings = counted.Standings, counted.Ailing
		if before {
			st.Counted = counted.At.UTC()
		}
	}
	if m, ok := s.Store.(registry.Mended); ok {
		if o := m.Opened(); o.Lost() {
			st.Opened = &o
		}
	}
	answer(w, st)
}

// count counts the gateways. Of an aggregator that runs there is more to tell, for which nobody shall wait long.
func (s *Server) count(ctx context.Context, live *Live) (n *registry.Count, before bool, err error) {
	if live == nil {
		return s.Census.Recent(ctx)
	}
	var away error
	if live.Database != nil {
		away = live.Database.Away()
	}
	return s.Census.Soon(ctx, away)
}

func (s *Server) gateways(w http.ResponseWriter, r *http.Request) {
	standing, finding := registry.Standing(r.FormValue("standing")), registry.Kind(r.FormValue("finding"))
	if standing != "" && !slices.Contains(registry.Standings, standing) {
		fail(w, wrong("standing %q: expected one of %v", standing, registry.Standings))
		return
	}
	if finding != "" && finding != anyKind && !slices.Contains(registry.Kinds, finding) {
		fail(w, wrong("finding %q: expected %q or one of %v", finding, anyKind, registry.Kinds))
		return
	}
	lines(w, func(send func(any) error) error {
		return registry.EachRecord(r.Context(), s.Store, func(r *registry.Record) error {
			if standing != "" && r.Standing != standing {
				return nil
			}
			g := s.tell(r)
			if finding == "" || finding == anyKind && len(g.Findings) > 0 || g.Finding(finding) != nil {
				return send(g)
			}
			return nil
		})
	})
}

const anyKind = "any" // whichever

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
		g.Genesis = lighttime.Instant(state.Keys[0].Header.Sealed)
	}
	answer(w, g)
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
