package main

import (
	"errors"
	"io"
	"slices"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
)

// What --output json prints: one object a line. docs/reference/json.md has its shape. Times are text of RFC 3339: as numbers they
// lose digits in readers that have doubles alone. Where a list has a place it is never null.

// reportJSON is one file.
type reportJSON struct {
	File     string           `json:"file"`
	Verified bool             `json:"verified"`
	Verdict  verdict          `json:"verdict"`
	ExitCode int              `json:"exit_code"` // that this file alone would end the program with
	Message  string           `json:"message"`   // what the text says of it, in a sentence
	Check    lightchain.Check `json:"check,omitempty"`
	Error    string           `json:"error,omitempty"`
	Undone   []string         `json:"undone"` // what mail programs do to files, and was undone

	ReceiptsAsked      uint64 `json:"receipts_asked"`      // by the trust file; 0: none
	AggregatorsTrusted int    `json:"aggregators_trusted"` // how many names the trust file has
	*provedJSON

	Number *uint64    `json:"number,omitempty"`
	Height *uint64    `json:"height,omitempty"`
	Sealed string     `json:"sealed,omitempty"` // by the gateway's clock
	Entry  *entryJSON `json:"entry,omitempty"`
	*boundsJSON
	Bundle *bundleJSON `json:"bundle,omitempty"`
	Fork   *forkJSON   `json:"fork,omitempty"` // of what is no such evidence: that it shows two histories in itself
}

// provedJSON is what a file that verified shows, whatever it is.
type provedJSON struct {
	Chain     string     `json:"chain"`
	Gateway   string     `json:"gateway"`             // "" if it has no name
	Continues string     `json:"continues,omitempty"` // hash of the last known header of the chain that this one continues
	Proved    []string   `json:"proved"`
	NotProved []string   `json:"not_proved"`
	Beware    []string   `json:"beware"` // what must not be overlooked: that no receipt was required, a wrong clock
	Notes     []noteJSON `json:"notes"`  // what people said in it
}

// boundsJSON is what receipts say of a proof or a bundle.
type boundsJSON struct {
	ReceiptedBy []receiptJSON  `json:"receipted_by"` // aggregators that the trust file names, each once
	Quorum      uint64         `json:"quorum"`       // how many must agree on a bound: as many as are asked for, at least 1
	NotBefore   *string        `json:"not_before"`
	NotAfter    *string        `json:"not_after"`
	NotBeforeBy []string       `json:"not_before_by"` // the bound is false only if all of these lie
	NotAfterBy  []string       `json:"not_after_by"`
	Reversals   []reversalJSON `json:"reversals"` // aggregators that contradict themselves
	Silent      []silenceJSON  `json:"silent"`    // promises of the chain that its receipts show as not kept
	Outside     []outsideJSON  `json:"outside"`   // evidence that came along and was not checked
}

type receiptJSON struct {
	Name   string `json:"name"`
	Height uint64 `json:"height"` // of the header that the receipt is on
	Time   string `json:"time"`
}

type reversalJSON struct {
	Lower  receiptJSON `json:"lower"`
	Higher receiptJSON `json:"higher"`
}

type silenceJSON struct {
	Height   uint64      `json:"height"`   // of the header that promised
	Promised uint64      `json:"promised"` // seconds
	From     receiptJSON `json:"from"`
	To       receiptJSON `json:"to"`
}

type outsideJSON struct {
	Kind   string `json:"kind"`
	Height uint64 `json:"height"` // of the header that it speaks of
	Bytes  int    `json:"bytes"`  // how many
}

type bundleJSON struct {
	First          uint64 `json:"first"`            // number of the first entry
	Count          uint64 `json:"count"`            // of entries, none missing
	From           uint64 `json:"from"`             // height of the first block
	To             uint64 `json:"to"`               // height of the last block
	EntriesLeftOut uint64 `json:"entries_left_out"` // how many of them, the last ones, do not follow under "entries"
}

