package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"edgechain.example/localhttp"
)

// ErrOpening means that the agent runs, and has not opened its chain yet: nothing is recorded, and nothing can be asked
// but how far it is.
var ErrOpening = errors.New("the agent is opening its chain")

// Opening is how far an agent is with opening its chain.
type Opening struct {
	Since time.Time `json:"since"`
	Step  string    `json:"step"` // what it does, or waits for
	Done  uint64    `json:"done,omitempty"`
	Total uint64    `json:"total,omitempty"` // 0: it is not known how much there is to do
}

// String says so in words: "reading what a crash has left, 40 %".
func (o *Opening) String() string {
	if o.Total == 0 {
		return o.Step
	}
	return fmt.Sprintf("%s, %d %%", o.Step, 100*min(o.Done, o.Total)/o.Total)
}

// OpeningHandler is the interface of an agent that has not opened its chain yet.
func OpeningHandler(status func() Status, metrics prometheus.Gatherer) http.Handler {
	why := func() error { return fmt.Errorf("%w: %s", ErrOpening, status().Opening) }
	ready := func() error {
		v := status().Verdict
		return v.Err()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, status()) })
	mux.HandleFunc("GET /healthz", localhttp.Check(func() error { return nil }, ""))
	mux.HandleFunc("GET /readyz", localhttp.Check(ready, ""))
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(Failure{Error: why().Error()})
	})
	return mux
}
