package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"edgechain.example/aggregator/registry"
	"edgechain.example/localhttp"
)

// Client asks an aggregator. A chain is named by its 52 characters or, of one that is known there, by 8 or more of the
// first ones.
type Client struct{ asks localhttp.Client }

// ErrNotRunning means that nobody answers on the aggregator's socket.
var ErrNotRunning = errors.New("the aggregator does not run")

// Dial returns a client of the aggregator that listens on the socket at path, or [ErrNotRunning].
func Dial(ctx context.Context, path string) (*Client, error) {
	carrier, err := localhttp.Dial(ctx, path)
	if errors.Is(err, localhttp.ErrNobody) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	return &Client{localhttp.NewClient("aggregator", carrier, refused)}, nil
}

// Local returns a client of a store that no aggregator runs on: the same handlers, without a socket between.
func Local(s *Server) *Client {
	return &Client{localhttp.NewClient("aggregator", localhttp.InProcess(s.Handler()), refused)}
}

// AnswerError is an answer that is not 200.
type AnswerError struct {
	Code    int // of HTTP: 400 a wrong question, 404 not found
	Message string
}

func (e *AnswerError) Error() string { return e.Message }

// Is lets errors.Is find the aggregator's errors on this side of the socket.
func (e *AnswerError) Is(target error) bool {
	return target == registry.ErrNotFound && e.Code == http.StatusNotFound
}

func refused(code int, said []byte) error {
	var f Failure
	if json.Unmarshal(said, &f) != nil {
		if f.Error = strings.TrimSpace(string(said)); f.Error == "" {
			return nil
		}
	}
	return &AnswerError{code, f.Error}
}

// one asks for one object.
func one[T any](ctx context.Context, c *Client, method, path string, values url.Values, body any) (T, error) {
	return localhttp.Object[T](c.asks.Ask(ctx, method, path, values, body))
}

// each asks for objects, one a line.
func each[T any](ctx context.Context, c *Client, method, path string, values url.Values, body any) iter.Seq2[T, error] {
	return localhttp.Lines[T](ctx, func() (io.ReadCloser, error) { return c.asks.Ask(ctx, method, path, values, body) })
}

// raw asks for bytes.
func (c *Client) raw(ctx context.Context, path string, values url.Values) ([]byte, error) {
	answer, err := c.asks.Ask(ctx, http.MethodGet, path, values, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return io.ReadAll(answer)
}

func gatewayPath(chain, word string) string {
	path := "/v1/gateways/" + url.PathEscape(chain)
	if word != "" {
		path += "/" + word
	}
	return path
}

// Checkpoint asks for a copy of the store; the caller removes the folder it is in when done.
func (c *Client) Checkpoint(ctx context.Context) (dir string, err error) {
	answer, err := one[Checkpoint](ctx, c, http.MethodPost, "/v1/checkpoint", nil, nil)
	return answer.Dir, err
}

// Status asks how the aggregator stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return one[Status](ctx, c, http.MethodGet, "/v1/status", nil, nil)
}

// Gateways asks for all gateways of a standing with a finding; "" is any.
func (c *Client) Gateways(ctx context.Context, standing registry.Standing, finding registry.Kind) iter.Seq2[Gateway, error] {
	values := url.Values{"standing": {string(standing)}, "finding": {string(finding)}}
	return each[Gateway](ctx, c, http.MethodGet, "/v1/gateways", values, nil)
}

// Gateway asks for one.
func (c *Client) Gateway(ctx context.Context, chain string) (Gateway, error) {
	return one[Gateway](ctx, c, http.MethodGet, gatewayPath(chain, ""), nil, nil)
}

// Approve has a gateway followed and countersigned.
func (c *Client) Approve(ctx context.Context, chain string, s registry.Settings) (Gateway, error) {
	return one[Gateway](ctx, c, http.MethodPost, gatewayPath(chain, "approve"), nil, s)
}

// ApproveNames approves all that wait under a name that the pattern matches.
func (c *Client) ApproveNames(ctx context.Context, pattern string, s registry.Settings) iter.Seq2[Gateway, error] {
	return each[Gateway](ctx, c, http.MethodPost, "/v1/approve", url.Values{"name": {pattern}}, s)
}

// Acknowledge takes back what was noted about a gateway, but for forks.
func (c *Client) Acknowledge(ctx context.Context, chain string) (Gateway, error) {
	return one[Gateway](ctx, c, http.MethodPost, gatewayPath(chain, "acknowledge"), nil, nil)
}

// Reject has a gateway ignored.
func (c *Client) Reject(ctx context.Context, chain string) (Gateway, error) {
	return one[Gateway](ctx, c, http.MethodPost, gatewayPath(chain, "reject"), nil, nil)
}

// Forget drops all that is kept of a gateway but its newest head and evidence.
func (c *Client) Forget(ctx context.Context, chain string) (Gateway, error) {
	return one[Gateway](ctx, c, http.MethodPost, gatewayPath(chain, "forget"), nil, nil)
}

// Headers asks for headers; values may hold from, to (both included) and limit.
func (c *Client) Headers(ctx context.Context, chain string, values url.Values) iter.Seq2[Header, error] {
	return each[Header](ctx, c, http.MethodGet, gatewayPath(chain, "headers"), values, nil)
}

// Receipt asks for the newest receipt, or, with a height, for the first one at it or above: a signed header.
func (c *Client) Receipt(ctx context.Context, chain string, height *uint64) ([]byte, error) {
	values := url.Values{}
	if height != nil {
		values.Set("height", strconv.FormatUint(*height, 10))
	}
	return c.raw(ctx, gatewayPath(chain, "receipt"), values)
}

// Forks asks which evidence there is.
func (c *Client) Forks(ctx context.Context, chain string) iter.Seq2[Fork, error] {
	return each[Fork](ctx, c, http.MethodGet, gatewayPath(chain, "forks"), nil, nil)
}

// Evidence asks for one piece of evidence.
func (c *Client) Evidence(ctx context.Context, chain, id string) ([]byte, error) {
	return c.raw(ctx, gatewayPath(chain, "forks/"+url.PathEscape(id)), nil)
}

// Tokens asks for all tokens, without their texts.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return each[Token](ctx, c, http.MethodGet, "/v1/tokens", nil, nil)
}

// NewToken asks for a new one.
func (c *Client) NewToken(ctx context.Context, r TokenRequest) (Token, error) {
	return one[Token](ctx, c, http.MethodPost, "/v1/tokens", nil, r)
}

// RemoveToken takes one back.
func (c *Client) RemoveToken(ctx context.Context, id string) error {
	_, err := one[struct{}](ctx, c, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil)
	return err
}