type entryJSON struct {
	Received    string        `json:"received"` // by the gateway's clock
	Source      string        `json:"source"`
	Flags       uint64        `json:"flags"`
	Payload     []byte        `json:"payload"`                // base64
	PayloadText *string       `json:"payload_text,omitempty"` // the same, where it is text of 1 MiB at most
	Decoder     string        `json:"decoder"`                // what made the readings of the payload, with its version; "" if nothing is named
	Readings    []readingJSON `json:"readings"`
	Reread      reread        `json:"reread,omitempty"` // what the payload gives when it is read again: same, values, topic, differs
}

// bundleEntryJSON is an entry of a bundle.
type bundleEntryJSON struct {
	Number uint64 `json:"number"`
	Height uint64 `json:"height"` // of its block
	entryJSON
}

type readingJSON struct {
	Device  string           `json:"device"`
	Name    string           `json:"name"`
	Unit    string           `json:"unit"`
	Value   lightchain.Value `json:"value"`
	Bytes   bool             `json:"bytes,omitempty"` // the value is bytes, in hexadecimal
	Time    *string          `json:"time"`            // by the device's clock; null if it gave none
	Quality uint64           `json:"quality"`
	Derived bool             `json:"derived,omitempty"` // computed by the gateway
	Meaning *lightchain.Hash `json:"meaning,omitempty"` // of what gave it its name and unit
}

// noteJSON is a person's entry.
type noteJSON struct {
	Number  uint64 `json:"number"`
	Count   uint64 `json:"count,omitempty"`   // of a bundle: how many stand like this one, which is the first
	Repeats uint64 `json:"repeats,omitempty"` // of these, signed notes that stood in the bundle before
	Ahead   bool   `json:"ahead,omitempty"`   // of a proof: it is about what was recorded after it
	lightchain.NoteView
}

// forkJSON is what evidence of a fork shows.
type forkJSON struct {
	Height uint64      `json:"height"`             // the lower one, where the sides' heights differ
	Why    string      `json:"conflict,omitempty"` // why no one history holds both, where their heights differ
	Sides  [2]sideJSON `json:"sides"`
	Both   []string    `json:"receipted_both"` // aggregators that countersigned both sides
}

type sideJSON struct {
	Hash        lightchain.Hash `json:"hash"`        // of this side's header at the height, or of its head
	HeadHeight  uint64          `json:"head_height"` // of the signed header that shows it
	HeadHash    lightchain.Hash `json:"head_hash"`
	Sealed      string          `json:"sealed"` // when the head was, by the gateway's clock
	Clock       string          `json:"clock"`
	Boot        uint64          `json:"boot"`
	Key         string          `json:"key"` // "ssh-ed25519 …", which signed it
	ReceiptedBy []receiptJSON   `json:"receipted_by"`
}

// togetherJSON is what two files show together: verified is always false.
type togetherJSON struct {
	Files    [2]string     `json:"files"`
	Verified bool          `json:"verified"`
	Verdict  string        `json:"verdict"`
	ExitCode int           `json:"exit_code"`
	Message  string        `json:"message"`
	Chain    string        `json:"chain"`
	Gateway  string        `json:"gateway,omitempty"`
	Fork     *forkJSON     `json:"fork,omitempty"`
	Reversal *reversalJSON `json:"reversal,omitempty"`
	Without  string        `json:"no_evidence,omitempty"` // why no evidence can be written that shows it without these two files
}

// The verdicts on two files.
const (
	twoHistories  = "two_histories"
	timesThatFall = "times_that_fall"
	noteOfAnother = "note_of_another_history"
)

