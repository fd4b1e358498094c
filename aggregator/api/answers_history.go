package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/sync/collector"
)

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
		err := registry.WalkHeaders(r.Context(), s.Store, record.Chain, from, to, func(held collector.Held) error {
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
		Height: h.Height, Hash: hash, First: h.First, Count: h.Count, Sealed: lighttime.Instant(h.Sealed), Clock: h.Clock.State.String(),
		Boot: h.Clock.Boot, Root: h.Root, Beacon: h.Beacon != nil, Signed: signed,
	}
	if h.NextKey != nil {
		told.NextKey = lightchain.FormatPublicKey(*h.NextKey)
	}
	return told
}

func (s *Server) receipt(w http.ResponseWriter, r *http.Request) {
	record, err := s.find(r)
	var height uint64
	if err == nil {
		height, err = number(r, "height", record.Receipt.Height)
	}
	var receipts []registry.Receipted
	if err == nil {
		receipts, err = s.Store.Receipts(r.Context(), record.Chain, height, 1)
	}
	switch {
	case err != nil:
	case len(receipts) == 0 || r.FormValue("height") == "" && receipts[0].Height != height:
		err = fmt.Errorf("a receipt at height %d or above: %w", height, registry.ErrNotFound)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", lightchain.MediaTypeHeader)
	_, _ = w.Write(receipts[0].Body)
}

// findForks returns the chain that a request names, and the evidence kept against it.
func (s *Server) findForks(r *http.Request) (*registry.Record, []registry.Evidence, error) {
	record, err := s.find(r)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.Store.Forks(r.Context(), record.Chain)
	return record, found, err
}

func (s *Server) forks(w http.ResponseWriter, r *http.Request) {
	record, found, err := s.findForks(r)
	if err != nil {
		fail(w, err)
		return
	}
	lines(w, func(send func(any) error) error {
		for _, e := range found {
			if err := send(Fork{record.Chain, record.Name, e.ID, e.Height, second(e.Seen), len(e.Body)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) evidence(w http.ResponseWriter, r *http.Request) {
	_, found, err := s.findForks(r)
	if err != nil {
		fail(w, err)
		return
	}
	for _, e := range found {
		if id := r.PathValue("id"); len(id) >= 8 && strings.HasPrefix(e.ID.String(), id) {
			w.Header().Set("Content-Type", lightchain.MediaTypeFork)
			_, _ = w.Write(e.Body)
			return
		}
	}
	fail(w, fmt.Errorf("evidence %s: %w", r.PathValue("id"), registry.ErrNotFound))
}
