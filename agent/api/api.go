// Package api is the gateway's local HTTP interface: what the agent answers on its socket, and the client with which
// the commands ask. The same handlers serve a chain that is only read from disk, so a command has one path whether
// or not the agent runs. It owns the words of the interface; it changes nothing in a chain. Over TCP it is for reading
// alone: see package localhttp.
//
//	GET  /v1/status
//	GET  /v1/entries?from=&to=&device=&name=&source=&since=&until=&limit=&reverse=&follow=    JSON lines
//	GET  /v1/devices?device=&since=                                                           [Devices]
//	GET  /v1/summary?from=&to=&device=&name=&source=&since=&until=&received=                  [Summary]
//	GET  /v1/blocks?from=&to=&limit=&reverse=                                                 JSON lines
//	GET  /v1/proof?number=&quorum=                                                            application/vnd.edgechain.proof+cbor
//	GET  /v1/retention?max_age=&max_size=&quorum=&min_age=&room_per_day=&delete_unreceipted_evidence=    what limits would delete
//	POST /v1/prune?…                                                                          delete it; the same limits
//	POST /v1/checkpoint
//	POST /v1/reading                                                                          a checkpoint for as long as the answer is read
//	POST /v1/reload?dry_run=
//	POST /v1/rotate
//	POST /v1/note        [Noting]                                                             what a person says, or attaches
//	POST /v1/poll?name=                                                                       what a polled source reads now; nothing is recorded
//	GET  /healthz  /readyz  /metrics
package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
	"edgechain.example/sensors/sparkplug"
)

// Status is how a gateway stands. Fields that only a running agent knows are absent otherwise.
type Status struct {
	Verdict
	Running    bool               `json:"running"`
	Version    string             `json:"version,omitempty"`
	Chain      lightchain.ChainID `json:"chain"`
	Gateway    string             `json:"gateway,omitempty"` // its name in genesis
	Height     uint64             `json:"height"`
	Head       lightchain.Hash    `json:"head"`
	Sealed     time.Time          `json:"sealed,omitzero"` // when the newest block was
	Entries    uint64             `json:"entries"`         // that the chain numbers, the open block's included
	Open       uint64             `json:"open_entries"`    // of these, not sealed yet
	Held       uint64             `json:"first_held"`      // number of the oldest entry that is held
	Bytes      uint64             `json:"disk_bytes"`
	Key        string             `json:"key"`                        // the public key in force
	KeyChanges int                `json:"key_changes,omitempty"`      // how often the key was changed, once that comes near what a chain bears
	FormerKeys []string           `json:"former_key_files,omitempty"` // files with a key that was in force and is not any more, which was to be destroyed
	SetBack    string             `json:"set_back,omitempty"`         // of a folder that no agent runs on: which blocks at the chain's end are not in it
	Lost       store.Lost         `json:"lost"`                       // what is known to be damaged on disk
	Scrub      *Scrub             `json:"scrub,omitempty"`
	Live       *Live              `json:"live,omitempty"`
	Volatile   string             `json:"volatile,omitempty"` // the data folder's file system, where a power cut takes it
	Opening    *Opening           `json:"opening,omitempty"`  // of an agent that has not opened its chain: all else is not known yet
	Mark       string             `json:"mark,omitempty"`     // of a folder that no agent runs on: that the chain was moved away, or restored
}

// Scrub is how far the store has been read through, to find damage where nobody reads.
type Scrub struct {
	Last *ScrubRound    `json:"last,omitempty"` // the last time that went to the end; absent: none has
	Now  *ScrubProgress `json:"now,omitempty"`  // the one that goes on, or was cut off and will
}

// ScrubRound is one time through the whole store.
type ScrubRound struct {
	Ended   time.Time `json:"ended"`
	Seconds float64   `json:"seconds"`
	Bytes   uint64    `json:"bytes"`
	Lost    uint64    `json:"lost_entries"` // that were not known to be lost before
	Mended  uint64    `json:"mended"`       // nodes of the history and summaries that were wrong, and made anew
}

