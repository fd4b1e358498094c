package api

import (
	"net/http"

	"edgechain.example/aggregator/registry"
	"edgechain.example/backup"
)

// Checkpoint is a copy of the store that the caller reads, and then removes with the folder above it.
type Checkpoint struct {
	Dir string `json:"dir"`
}

func (s *Server) checkpoint(w http.ResponseWriter, _ *http.Request) {
	dir, err := s.makeCheckpoint()
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, Checkpoint{dir})
}

func (s *Server) makeCheckpoint() (string, error) {
	store, ok := s.Store.(registry.Checkpointer)
	if !ok {
		return "", &wrongQuestion{registry.ErrDatabase}
	}
	return backup.MakeCheckpoint(s.Data, "store", s.Now(), s.Log, store.Checkpoint)
}
