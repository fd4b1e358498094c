package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Noting is what a person wants to have recorded. The statement says it, since that is what is signed.
type Noting struct {
	Statement string `json:"statement"`           // see [lightchain.Note.Statement]
	Signature string `json:"signature,omitempty"` // see [lightchain.ParseSSHSignature]
	Data      []byte `json:"data,omitempty"`      // an attachment's bytes, in base64
	Kept      bool   `json:"kept,omitempty"`      // Data are an attachment's bytes, none if it has none; else its hash alone is recorded
}

// Noted is the entry that came of it.
type Noted struct {
	Number uint64 `json:"number"`
	Source string `json:"source"`
}

// ErrNote means that a note is not one that can be recorded.
var ErrNote = errors.New("the note is not recorded")

// NotePath is where notes are handed over. One is an entry of its own and changes no other, so whoever may open the socket may.
const NotePath = "/v1/note"

// maxNoteBody is more than a note with the largest attachment takes.
const maxNoteBody = 24 << 20

func (s *Server) note(w http.ResponseWriter, r *http.Request) {
	if s.Note == nil {
		notRunning(w)
		return
	}
	var n Noting
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNoteBody))
	in.DisallowUnknownFields()
	if err := in.Decode(&n); err != nil {
		fail(w, &wrongQuestion{fmt.Errorf("%w: %w", ErrNote, err)})
		return
	}
	noted, err := s.Note(r.Context(), n)
	if errors.Is(err, ErrNote) {
		err = &wrongQuestion{err}
	}
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, noted)
}