// ScrubProgress is how far a round is.
type ScrubProgress struct {
	Began  time.Time `json:"began"`
	Height uint64    `json:"height"` // below which all was read
	Bytes  uint64    `json:"bytes"`
	Lost   uint64    `json:"lost_entries"`
}

// Live is what only a running agent knows.
type Live struct {
	Started       time.Time `json:"started"`
	Boot          uint64    `json:"boot"`
	Starts        uint64    `json:"starts"`         // of the program, since the chain began, this one included
	Unclean       uint64    `json:"unclean_starts"` // of these, those after a run that was not stopped in order
	After         string    `json:"started_after"`  // how the run before ended: stop, shutdown, crash, power_cut
	Clock         string    `json:"clock"`
	ClockError    float64   `json:"clock_error_seconds"`
	InFlight      int       `json:"in_flight_messages"`
	InFlightBytes int       `json:"in_flight_bytes"`
	Waiting       bool      `json:"waiting_for_space"`
	WaitingSince  time.Time `json:"waiting_since,omitzero"`
	Full          bool      `json:"block_full"`              // the open block takes no more, and may not be sealed yet
	Stuck         float64   `json:"stuck_seconds,omitempty"` // for how long messages have waited and none has reached the disk
	TimeFloor     time.Time `json:"time_floor,omitzero"`     // a time that is certainly past
	Lost          *Loss     `json:"last_loss,omitempty"`     // the newest known loss of messages that were counted
	Damaged       time.Time `json:"last_damage,omitzero"`    // when the disk was last found to have lost something
	Held          string    `json:"held,omitempty"`          // why nothing is sealed: the gravest reason, and what to do
	// HeldBy are all reasons, the gravest first. Of no_space alone sealing is tried again and again.
	HeldBy    []sealgate.Reason `json:"held_by,omitempty"`
	KeyFiles  []string          `json:"key_files,omitempty"`       // what is wrong with the files of the key, or was put right since the start
	KeyWrong  string            `json:"key_files_wrong,omitempty"` // of these, what is wrong now
	Free      uint64            `json:"free_bytes"`
	Reserve   uint64            `json:"reserve_bytes"`
	Buffer    Buffer            `json:"buffer"`
	Card      Card              `json:"card"`
	HeldBack  *Stretch          `json:"held_back,omitempty"` // that retention would delete, were it receipted
	Kept      []Kept            `json:"kept,omitempty"`      // that it would delete for size or for room, but for min_age and room_per_day
	Sources   []Source          `json:"sources"`
	Devices   int               `json:"devices"`                // that are watched
	Late      []LateDevice      `json:"late_devices,omitempty"` // those that have been silent for too long
	Upstreams []Upstream        `json:"upstreams,omitempty"`

	// Messages since the start that were not understood, or lacked something: the newest of each source, topic and reason,
	// the latest first; and how many more there were of topics and reasons beyond what the agent remembers.
	Unread          []Unread `json:"unread,omitempty"`
	UnreadElsewhere uint64   `json:"unread_elsewhere,omitempty"`

	Renamed []Renamed `json:"renamed_devices,omitempty"`

	Abandoned []Abandoned `json:"abandoned_sessions,omitempty"`

	Deaf      string    `json:"api_not_listening,omitempty"` // since when api.listen is not answered on, and why
	DeafSince time.Time `json:"api_not_listening_since,omitzero"`
}

// Loss is a time that messages were known to be lost.
type Loss struct {
	At     time.Time `json:"at"`
	Source string    `json:"source,omitempty"` // "" where entries of the chain's end are lost
	Count  uint64    `json:"count"`            // at most
	Why    string    `json:"why"`
}

// Renamed is a device that was known by another name before a start: decoders of version 2 name it after its topic.
type Renamed struct {
	Was  string `json:"was"`
	Now  string `json:"now"`
	Rule string `json:"rule"` // what in the table of its subscription, or in [[broker.decode]], names it as before
}

