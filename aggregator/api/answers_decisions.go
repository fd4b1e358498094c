package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

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
	var settings registry.Settings
	// A chain that was never heard of may be approved before it is, but then by its whole name.
	chain, err := lightchain.ParseChainID(r.PathValue("chain"))
	if err != nil {
		var record *registry.Record
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
		err = s.Registry.Approve(r.Context(), chain, settings, registry.ByCommand(r.Context()))
	}
	s.decided(w, r, chain, err)
}

func (s *Server) reject(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, s.Registry.Reject)
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, s.Registry.Forget)
}

func (s *Server) acknowledge(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, s.Registry.Acknowledge)
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
	var record *registry.Record
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
	var settings registry.Settings
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
		if errors.Is(err, path.ErrBadPattern) {
			err = wrong("%w", err)
		}
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
			if err := send(tellToken(t)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) newToken(w http.ResponseWriter, r *http.Request) {
	var request TokenRequest
	err := read(w, r, &request)
	var t *registry.Token
	if err == nil {
		if t, err = s.Registry.NewToken(r.Context(), request.Life, request.Labels); err != nil {
			err = wrong("%w", err)
		}
	}
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, tellToken(t))
}

func (s *Server) removeToken(w http.ResponseWriter, r *http.Request) {
	if err := s.Registry.RemoveToken(r.Context(), r.PathValue("id")); err != nil {
		fail(w, err)
		return
	}
	answer(w, struct{}{})
}
