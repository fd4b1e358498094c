// Package api is the aggregator's local HTTP interface: what it answers on its socket, to its own commands and to monitoring, and
// the client with which the commands ask. The same handlers serve a store that no aggregator runs on, without a socket between.
// A chain is named by its 52 characters, or, since it selects from
// what is known here, by 8 or more of the first ones.
//
//	GET  /v1/status
//	GET  /v1/gateways?standing=&finding=                       JSON lines of [Gateway]
//	GET  /v1/gateways/CHAIN
//	POST /v1/gateways/CHAIN/approve                            [registry.Settings]
//	POST /v1/gateways/CHAIN/acknowledge  (reject, forget)
//	POST /v1/approve?name=PATTERN                              [registry.Settings]
//	GET  /v1/gateways/CHAIN/headers?from=&to=&limit=           JSON lines of [Header]
//	GET  /v1/gateways/CHAIN/receipt?height=                    application/vnd.edgechain.header+cbor
//	GET  /v1/gateways/CHAIN/forks                              JSON lines of [Fork]
//	GET  /v1/gateways/CHAIN/forks/ID                           application/vnd.edgechain.fork+cbor
//	GET  /v1/gateways/CHAIN/tlog-proof?height=                 [TlogProof]
//	GET  /v1/log                                               [Heads]
//	GET  /v1/log/check                                         [HeadsChecked]
//	GET  /v1/log/checkpoint  (tile/…)                          as the log of heads is served
//	GET  /v1/tokens        POST /v1/tokens  [TokenRequest]     DELETE /v1/tokens/ID
//	POST /v1/checkpoint                                        [Checkpoint]
//	GET  /healthz  /readyz  /metrics
//
// On TCP, where anybody on the machine can connect, only GET is answered, and on the socket to others than its owner and root,
// unless api.group_writes is set.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
)

// Server answers. What is nil belongs to a running aggregator and is answered with 503, or left out.
type Server struct {
	Identity     Identity
	Store        registry.Store
	Data         string // folder that a checkpoint of the store is made in
	Registry     *registry.Registry
	Census       *registry.Census
	Now          func() time.Time
	Live         func() *Live
	Alive        func() error // nil while the program makes progress
	Ready        func() error // nil while all brokers are connected and receipts can be issued
	Metrics      prometheus.Gatherer
	Heads        *headlog.View // the log of heads; nil: there is none
	HeadsAbsent  error         // why there is none, where one is to be kept; nil: none is, or it was not begun
	HeadsEntries bool          // it shows headers
	Log          *slog.Logger
	Access       localhttp.Access

	checking sync.Mutex // held while the log of heads is checked
}

// Identity is whose receipts these are.
type Identity struct {
	Name    string `json:"name"`
	Key     string `json:"key"` // "ssh-ed25519 …"
	Version string `json:"version,omitempty"`
	Store   string `json:"store"` // "folder" or "database"
}

// Status is how an aggregator stands.
type Status struct {
	Running bool `json:"running"`
	Identity
	Gateways map[registry.Standing]int `json:"gateways"`
	Findings map[registry.Kind]int     `json:"findings"`         // of those that are approved
	Counted  time.Time                 `json:"counted,omitzero"` // when they were counted; the zero time: just now
	// Uncounted says why the gateways could not be counted now; what is shown of them is from before, or nothing.
	Uncounted string           `json:"uncounted,omitempty"`
	Opened    *registry.Opened `json:"damage,omitempty"` // what the store's last start found damaged
	Live      *Live            `json:"live,omitempty"`
}

// Live is what only a running aggregator knows.
type Live struct {
	Started  time.Time          `json:"started"`
	Clock    string             `json:"clock"` // "synchronised", "unsynchronised" or "unknown", or [ClockAssumed]
	Replica  string             `json:"replica,omitempty"`
	Replicas []string           `json:"replicas,omitempty"` // that live
	Owned    *int               `json:"owned,omitempty"`    // approved gateways that this replica follows, when they were counted last
	Idle     string             `json:"idle,omitempty"`     // why it follows none
	Withheld int                `json:"withheld"`           // heads that are not countersigned for want of a clock that is right, or a database
	Database *registry.Database `json:"database,omitempty"`
	Log      *LogStanding       `json:"log,omitempty"`
	Brokers  []Broker           `json:"brokers"`
	Deaf     string             `json:"api_not_listening,omitempty"` // since when api.listen is not answered on, and why
}

