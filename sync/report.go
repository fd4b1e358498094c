package headersync

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"edgechain.example/lightchain"
	"edgechain.example/sync/internal/wire"

	"github.com/fxamacker/cbor/v2"
)

// Report is what a gateway says of itself on its status topic, so that whoever countersigns it knows what it lost.
// It is signed, so nobody else can make one; and numbered, so that an old one never takes the place of a newer.
type Report struct {
	Chain  lightchain.ChainID
	Height uint64 // of the gateway's newest header
	Start  uint64 // starts of its program, counted from 1
	Number uint64 // of this report since then, from 1

	Condition
	Later map[uint64]cbor.RawMessage // fields that this program does not know: carried along, since they are signed
}

// Condition is what a report says. What is counted has been counted since the chain began, and each event stands in
// the chain as an entry of its own: here stands how much there is to look for.
type Condition struct {
	Within  uint64        `json:"within_seconds"` // a new head is announced at least so often; 0: it does not say
	Version string        `json:"version"`        // of the gateway's program
	Clock   ReportedClock `json:"clock"`

	Gaps     Tally  `json:"gaps"`     // messages missing, at most
	Damage   Tally  `json:"damage"`   // of the store; entries that cannot be read, as far as is known
	Restored Tally  `json:"restored"` // newest headers taken back from an aggregator; entries that were lost with the old ones
	Unclean  uint64 `json:"unclean"`  // starts after a run that was not stopped in order
}

// ReportedClock is what a gateway says of its wall clock.
type ReportedClock struct {
	State lightchain.ClockState `json:"state"`
	Error uint64                `json:"error_ms"` // it is at most that wrong, says its kernel; 0 where that is not known
	Steps uint64                `json:"steps"`    // times that it was stepped
	Step  int64                 `json:"step_ms"`  // the last of them, forwards if positive
}

// Tally counts events of one kind, and what they were about.
type Tally struct {
	Times uint64 `json:"times"`
	Count uint64 `json:"count"`
}

// MaxVersion bounds the version's name in a report, in bytes; see [Report.Sign].
const MaxVersion = 64

// MediaReport is the media type of a report.
const MediaReport = "application/vnd.edgechain.report+cbor"

type rawReport struct {
	Version  uint64   `cbor:"1,keyasint"`
	Chain    []byte   `cbor:"2,keyasint"`
	Height   uint64   `cbor:"3,keyasint"`
	Start    uint64   `cbor:"4,keyasint"`
	Number   uint64   `cbor:"5,keyasint"`
	Within   uint64   `cbor:"6,keyasint"`
	Program  string   `cbor:"7,keyasint"`
	Clock    rawClock `cbor:"8,keyasint"`
	Gaps     rawTally `cbor:"9,keyasint"`
	Damage   rawTally `cbor:"10,keyasint"`
	Restored rawTally `cbor:"11,keyasint"`
	Unclean  uint64   `cbor:"12,keyasint"`
}

const lastReportKey = 12

type rawClock struct {
	_     struct{} `cbor:",toarray"`
	State uint64
	Error uint64
	Steps uint64
	Step  int64
}

type rawTally struct {
	_     struct{} `cbor:",toarray"`
	Times uint64
	Count uint64
}

func (t Tally) raw() rawTally   { return rawTally{Times: t.Times, Count: t.Count} }
func (r rawTally) tally() Tally { return Tally{r.Times, r.Count} }

// Sign returns the report as it travels. Of a version that is too long it keeps the beginning.
func (r *Report) Sign(signer lightchain.Signer) ([]byte, error) {
	version := r.Version
	for len(version) > MaxVersion || !utf8.ValidString(version) {
		version = version[:len(version)-1]
	}
	c := r.Clock
	known := wire.Encode(rawReport{
		Version: lightchain.Version, Chain: r.Chain[:], Height: r.Height, Start: r.Start, Number: r.Number, Within: r.Within, Program: version,
		Clock: rawClock{State: uint64(c.State), Error: c.Error, Steps: c.Steps, Step: c.Step},
		Gaps:  r.Gaps.raw(), Damage: r.Damage.raw(), Restored: r.Restored.raw(), Unclean: r.Unclean,
	})
	if len(r.Later) == 0 {
		return wire.Seal(MediaReport, signer, known)
	}
	var all map[uint64]cbor.RawMessage
	if err := wire.Decode(known, maxRequest, &all); err != nil {
		return nil, err
	}
	for key, value := range r.Later {
		all[key] = value
	}
	return wire.Seal(MediaReport, signer, wire.Encode(all))
}

