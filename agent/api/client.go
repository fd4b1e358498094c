package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"syscall"

	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
)

// Client asks a gateway.
type Client struct{ asks localhttp.Client }

// ErrNotRunning means that nobody answers on the agent's socket.
var ErrNotRunning = errors.New("the agent does not run")

// Dial returns a client of the agent that listens on the socket at path, or [ErrNotRunning].
func Dial(ctx context.Context, path string) (*Client, error) {
	carrier, err := localhttp.Dial(ctx, path)
	if errors.Is(err, localhttp.ErrNobody) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	return &Client{localhttp.NewClient("gateway", carrier, refused)}, nil
}

// Local returns a client of a chain that is only read: the same handlers, without a socket between.
func Local(s *Server) *Client {
	return &Client{localhttp.NewClient("gateway", localhttp.InProcess(s.Handler()), refused)}
}

func refused(code int, said []byte) error {
	var f Failure
	if err := json.Unmarshal(said, &f); err != nil && code == http.StatusNotFound {
		return errOlder
	} else if err != nil {
		return nil
	}
	return &AnswerError{code, f.Error, f.Gone}
}

// errOlder is what an agent answers that does not know the question: the command was updated under it.
var errOlder = errors.New("the agent that runs is older than this command, and cannot answer that: restart it (sudo systemctl restart edgeagent)")

// get asks, and returns the body of a good answer.
func (c *Client) get(ctx context.Context, method, path string, values url.Values) (io.ReadCloser, error) {
	return c.asks.Ask(ctx, method, path, values, nil)
}

// AnswerError is an answer that is not 200.
type AnswerError struct {
	Code    int // of HTTP: 400 a wrong question, 403 who asks may not, 404 not found, 409 not sealed yet, 410 gone
	Message string
	Gone    string // why, where the code is 410: see [Failure]
}

func (e *AnswerError) Error() string { return e.Message }

// Is lets errors.Is find the store's errors on this side of the socket.
func (e *AnswerError) Is(target error) bool {
	switch target {
	case fs.ErrPermission:
		return e.Code == http.StatusForbidden
	case store.ErrNotFound:
		return e.Code == http.StatusNotFound
	case store.ErrNotSealed:
		return e.Code == http.StatusConflict
	}
	for _, g := range goneWords {
		if target == g.err {
			return e.Gone == g.word
		}
	}
	return false
}

// Status asks how the gateway stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return localhttp.Object[Status](c.get(ctx, http.MethodGet, "/v1/status", nil))
}

// Checkpoint asks for a copy of the chain; the caller removes the folder it is in when done.
func (c *Client) Checkpoint(ctx context.Context) (dir string, err error) {
	answer, err := localhttp.Object[Checkpoint](c.get(ctx, http.MethodPost, "/v1/checkpoint", nil))
	return answer.Dir, err
}

// Reading asks for a copy of the chain that the agent removes as soon as done is called, or the program ends: for whoever may
// read and change nothing. Its folder and files are open to the data folder's group.
func (c *Client) Reading(ctx context.Context) (dir string, done io.Closer, err error) {
	body, err := c.get(ctx, http.MethodPost, ReadingPath, nil)
	if err != nil {
		return "", nil, err
	}
	var at Checkpoint
	if err := json.NewDecoder(body).Decode(&at); err != nil {
		return "", nil, errors.Join(fmt.Errorf("the answer of the agent: %w", err), body.Close())
	}
	return at.Dir, body, nil
}

// Reload asks the agent to read its configuration again, or to say what that would do; the error says why the old one
// stays.
func (c *Client) Reload(ctx context.Context, dryRun bool) (Reloaded, error) {
	return localhttp.Object[Reloaded](c.get(ctx, http.MethodPost, "/v1/reload", url.Values{"dry_run": {strconv.FormatBool(dryRun)}}))
}

// Rotate asks the agent to change its key.
func (c *Client) Rotate(ctx context.Context) (Rotation, error) {
	return localhttp.Object[Rotation](c.get(ctx, http.MethodPost, "/v1/rotate", nil))
}

// Note hands the agent what a person says, and returns once that is on disk.
func (c *Client) Note(ctx context.Context, n Noting) (Noted, error) {
	return localhttp.Object[Noted](c.asks.Ask(ctx, http.MethodPost, NotePath, nil, n))
}

// Proof asks for the encoded proof of an entry.
func (c *Client) Proof(ctx context.Context, number uint64, quorum int) ([]byte, error) {
	values := url.Values{"number": {fmt.Sprint(number)}, "quorum": {fmt.Sprint(quorum)}}
	body, err := c.get(ctx, http.MethodGet, "/v1/proof", values)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// Entries asks for entries or readings; see the package comment for the values. The caller may take his time.
func (c *Client) Entries(ctx context.Context, values url.Values) iter.Seq2[Entry, error] {
	return lines(c, ctx, "/v1/entries", values, func(e *Entry) (uint64, bool) { return e.Number, e.Gone == "" })
}

// Devices asks which devices were heard; see the package comment for the values.
func (c *Client) Devices(ctx context.Context, values url.Values) (Devices, error) {
	return localhttp.Object[Devices](c.get(ctx, http.MethodGet, "/v1/devices", values))
}

// Summary asks for counts, extremes and means of readings; see the package comment for the values.
func (c *Client) Summary(ctx context.Context, values url.Values) (Summary, error) {
	return localhttp.Object[Summary](c.get(ctx, http.MethodGet, "/v1/summary", values))
}

// Blocks asks for headers. The caller may take his time.
func (c *Client) Blocks(ctx context.Context, values url.Values) iter.Seq2[Block, error] {
	return lines(c, ctx, "/v1/blocks", values, func(b *Block) (uint64, bool) { return b.Height, true })
}

// lines reads an answer of JSON lines, in the order of their numbers. One that is cut off, since its reader did not read for
// a while and must not keep what he reads from being deleted, is asked for again from where he is.
func lines[T any](c *Client, ctx context.Context, path string, values url.Values, number func(*T) (uint64, bool)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		values := maps.Clone(values)
		if values == nil {
			values = url.Values{}
		}
		for {
			at, known, taken, cut := uint64(0), false, 0, false
			for line, err := range localhttp.Lines[T](ctx, func() (io.ReadCloser, error) { return c.get(ctx, http.MethodGet, path, values) }) {
				if cut = known && isCut(err); cut {
					break
				}
				if !yield(line, err) || err != nil {
					return
				}
				taken++
				if n, ok := number(&line); ok {
					at, known = n, true
				}
			}
			if !cut {
				return
			}
			if values.Get("reverse") != "true" {
				values.Set("from", strconv.FormatUint(at+1, 10))
			} else if at == 0 { // nothing is below it
				return
			} else {
				values.Set("to", strconv.FormatUint(at, 10))
			}
			if limit, err := strconv.Atoi(values.Get("limit")); err == nil {
				if limit <= taken {
					return
				}
				values.Set("limit", strconv.Itoa(limit-taken))
			}
		}
	}
}

// isCut reports whether an answer has ended where its server closed the connection.
func isCut(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
