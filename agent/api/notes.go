package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"edgechain/lightchain"
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

// Note is a person's entry as a reader of the chain sees it. Who a key belongs to the gateway does not know.
type Note struct {
	Who      string            `json:"who,omitempty"`
	When     string            `json:"when,omitempty"`
	Entries  []lightchain.Span `json:"entries,omitempty"`
	Heights  []lightchain.Span `json:"heights,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Meaning  string            `json:"meaning,omitempty"`
	Text     string            `json:"text,omitempty"`
	Attached *Attached         `json:"attached,omitempty"`

	Standing lightchain.NoteStanding `json:"standing"`
	Key      string                  `json:"key,omitempty"` // that signed it
	Error    string                  `json:"error,omitempty"`
}

// Attached describes a file.
type Attached struct {
	Name      string          `json:"name"`
	MediaType string          `json:"media_type"`
	Size      uint64          `json:"size"`
	SHA256    lightchain.Hash `json:"sha256"`
	Here      bool            `json:"here"` // its bytes are in the payload
}

func newNote(e *lightchain.Entry, chain lightchain.ChainID) *Note {
	r := lightchain.JudgeNote(e, chain, new(lightchain.Trust))
	out := &Note{Standing: r.Standing}
	if r.Key != (lightchain.PublicKey{}) {
		out.Key = lightchain.FormatPublicKey(r.Key)
	}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	if n := r.Note; n != nil {
		out.Who, out.When, out.Entries, out.Heights, out.Reason, out.Meaning, out.Text = n.Who, n.When, n.Entries, n.Heights, n.Reason, n.Meaning, n.Text
		if f := n.File; f != nil {
			out.Attached = &Attached{f.Name, f.MediaType, f.Size, f.SHA256, r.Bytes}
		}
	}
	return out
}

// ErrNote means that a note is not one that can be recorded.
var ErrNote = errors.New("the note is not recorded")

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
