package api

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Verdict says whether a gateway does what it was told to. The agent makes it, in one place; `edgeagent status`, /readyz, the
// metrics and Home Assistant show it.
type Verdict struct {
	OK      bool     `json:"ok"`
	Reasons []Reason `json:"reasons"` // why not, the gravest first
}

// Reason is one thing that is wrong.
type Reason struct {
	Code  Code      `json:"code"`
	Of    string    `json:"of,omitempty"`   // whose, where several may have it: a source, an aggregator
	Since time.Time `json:"since,omitzero"` // since when it is so, as far as that is known
	Text  string    `json:"text"`           // what is wrong, for how long, and what to do: one line
}

// Code is what a reason is, as programs read it.
type Code string

// The codes, the gravest first: of what is not recorded, then of what is not sealed, then of what is not countersigned.
const (
	NotRunning           Code = "not_running"
	NotAnswering         Code = "not_answering"
	NotKnown             Code = "not_known"
	ChainOpening         Code = "opening"
	DiskFull             Code = "disk_full"
	BlockFull            Code = "block_full"
	WritesStuck          Code = "writes_stuck"
	NoSource             Code = "no_source"
	SourceDisconnected   Code = "source_disconnected"
	PollFailing          Code = "poll_failing"
	MessagesLost         Code = "messages_lost"
	DamageFound          Code = "damage_found"
	KeyNotUsable         Code = "key_not_usable"
	KeyFiles             Code = "key_files"
	SealingHeld          Code = "sealing_held"
	ClockWrong           Code = "clock_wrong"
	DiskFilling          Code = "disk_filling"
	BrokerKeepsNothing   Code = "broker_keeps_nothing"
	AggregatorCutOff     Code = "aggregator_cut_off"
	AggregatorWrong      Code = "aggregator_contradicts_itself"
	UpstreamDisconnected Code = "upstream_disconnected"
	AggregatorSilent     Code = "aggregator_silent"
	AggregatorUnapproved Code = "aggregator_waits_for_approval"
	ReceiptsLate         Code = "receipts_late"
	APIDeaf              Code = "api_not_listening"
)

// Codes are all of them, the gravest first.
func Codes() []Code {
	return []Code{NotRunning, NotAnswering, NotKnown, ChainOpening, DiskFull, BlockFull, WritesStuck, NoSource, SourceDisconnected, PollFailing,
		MessagesLost, DamageFound, KeyNotUsable, KeyFiles, SealingHeld, ClockWrong, DiskFilling, BrokerKeepsNothing, AggregatorCutOff,
		AggregatorWrong, UpstreamDisconnected, AggregatorSilent, AggregatorUnapproved, ReceiptsLate, APIDeaf}
}

// Has reports whether there is a reason with this code.
func (v *Verdict) Has(code Code) bool {
	return slices.ContainsFunc(v.Reasons, func(r Reason) bool { return r.Code == code })
}

// About reports whether there is a reason with this code that is about of.
func (v *Verdict) About(code Code, of string) bool {
	return slices.ContainsFunc(v.Reasons, func(r Reason) bool { return r.Code == code && r.Of == of })
}

// Lines returns the verdict as people read it: "OK", or "NOT OK: " and the gravest reason, then each other one on its own line.
func (v *Verdict) Lines() []string {
	if v.OK {
		return []string{"OK"}
	}
	lines := make([]string, 0, len(v.Reasons))
	for i := range v.Reasons {
		lines = append(lines, "        "+v.Reasons[i].Text)
	}
	if len(lines) == 0 { // of an agent of another version
		return []string{"NOT OK"}
	}
	lines[0] = "NOT OK: " + v.Reasons[0].Text
	return lines
}

// Err returns nil where all is well, else what Lines says.
func (v *Verdict) Err() error {
	if v.OK {
		return nil
	}
	return errors.New(strings.Join(v.Lines(), "\n"))
}