// ClockAssumed is what is said of a clock that is taken for synchronised, whatever the kernel says of it.
const ClockAssumed = "assumed"

// Broker is how the connection to one broker stands.
type Broker struct {
	Name      string `json:"name"`
	Connected bool   `json:"connected"`
	Server    string `json:"server,omitempty"`
	Error     string `json:"error,omitempty"`
	Received  int64  `json:"received"`
	Sent      int64  `json:"sent"`
}

// Header is what is told of one header.
type Header struct {
	Height  uint64          `json:"height"`
	Hash    lightchain.Hash `json:"hash"`
	First   uint64          `json:"first"`
	Count   uint64          `json:"count"`
	Sealed  time.Time       `json:"sealed"` // by the gateway's clock
	Clock   string          `json:"clock"`
	Boot    uint64          `json:"boot"`
	Root    lightchain.Hash `json:"root"`
	Beacon  bool            `json:"beacon,omitempty"`
	NextKey string          `json:"next_key,omitempty"`
	Signed  bool            `json:"signed,omitempty"` // its own signature is held
}

// Fork is what is told of evidence.
type Fork struct {
	Chain  lightchain.ChainID `json:"chain"`
	Name   string             `json:"name,omitempty"`
	ID     lightchain.Hash    `json:"id"`
	Height uint64             `json:"height"`
	Seen   time.Time          `json:"seen"`
	Bytes  int                `json:"bytes"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Life   time.Duration     `json:"life"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Failure is an answer that is not 200, and the last line of one that broke off.
type Failure struct {
	Error string `json:"error"`
}

// notThere is what the health checks say where there is nothing to check.
const notThere = "the aggregator does not run"

// Handler returns the interface.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/gateways", s.gateways)
	mux.HandleFunc("GET /v1/gateways/{chain}", s.gateway)
	mux.HandleFunc("GET /v1/gateways/{chain}/headers", s.headers)
	mux.HandleFunc("GET /v1/gateways/{chain}/receipt", s.receipt)
	mux.HandleFunc("GET /v1/gateways/{chain}/forks", s.forks)
	mux.HandleFunc("GET /v1/gateways/{chain}/forks/{id}", s.evidence)
	mux.HandleFunc("GET /v1/gateways/{chain}/tlog-proof", s.tlogProof)
	mux.HandleFunc("GET /v1/log", s.heads)
	mux.HandleFunc("GET /v1/log/check", s.headsCheck)
	mux.HandleFunc("GET /v1/log/{path...}", s.headsServed)
	mux.HandleFunc("GET /v1/tokens", s.tokens)
	mux.HandleFunc("GET /healthz", localhttp.Check(s.Alive, notThere))
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.Metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	}
	mux.HandleFunc("POST /v1/gateways/{chain}/approve", s.approve)
	mux.HandleFunc("POST /v1/gateways/{chain}/acknowledge", s.acknowledge)
	mux.HandleFunc("POST /v1/gateways/{chain}/reject", s.reject)
	mux.HandleFunc("POST /v1/gateways/{chain}/forget", s.forget)
	mux.HandleFunc("POST /v1/approve", s.approveNames)
	mux.HandleFunc("POST /v1/checkpoint", s.checkpoint)
	mux.HandleFunc("POST /v1/tokens", s.newToken)
	mux.HandleFunc("DELETE /v1/tokens/{id}", s.removeToken)
	return mux
}

// readyz says whether gateways are followed and countersigned, and what part of that is this replica's.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	localhttp.Check(s.Ready, notThere)(w, r)
	if s.Live == nil {
		return
	}
	if l := s.Live(); l.Replica != "" {
		owned := "not counted yet"
		if l.Owned != nil {
			owned = fmt.Sprint(*l.Owned)
		}
		fmt.Fprintf(w, "replica: %s\nliving: %s\ngateways owned: %s\n", l.Replica, strings.Join(l.Replicas, " "), owned)
	}
}

// Serve answers on the listeners until ctx ends; then it closes them, ends long answers, and returns when nobody reads
// the store any more. Over TCP it is for reading alone: see package localhttp.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) {
	localhttp.Serve(ctx, s.Handler(), s.Log, s.Access, listeners...)
}