// Unread is a source whose messages were not understood, for one kind of reason.
type Unread struct {
	Source   string    `json:"source"` // its name, as above
	Topic    string    `json:"topic"`  // its first 256 bytes
	Reason   string    `json:"reason"` // one word; "doubt": it was understood, but for what Detail says
	Detail   string    `json:"detail"` // what the decoder said of the newest
	Messages uint64    `json:"messages"`
	Last     time.Time `json:"last"`
}

// LateDevice is a device that has been silent for longer than its own rhythm explains.
type LateDevice struct {
	Name   string    `json:"name"`
	Last   time.Time `json:"last"`           // its newest message
	Silent float64   `json:"silent_seconds"` // since then, or since the agent was started
	Usual  float64   `json:"usual_seconds"`  // its longest silence lately
}

// Buffer says how long the gateway could go on recording if no receipt came from now on. That is until the disk's
// reserve is reached and nothing that is receipted is left to be deleted.
type Buffer struct {
	Rate      float64  `json:"bytes_per_day"`   // by which the store grows, over the last day or what there is of it; 0: not known yet
	Room      uint64   `json:"room_bytes"`      // until the reserve
	Deletable uint64   `json:"deletable_bytes"` // receipted payloads older than min_age, which retention by size would delete before that
	Endless   bool     `json:"endless"`         // retention may delete what is not receipted, and never stops recording
	Days      *float64 `json:"days,omitempty"`  // nil where it is endless, or not known
}

// Card says what is written to the card, or to whatever else the chain lies on, and what may be.
type Card struct {
	Rate      float64   `json:"bytes_per_day"`                // written, over the last day or what there is of it; 0: not known yet
	Written   uint64    `json:"written_bytes"`                // since the start
	Budget    uint64    `json:"budget_bytes_per_day"`         // 0: there is none
	Exceeded  uint64    `json:"exceeded_bytes_per_day"`       // by which the rate exceeds it, what may have been saved up allowed for
	Why       string    `json:"exceeded_because,omitempty"`   // for people
	Fixed     bool      `json:"fixed_delays"`                 // commit.max_delay and commit.idle decide, and not the budget
	Wait      float64   `json:"group_seconds"`                // between two groups, as the budget wants it now
	Limited   []Limited `json:"limited_senders,omitempty"`    // who goes before the budget
	Disk      uint64    `json:"disk_bytes"`                   // how large the file system is; 0: not known
	Endurance uint64    `json:"assumed_endurance_bytes"`      // that a card of this size bears: assumed, no SD card tells it
	Years     *float64  `json:"years_at_this_rate,omitempty"` // until then
}

// Limited is somebody who sends no more before he has acknowledgements.
type Limited struct {
	Sender string `json:"sender"` // as an entry's source names it: "mqtt:<name>", "broker:<user>/<client id>"
	Window int    `json:"window"` // how many messages he sends ahead of them
}

// Upstream is how one broker that leads to aggregators stands.
type Upstream struct {
	Name        string       `json:"name"`
	Connected   bool         `json:"connected"`
	Since       time.Time    `json:"since,omitzero"`     // since when it is not, or has not been yet
	Token       bool         `json:"enrol_token"`        // the gateway shows its aggregators a token
	Announce    float64      `json:"announce_seconds"`   // a new head is announced at least so often
	Detail      string       `json:"detail,omitempty"`   // where to, or why not
	Standing    string       `json:"standing,omitempty"` // of this chain's head to what the aggregators know; "" not settled yet
	Aggregators []Aggregator `json:"aggregators"`
}

// Aggregator is what one of them has countersigned.
type Aggregator struct {
	Name      string  `json:"name"`
	Receipted *uint64 `json:"receipted,omitempty"` // the highest header
	CutOff    bool    `json:"cut_off,omitempty"`   // it cannot follow this chain any more: headers that it would need are gone
	Complaint string  `json:"complaint,omitempty"` // what it signed last that cannot be, since the agent's start

	Answered     bool      `json:"answered"`                   // anything, since the agent's start or the reload that added it
	Unreceipted  time.Time `json:"unreceipted_since,omitzero"` // when the lowest header above Receipted was sealed
	WaitingSince time.Time `json:"waiting_since,omitzero"`     // since when this agent has waited for that receipt, or for an answer
}

