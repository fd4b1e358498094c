package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

// LogStanding is how the log of heads stands at a running aggregator.
type LogStanding struct {
	Pending  int       `json:"pending"`           // countersigned heads that wait to become leaves
	Failures uint64    `json:"failures"`          // turns that failed since the start
	Finding  string    `json:"finding,omitempty"` // [LogSetBack]
	Trouble  string    `json:"trouble,omitempty"` // why nothing is appended; "": it is
	Since    time.Time `json:"since,omitzero"`    // of trouble
	Deaf     string    `json:"not_listening,omitempty"`
}

// LogSetBack is the finding that the store holds less of the log than was published, or other leaves.
const LogSetBack = "log-set-back"

// Heads is what is told of the log of heads: its newest checkpoint that is published, or, where no aggregator runs, stored.
type Heads struct {
	Origin string    `json:"origin"`
	Key    string    `json:"key"` // ORIGIN+HASH+KEY
	Size   uint64    `json:"size"`
	Root   string    `json:"root"`          // in base64, as the checkpoint has it
	Time   time.Time `json:"time,omitzero"` // when the checkpoint was signed; the zero time: there is none
	// Absent says why there is no checkpoint.
	Absent     string       `json:"absent,omitempty"`
	Checkpoint string       `json:"checkpoint,omitempty"`
	Live       *LogStanding `json:"live,omitempty"`
}

// HeadsChecked is what a check of the log of heads found whole, or why not.
type HeadsChecked struct {
	Origin      string `json:"origin"`
	Verified    bool   `json:"verified"`
	Error       string `json:"error,omitempty"` // why it does not verify
	Size        uint64 `json:"size"`
	Root        string `json:"root"`
	Checkpoints int    `json:"checkpoints"` // kept, of which each is of this tree
}

// TlogProof is the proof of one head in the log of heads.
type TlogProof struct {
	Chain  lightchain.ChainID `json:"chain"`
	Height uint64             `json:"height"`
	Hash   lightchain.Hash    `json:"hash"`  // of the header, and of the leaf
	Index  uint64             `json:"index"` // of the leaf
	Proof  string             `json:"proof"` // the file
}

// errNoLog is what is answered where there is none.
var errNoLog = fmt.Errorf("there is no log of heads: set transparency.origin, and start the aggregator: %w", registry.ErrNotFound)

func (s *Server) heads(w http.ResponseWriter, r *http.Request) {
	if s.Heads == nil {
		fail(w, cmp.Or(s.HeadsAbsent, errNoLog))
		return
	}
	told := Heads{Origin: s.Heads.Key.Name(), Key: s.Heads.Key.String()}
	head, err := s.Heads.Newest(r.Context())
	switch {
	case errors.Is(err, headlog.ErrEmpty):
		told.Absent = err.Error()
	case err != nil:
		fail(w, err)
		return
	default:
		root := head.Root()
		told.Size, told.Root, told.Time, told.Checkpoint = head.Size, base64.StdEncoding.EncodeToString(root[:]), second(head.Time), string(head.Checkpoint)
	}
	if s.Live != nil {
		told.Live = s.Live().Log
	}
	answer(w, told)
}

func (s *Server) headsCheck(w http.ResponseWriter, r *http.Request) {
	if s.Heads == nil {
		fail(w, cmp.Or(s.HeadsAbsent, errNoLog))
		return
	}
	if !s.checking.TryLock() { // each reads the whole log
		fail(w, errors.New("the log of heads is being checked for somebody else: ask again when that is done"))
		return
	}
	defer s.checking.Unlock()
	told := HeadsChecked{Origin: s.Heads.Key.Name()}
	checked, err := s.Heads.Check(r.Context())
	switch {
	case errors.Is(err, headlog.ErrInvalid), errors.As(err, new(*headlog.SetBackError)):
		told.Error = err.Error()
	case err != nil:
		fail(w, err)
		return
	default:
		told.Verified, told.Size, told.Root, told.Checkpoints = true, checked.Size, base64.StdEncoding.EncodeToString(checked.Root[:]), checked.Checkpoints
	}
	answer(w, told)
}

func (s *Server) tlogProof(w http.ResponseWriter, r *http.Request) {
	if s.Heads == nil {
		fail(w, cmp.Or(s.HeadsAbsent, errNoLog))
		return
	}
	record, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	var height *uint64
	if r.FormValue("height") != "" {
		n, err := number(r, "height", 0)
		if err != nil {
			fail(w, err)
			return
		}
		height = &n
	}
	proof, leaf, err := s.Heads.Prove(r.Context(), record.Chain, height)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, TlogProof{record.Chain, leaf.Height, leaf.Hash(), proof.Index, string(proof.Encode())})
}

// headsServed answers what the log's own listener does.
func (s *Server) headsServed(w http.ResponseWriter, r *http.Request) {
	if s.Heads == nil {
		fail(w, cmp.Or(s.HeadsAbsent, errNoLog))
		return
	}
	http.StripPrefix("/v1/log", s.Heads.Handler(s.HeadsEntries)).ServeHTTP(w, r)
}

// Heads asks for the newest checkpoint of the log of heads.
func (c *Client) Heads(ctx context.Context) (Heads, error) {
	return one[Heads](ctx, c, http.MethodGet, "/v1/log", nil, nil)
}

// CheckHeads has the log of heads checked as a whole.
func (c *Client) CheckHeads(ctx context.Context) (HeadsChecked, error) {
	return one[HeadsChecked](ctx, c, http.MethodGet, "/v1/log/check", nil, nil)
}

// TlogProof asks for the proof of the first head in the log at that height or above, nil: the newest.
func (c *Client) TlogProof(ctx context.Context, chain string, height *uint64) (TlogProof, error) {
	values := url.Values{}
	if height != nil {
		values.Set("height", strconv.FormatUint(*height, 10))
	}
	return one[TlogProof](ctx, c, http.MethodGet, gatewayPath(chain, "tlog-proof"), values, nil)
}

// Served gets files of the log of heads as others get them where it is served.
func (c *Client) Served() headlog.Fetch {
	return func(ctx context.Context, path string) ([]byte, error) {
		b, err := c.raw(ctx, "/v1/log/"+path, nil)
		var refused *AnswerError
		if errors.As(err, &refused) && refused.Code == http.StatusNotFound {
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		return b, err
	}
}