func (o *outcome) writeJSON(w io.Writer) error {
	v := o.verdict()
	out := reportJSON{File: validName(o.file), Verified: v == verified, Verdict: v, ExitCode: v.exitCode(), Message: o.sentence(), Undone: texts(o.undone)}
	if o.trust != nil {
		out.ReceiptsAsked, out.AggregatorsTrusted = o.trust.Quorum, aggregators(o.trust)
	}
	if o.err != nil {
		out.Error = o.err.Error()
		var failed *lightchain.CheckError
		if errors.As(o.err, &failed) {
			out.Check, out.Error = failed.Check, failed.Err.Error()
		}
		if o.within != nil {
			out.Fork = newForkJSON(o.within.report)
		}
		return writeJSON(w, out)
	}
	if !out.Verified {
		out.Error = "what a person said does not hold: " + o.badNotes()
	}
	out.provedJSON = &provedJSON{Proved: texts(o.proved()), NotProved: texts(o.notProved()), Beware: texts(o.cautions()), Notes: o.notesJSON()}
	if before := o.before(); before != nil {
		out.Continues = before.String()
	}
	switch {
	case o.proof != nil:
		o.proofJSON(&out)
	case o.fork != nil:
		out.Chain, out.Gateway, out.Fork = o.fork.Chain.String(), o.fork.Name, newForkJSON(o.fork)
	default:
		o.bundleJSON(&out)
		if o.entries != nil {
			return o.entries.writeJSON(w, out)
		}
	}
	return writeJSON(w, out)
}

// before returns what the chain continues.
func (o *outcome) before() *lightchain.Hash {
	switch {
	case o.proof != nil:
		return o.proof.Before
	case o.bundle != nil:
		return o.bundle.Before
	}
	return nil
}

func (o *outcome) proofJSON(out *reportJSON) {
	r := o.proof
	again, _ := readAgain(&r.Entry)
	entry := newEntryJSON(&r.Entry, again)
	out.Chain, out.Gateway, out.Number, out.Height, out.Sealed, out.Entry = r.Chain.String(), r.Name, &r.Number, &r.Header.Height, stamp(r.Header.Sealed), &entry
	out.boundsJSON = &boundsJSON{
		ReceiptedBy: newReceiptsJSON(r.ReceiptedBy), Quorum: r.Quorum, NotBefore: bound(r.NotBefore), NotAfter: bound(r.NotAfter),
		NotBeforeBy: texts(names(r.NotBeforeBy)), NotAfterBy: texts(names(r.NotAfterBy)), Reversals: newReversalsJSON(r.Reversals),
		Silent: newSilencesJSON(r.Silences), Outside: newOutsideJSON(r.Outside),
	}
}

func (o *outcome) bundleJSON(out *reportJSON) {
	r := o.bundle
	out.Chain, out.Gateway, out.Sealed = r.Chain.String(), r.Name, stamp(r.Sealed)
	out.Bundle = &bundleJSON{First: r.First, Count: r.Next - r.First, From: r.From, To: r.To}
	out.boundsJSON = &boundsJSON{
		ReceiptedBy: newReceiptsJSON(r.ReceiptedBy), Quorum: r.Quorum, NotAfter: bound(r.NotAfter),
		NotBeforeBy: []string{}, NotAfterBy: texts(names(r.NotAfterBy)), Reversals: newReversalsJSON(r.Reversals),
		Silent: newSilencesJSON(r.Silences), Outside: newOutsideJSON(r.Outside),
	}
}

// stamp formats nanoseconds since the Unix epoch, all of them.
func stamp(ns int64) string { return lighttime.Instant(ns).Format("2006-01-02T15:04:05.000000000Z") }

func bound(seconds *uint64) *string {
	if seconds == nil {
		return nil
	}
	s := second(*seconds)
	return &s
}

// texts makes an empty list of none.
func texts(all []string) []string { return append([]string{}, all...) }

