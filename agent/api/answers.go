package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"edgechain.example/lightchain/store"
)

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { answer(w, s.Status()) }

// question reads the parameters of a request; the first that is wrong is remembered.
type question struct {
	values url.Values
	err    error
}

func number[T int | int64 | uint64](q *question, name string, absent T) T {
	text := q.values.Get(name)
	if text == "" {
		return absent
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 && name != "since" && name != "until" || int64(T(n)) != n {
		q.err = &wrongQuestion{fmt.Errorf("%s=%q: expected a whole number", name, text)}
	}
	return T(n)
}

func (q *question) flag(name string) bool { return q.values.Get(name) == "true" }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Failure is the body of an answer that is not 200.
type Failure struct {
	Error string `json:"error"`
	Gone  string `json:"gone,omitempty"` // why, where the code is 410: pruned, not_held or damaged
}

// cutOff ends an answer of JSON lines that is not whole: without it that would look like its end.
const cutOff = "the agent is stopping: the answer is not whole"

// Pruned says that retention has deleted something, which is no loss.
const Pruned = "pruned"

// goneWords tell apart what cannot be had any more.
var goneWords = [...]struct {
	word string
	err  error
}{{Pruned, store.ErrPruned}, {"not_held", store.ErrNotHeld}, {"damaged", store.ErrDamaged}}

func goneWord(err error) string {
	for _, g := range goneWords {
		if errors.Is(err, g.err) {
			return g.word
		}
	}
	return ""
}

// fail answers with the code that tells a client what kind of error it was.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var wrong *wrongQuestion
	switch {
	case errors.As(err, &wrong):
		code = http.StatusBadRequest
	case errors.Is(err, store.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, store.ErrNotSealed):
		code = http.StatusConflict
	case errors.Is(err, store.ErrPruned), errors.Is(err, store.ErrNotHeld), errors.Is(err, store.ErrDamaged):
		code = http.StatusGone
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Failure{Error: err.Error(), Gone: goneWord(err)})
}

// wrongQuestion is an error of the asker's.
type wrongQuestion struct{ err error }

func (e *wrongQuestion) Error() string { return e.err.Error() }