// Unapproved says what it means that an aggregator answers, and has never countersigned anything: one that has approved a
// gateway does so at once. token says that the gateway shows it one; since, as in " since yesterday", for how long it waits:
// "" leaves that out.
func (g *Aggregator) Unapproved(token bool, since string) string {
	text := g.Name + ": waits for approval" + since
	if token {
		text += ": the token in sync.enrol_token was used already, is too old or unknown there"
	}
	return text
}

// SourceState is what a source of messages is about.
type SourceState string

// The states of a source. One that fails is tried again for ever.
const (
	SourceStarting SourceState = "starting"
	SourceUp       SourceState = "up"
	SourceFailing  SourceState = "failing"
)

// SourceStates returns all states.
func SourceStates() []SourceState { return []SourceState{SourceStarting, SourceUp, SourceFailing} }

// Source is how one source of messages stands.
type Source struct {
	Name      string      `json:"name"`
	State     SourceState `json:"state"`
	Since     time.Time   `json:"since,omitzero"`    // when it began to fail, or to start
	Connected bool        `json:"connected"`         // to its broker with all filters granted, or listening: its state is up
	Detail    string      `json:"detail,omitempty"`  // where to, or why not
	Received  uint64      `json:"received"`          // messages, repetitions included
	Ignored   uint64      `json:"ignored,omitempty"` // of these, the gateways' own that came back, and are not recorded
	Clients   int         `json:"clients,omitempty"` // of the embedded broker

	Last      time.Time `json:"last_message,omitzero"`    // when the newest message arrived that is on disk; since the agent's start
	Silent    float64   `json:"silent_seconds,omitempty"` // since then, by a clock that never jumps
	PerMinute float64   `json:"messages_per_minute"`      // put to disk, over Window
	Window    float64   `json:"window_seconds,omitempty"` // five minutes, or less where the agent has not run so long, a minute at least

	Recognised  uint64  `json:"recognised,omitempty"`  // of these, certain repetitions: acknowledged and not recorded again
	Refused     uint64  `json:"refused,omitempty"`     // what clients of the embedded broker had no right to, clients that were not let in among it
	Undelivered uint64  `json:"undelivered,omitempty"` // messages that a subscriber of the embedded broker did not get
	Broker      *Broker `json:"broker,omitempty"`      // of the embedded broker alone

	Slowed   uint64   `json:"slowed,omitempty"`   // messages taken later than they came, because of max_rate
	Exceeded uint64   `json:"exceeded,omitempty"` // messages that came with QoS 0 beyond it, and are lost
	Filters  []Filter `json:"filters,omitempty"`  // in the order in which they count

	Sparkplug *Sparkplug `json:"sparkplug,omitempty"` // of a source that has heard of Sparkplug's nodes, or is a host
	Groups    []Group    `json:"groups,omitempty"`    // of a source that is polled, in the order of the configuration
}

// Sparkplug says what is known of nodes of Sparkplug's.
type Sparkplug struct {
	HostID string `json:"host_id,omitempty"` // as which the source says that it is online
	sparkplug.Stats
}

// Abandoned is a session that a broker keeps, and queues for, though no source or upstream uses it any more.
type Abandoned struct {
	Source   string   `json:"source"`              // whose it was; an upstream's name stands behind "upstream:"
	ClientID string   `json:"client_id,omitempty"` // "" where an older version has noted it
	Servers  []string `json:"servers,omitempty"`
}

// String says it in a sentence.
func (a *Abandoned) String() string {
	kind, table, name := "source", "[[mqtt]]", a.Source
	if upstream, ok := strings.CutPrefix(name, "upstream:"); ok {
		kind, table, name = "upstream", "[[upstream]]", upstream
	}
	whose := "of the " + kind + " " + name
	if a.ClientID != "" {
		whose = fmt.Sprintf("for client id %s, once %s %s", a.ClientID, kind, name)
	}
	if len(a.Servers) > 0 {
		whose = fmt.Sprintf("%s at %s", whose, strings.Join(a.Servers, " "))
	}
	return "a broker keeps a session " + whose + ", and queues for it: end it there, or reload with that " + table + " and then without"
}