// DecodeReport reads a report. It checks no signature.
func DecodeReport(b []byte) (*Report, *wire.Sealed, error) {
	s, err := wire.Unseal(MediaReport, b, maxRequest)
	if err != nil {
		return nil, nil, fmt.Errorf("report: %w", err)
	}
	r, err := readReport(s.Payload)
	if err != nil {
		return nil, nil, fmt.Errorf("report: %w", err)
	}
	return r, s, nil
}

func readReport(b []byte) (*Report, error) {
	var all map[uint64]cbor.RawMessage
	if err := wire.Decode(b, maxRequest, &all); err != nil {
		return nil, err
	}
	r := new(Report)
	for key, value := range all {
		if key <= lastReportKey {
			continue
		}
		// SPEC: Fields above 12 are carried along and ignored, if they are in deterministic encoding.
		var any any
		if err := wire.Decode(value, maxRequest, &any); err != nil {
			return nil, fmt.Errorf("field %d: %w", key, err)
		}
		if r.Later == nil {
			r.Later = make(map[uint64]cbor.RawMessage)
		}
		r.Later[key] = value
		delete(all, key)
	}
	var raw rawReport
	if err := wire.Decode(wire.Encode(all), maxRequest, &raw); err != nil {
		return nil, err
	}
	err := errors.Join(wire.CheckVersion(raw.Version), wire.Fixed(r.Chain[:], raw.Chain),
		wire.CheckNumbers(raw.Height, raw.Start, raw.Number, raw.Within, raw.Clock.Error, raw.Clock.Steps, raw.Unclean),
		wire.CheckNumbers(raw.Gaps.Times, raw.Gaps.Count, raw.Damage.Times, raw.Damage.Count, raw.Restored.Times, raw.Restored.Count))
	switch {
	case err != nil:
		return nil, err
	case raw.Clock.State > uint64(lightchain.ClockSynchronised):
		return nil, fmt.Errorf("%d is no state of a clock", raw.Clock.State)
	case len(raw.Program) > MaxVersion:
		return nil, fmt.Errorf("a version of %d bytes is above the limit of %d", len(raw.Program), MaxVersion)
	}
	r.Height, r.Start, r.Number = raw.Height, raw.Start, raw.Number
	r.Condition = Condition{
		Within: raw.Within, Version: raw.Program,
		Clock: ReportedClock{lightchain.ClockState(raw.Clock.State), raw.Clock.Error, raw.Clock.Steps, raw.Clock.Step},
		Gaps:  raw.Gaps.tally(), Damage: raw.Damage.tally(), Restored: raw.Restored.tally(), Unclean: raw.Unclean,
	}
	return r, nil
}

// OpenReport reads a report and checks that the gateway of the chain made it. keys are the signed headers that set its key, as
// far as they are known, genesis first.
//
// Only the newest key that is known counts, whatever height the report names: whoever got hold of an old one, which
// was changed for that reason perhaps, cannot speak for the gateway.
func OpenReport(b []byte, chain lightchain.ChainID, keys []*lightchain.SignedHeader) (*Report, error) {
	r, signed, err := DecodeReport(b)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 || r.Chain != chain {
		return nil, ErrStranger
	}
	if !signed.Check(*keys[len(keys)-1].Header.NextKey) {
		return nil, ErrForged
	}
	return r, nil
}

// After reports whether r was made after another report of the gateway; nil is before all.
//
// SPEC: Of two reports that with the greater height is the newer; then that with more starts; then that with the
// greater number.
func (r *Report) After(other *Report) bool {
	switch {
	case other == nil:
		return true
	case r.Height != other.Height:
		return r.Height > other.Height
	case r.Start != other.Start:
		return r.Start > other.Start
	}
	return r.Number > other.Number
}