// aggregators returns how many names a trust file has: a name may have several keys.
func aggregators(t *lightchain.Trust) int {
	var names []string
	for _, a := range t.Aggregators {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return len(slices.Compact(names))
}

// mostText is how many bytes of payload have a place in a report twice.
const mostText = 1 << 20

func newEntryJSON(e *lightchain.Entry, again reread) entryJSON {
	payload := e.Payload
	if payload == nil {
		payload = []byte{}
	}
	out := entryJSON{Received: stamp(e.Received), Source: e.Source, Flags: uint64(e.Flags), Payload: payload, Decoder: e.Decoder, Readings: []readingJSON{}, Reread: again}
	if len(e.Payload) <= mostText {
		if text, isText := payloadText(e.Payload); isText {
			out.PayloadText = &text
		}
	}
	for _, m := range e.Readings {
		j := readingJSON{Device: m.Device, Name: m.Name, Unit: m.Unit, Value: m.Value, Bytes: m.Value.Kind() == lightchain.KindBytes, Quality: uint64(m.Quality), Derived: m.Derived, Meaning: m.Meaning}
		if m.Timed {
			at := stamp(m.Time)
			j.Time = &at
		}
		out.Readings = append(out.Readings, j)
	}
	return out
}

func newReceiptJSON(r lightchain.ReceiptedBy) receiptJSON {
	return receiptJSON{r.Name, r.Height, second(r.Time)}
}

func newReceiptsJSON(all []lightchain.ReceiptedBy) []receiptJSON {
	out := []receiptJSON{}
	for _, r := range all {
		out = append(out, newReceiptJSON(r))
	}
	return out
}

func newReversalJSON(r lightchain.Reversal) reversalJSON {
	return reversalJSON{newReceiptJSON(r.Lower), newReceiptJSON(r.Higher)}
}

func newReversalsJSON(all []lightchain.Reversal) []reversalJSON {
	out := []reversalJSON{}
	for _, r := range all {
		out = append(out, newReversalJSON(r))
	}
	return out
}

func newSilencesJSON(all []lightchain.Silence) []silenceJSON {
	out := []silenceJSON{}
	for _, s := range all {
		out = append(out, silenceJSON{s.Height, s.Promised, newReceiptJSON(s.From), newReceiptJSON(s.To)})
	}
	return out
}

func newOutsideJSON(all []lightchain.Outside) []outsideJSON {
	out := []outsideJSON{}
	for _, o := range all {
		out = append(out, outsideJSON{o.Kind, o.Height, len(o.Bytes)})
	}
	return out
}

// notesJSON returns what people said in a file that verified.
func (o *outcome) notesJSON() []noteJSON {
	all := []noteJSON{}
	if o.proof != nil && o.proof.Note != nil {
		all = append(all, noteJSON{o.proof.Number, 0, 0, noteAhead(o.proof), o.proof.Note.View()})
	}
	if o.bundle != nil {
		for i := range o.bundle.Notes {
			n := &o.bundle.Notes[i]
			all = append(all, noteJSON{n.First, n.Count, n.Repeats, false, n.NoteReport.View()})
		}
	}
	return all
}

func newForkJSON(r *lightchain.ForkReport) *forkJSON {
	out := &forkJSON{Height: r.Height, Both: texts(r.Both)}
	if r.Conflict != nil {
		out.Why = r.Conflict.Error()
	}
	for i := range r.Sides {
		s := &r.Sides[i]
		out.Sides[i] = sideJSON{
			Hash: s.Hash, HeadHeight: s.Head.Height, HeadHash: s.HeadHash, Sealed: stamp(s.Head.Sealed), Clock: s.Head.Clock.State.String(),
			Boot: s.Head.Clock.Boot, Key: lightchain.FormatPublicKey(s.Key), ReceiptedBy: newReceiptsJSON(s.ReceiptedBy),
		}
	}
	return out
}

func (c *contradiction) writeJSON(w io.Writer) error {
	out := togetherJSON{
		Files: validNames(c.files), Verdict: twoHistories, ExitCode: exitVerification, Message: c.text(),
		Chain: c.report.Chain.String(), Gateway: c.report.Name, Fork: newForkJSON(c.report),
	}
	if c.without != nil {
		out.Without = c.without.Error()
	}
	return writeJSON(w, out)
}

func (r *reversal) writeJSON(w io.Writer) error {
	j := newReversalJSON(r.Reversal)
	return writeJSON(w, togetherJSON{
		Files: validNames(r.files), Verdict: timesThatFall, ExitCode: exitVerification, Message: reversalNote(r.Reversal) + ".", Chain: r.chain.String(), Reversal: &j,
	})
}

func (n *otherHistory) writeJSON(w io.Writer) error {
	return writeJSON(w, togetherJSON{
		Files: validNames([2]string{n.file, n.other}), Verdict: noteOfAnother, ExitCode: exitVerification, Message: n.text() + ".", Chain: n.chain.String(),
	})
}