// Filter is what one topic filter of the configuration kept out of the chain since the start.
type Filter struct {
	Topics  string `json:"topics"`
	Record  string `json:"record"`            // all, hash or nothing
	Ignored uint64 `json:"ignored,omitempty"` // messages that were not recorded
	Hashed  uint64 `json:"hashed,omitempty"`  // payloads of which the hash alone was
}

// Broker is what the clients of the embedded broker cost, now and since it was started.
type Broker struct {
	Sessions      int    `json:"sessions"` // connected or not
	Subscriptions int    `json:"subscriptions"`
	Retained      int    `json:"retained_messages"`
	RetainedBytes int    `json:"retained_bytes"`
	QueuedBytes   int    `json:"queued_bytes"`  // of messages that wait for subscribers
	ReadingBytes  int    `json:"reading_bytes"` // of large packets that are being read
	WillBytes     int    `json:"will_bytes"`
	Delivered     uint64 `json:"delivered"`       // messages sent to subscribers
	Unretained    uint64 `json:"unretained"`      // retained messages for which there was no room
	Strangers     uint64 `json:"unauthenticated"` // clients that were not let in
	Cut           uint64 `json:"cut"`             // connections that the broker ended: protocol, time-out, limit
	Panics        uint64 `json:"panics"`
	Kept          bool   `json:"kept"`                   // sessions and retained messages are on disk
	KeptBytes     uint64 `json:"kept_bytes,omitempty"`   // that they take there
	KeptWritten   uint64 `json:"kept_written,omitempty"` // bytes written for that
	Unkept        string `json:"unkept,omitempty"`       // why what was kept is lost, or nothing is kept though it should be
}

// Text says how it stands: "up, 127.0.0.1:1883", or since when it fails and why.
func (s *Source) Text() string {
	text := string(s.State)
	if s.State == SourceFailing && !s.Since.IsZero() {
		text += " since " + s.Since.UTC().Format(time.RFC3339)
	}
	if s.Detail != "" {
		text += ", " + s.Detail
	}
	return text
}

// Server answers. Chain must be set; what is nil besides belongs to a running agent and is answered with 503.
type Server struct {
	Chain      *store.Reader
	Status     func() Status
	Alive      func() error // nil while commits make progress
	Ready      func() error // nil while the verdict is OK
	Checkpoint func(context.Context) (dir string, err error)
	Reading    func(ctx context.Context, ready func(dir string) error) error // see [Client.Reading]
	Reload     func(ctx context.Context, dryRun bool) (Reloaded, error)
	Rotate     func(context.Context) (lightchain.PublicKey, uint64, error)
	Retention  func(context.Context, Limits) (Retention, error)
	Prune      func(context.Context, Limits) (Retention, error)
	Note       func(context.Context, Noting) (Noted, error)
	Poll       func(ctx context.Context, name string) ([]Polled, error)
	Metrics    prometheus.Gatherer
}

// Handler returns the interface.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/entries", s.entries)
	mux.HandleFunc("GET /v1/devices", s.devices)
	mux.HandleFunc("GET /v1/summary", s.summary)
	mux.HandleFunc("GET /v1/blocks", s.blocks)
	mux.HandleFunc("GET /v1/proof", s.proof)
	mux.HandleFunc("GET /v1/retention", s.retention)
	mux.HandleFunc("POST /v1/prune", s.prune)
	mux.HandleFunc("POST /v1/checkpoint", s.checkpoint)
	mux.HandleFunc("POST "+ReadingPath, s.reading)
	mux.HandleFunc("POST /v1/reload", s.reload)
	mux.HandleFunc("POST /v1/rotate", s.rotate)
	mux.HandleFunc("POST "+NotePath, s.note)
	mux.HandleFunc("POST "+PollPath, s.poll)
	mux.HandleFunc("GET /healthz", localhttp.Check(s.Alive, ErrNotRunning.Error()))
	mux.HandleFunc("GET /readyz", localhttp.Check(s.Ready, ErrNotRunning.Error()))
	if s.Metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	}
	return mux
}
