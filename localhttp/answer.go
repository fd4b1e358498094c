package localhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
)

// Object reads an answer of one object. It takes what asking returned.
func Object[T any](body io.ReadCloser, err error) (v T, _ error) {
	if err != nil {
		return v, err
	}
	defer body.Close()
	err = json.NewDecoder(body).Decode(&v)
	return v, err
}

// Lines asks, and reads an answer of JSON lines. A line {"error": …} ends it with that error, and so does, without one,
// the end of ctx.
func Lines[T any](ctx context.Context, ask func() (io.ReadCloser, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		body, err := ask()
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		in := json.NewDecoder(body)
		for {
			var line json.RawMessage
			if err := in.Decode(&line); errors.Is(err, io.EOF) || err != nil && ctx.Err() != nil {
				return
			} else if err != nil {
				yield(none, err)
				return
			}
			if bytes.HasPrefix(line, []byte(`{"error":`)) {
				var failure struct{ Error string }
				_ = json.Unmarshal(line, &failure)
				if ctx.Err() == nil {
					yield(none, errors.New(failure.Error))
				}
				return
			}
			var v T
			if err := json.Unmarshal(line, &v); err != nil {
				yield(none, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}
