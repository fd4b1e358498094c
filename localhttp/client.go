package localhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Client asks a program of this machine: over its socket, or its handlers in this process where it does not run.
type Client struct {
	host string
	http http.Client
	// refused makes an error of an answer that is not 200, of its code and what it says; nil if it cannot be read.
	refused func(code int, said []byte) error
}

// NewClient returns a client that asks over the carrier, see [Dial] and [InProcess], what it calls host in its errors.
func NewClient(host string, carrier http.RoundTripper, refused func(code int, said []byte) error) Client {
	return Client{host, http.Client{Transport: carrier}, refused}
}

// Ask sends a request with body, nil for none, in JSON, and returns the body of a good answer.
func (c *Client) Ask(ctx context.Context, method, path string, values url.Values, body any) (io.ReadCloser, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	u := url.URL{Scheme: "http", Host: c.host, Path: path, RawQuery: values.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), in)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil {
		err = c.refused(response.StatusCode, said)
	}
	if err == nil {
		err = fmt.Errorf("%s answers %s", path, response.Status)
	}
	return nil, err
}
