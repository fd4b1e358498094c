package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
)

// writeText tells a person what a file has shown and, as plainly, what it has not.
func (o *outcome) writeText(w io.Writer) error {
	var b strings.Builder
	switch {
	case o.err != nil:
		fmt.Fprintf(&b, "%s: NOT VERIFIED\n  %s\n\n", printable(o.file), printable(explain(o.err)))
	case o.bundle != nil:
		o.headline(&b)
		describeBundle(&b, o.bundle, o.trust)
		b.WriteByte('\n')
	case o.fork != nil:
		fmt.Fprintf(&b, "%s: VERIFIED, it shows TWO HISTORIES of one chain\n\n", printable(o.file))
		describeFork(&b, o.fork)
		b.WriteByte('\n')
	default:
		o.headline(&b)
		describe(&b, o.proof, o.givers)
		proved(&b, o.proof, o.trust)
		notProved(&b, o.proof, o.trust)
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// meaning says what a failed check means to somebody who has not read the format.
var meaning = map[lightchain.Check]string{
	lightchain.CheckDecoding:  "The file is no proof, bundle or evidence of a fork in the format's one encoding: damaged, cut short or changed.",
	lightchain.CheckChain:     "It belongs to a chain that your trust file does not name.",
	lightchain.CheckKeys:      "The chain's changes of key do not hold together.",
	lightchain.CheckSignature: "A header is not signed with the key that the chain had in force.",
	lightchain.CheckEntry:     "The entry is not the one that the gateway put into the block.",
	lightchain.CheckBlock:     "The headers that it shows are not of one history.",
	lightchain.CheckReceipts:  "The receipts of the aggregators that you trust do not hold, or are too few.",
	lightchain.CheckFork:      "It does not show two signed histories of one chain: it accuses nobody.",
	lightchain.CheckBeacon:    "The receipts said to be older than the block are not those that it names.",
}

func explain(err error) string {
	var failed *lightchain.CheckError
	if !errors.As(err, &failed) {
		return err.Error()
	}
	return fmt.Sprintf("The check %q failed. %s (%v)", failed.Check, meaning[failed.Check], failed.Err)
}

func describe(b *strings.Builder, r *lightchain.Report, named givers) {
	fmt.Fprintf(b, "  entry     number %d, in block %d\n", r.Number, r.Header.Height)
	fmt.Fprintf(b, "  chain     %s\n", r.Chain)
	if r.Name != "" {
		fmt.Fprintf(b, "  gateway   %s\n", printable(r.Name))
	}
	fmt.Fprintf(b, "  source    %s\n", printable(r.Entry.Source))
	fmt.Fprintf(b, "  received  %s by the gateway's clock\n", instant(r.Entry.Received))
	fmt.Fprintf(b, "  sealed    %s by the gateway's clock, then %s\n", instant(r.Header.Sealed), r.Header.Clock.State)
	for _, note := range flagNotes(r.Entry.Flags) {
		fmt.Fprintf(b, "  note      %s\n", note)
	}
	fmt.Fprintf(b, "  payload   %s\n", payload(r.Entry.Payload))
	for i := range r.Entry.Readings {
		fmt.Fprintf(b, "  reading   %s\n", reading(&r.Entry.Readings[i]))
	}
	if len(r.Entry.Readings) > 0 {
		by := "decoder"
		if r.Entry.Decoder != "" {
			by += " " + r.Entry.Decoder
		}
		fmt.Fprintf(b, "  note      readings are the gateway's interpretation of the payload, by its %s; the payload is what arrived\n", by)
		for _, note := range append(named.notes(r), rereadNotes(&r.Entry)...) {
			fmt.Fprintf(b, "  note      %s\n", note)
		}
	}
	if r.Note != nil {
		noteLines(b, r.Note)
	}
	outsideNotes(b, r.Outside)
}

// outsideNotes says what else came with a file, of which this program knows nothing.
func outsideNotes(b *strings.Builder, all []lightchain.Outside) {
	for _, o := range all {
		fmt.Fprintf(b, "  note      evidence from outside on header %d came along, of the kind %q, %d bytes: not checked by this program\n", o.Height, o.Kind, len(o.Bytes))
	}
}

func flagNotes(f lightchain.Flags) (notes []string) {
	for _, n := range [...]struct {
		flag lightchain.Flags
		note string
	}{
		{lightchain.Retained, "a replay of state that the broker kept, not a new message"},
		{lightchain.Redelivered, "sent again by the device or broker: it may stand in the chain twice"},
		{lightchain.QoS0, "arrived with QoS 0: no delivery was promised"},
		{lightchain.NotUnderstood, "the gateway could not read this payload; the bytes stand as they came"},
		{lightchain.PayloadHashed, "the payload itself was not kept; what stands here is its SHA-256"},
		{lightchain.ByAgent, "written by the gateway itself, about its own chain"},
	} {
		if f&n.flag != 0 {
			notes = append(notes, n.note)
		}
	}
	return notes
}

func reading(r *lightchain.Reading) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s = %s", printable(r.Device), printable(r.Name), printable(r.Value.String()))
	if r.Unit != "" {
		fmt.Fprintf(&b, " %s", printable(r.Unit))
	}
	if r.Derived {
		b.WriteString(", computed by the gateway")
	}
	if r.Timed {
		fmt.Fprintf(&b, ", measured %s by the device's clock", instant(r.Time))
	}
	for _, q := range [...]struct {
		quality lightchain.Quality
		note    string
	}{
		{lightchain.Historical, "stored and forwarded by the device"},
		{lightchain.Bad, "bad, stale, or with a time beyond belief"},
		{lightchain.Zoneless, "the time came without a zone"},
	} {
		if r.Quality&q.quality != 0 {
			fmt.Fprintf(&b, " (%s)", q.note)
		}
	}
	return b.String()
}

func proved(b *strings.Builder, r *lightchain.Report, trust *lightchain.Trust) {
	b.WriteString("\n  Proved:\n")
	fmt.Fprintf(b, "  - %s recorded exactly these bytes as entry %d.\n", recorder(r.ReceiptedBy), r.Number)
	if len(r.ReceiptedBy) > 0 {
		fmt.Fprintf(b, "  - It is part of the history that was countersigned by %s.\n", countersigners(r.ReceiptedBy))
	}
	if r.NotAfter != nil {
		fmt.Fprintf(b, "  - Its block was closed not after %s; %s.\n", second(*r.NotAfter), unless(r.NotAfterBy))
	}
	if r.NotBefore != nil {
		fmt.Fprintf(b, "  - Its block was closed not before %s; %s. That the entry itself did not arrive earlier is the gateway's word.\n", second(*r.NotBefore), unless(r.NotBeforeBy))
	}
	silent(b, r.Silences)
	beware(b, proofCautions(r, trust))
}

// proofCautions are what nobody may overlook of a proof that verified, person or program.
func proofCautions(r *lightchain.Report, t *lightchain.Trust) []string {
	clock := clockNotes(r.Header.Sealed, ", and called itself "+r.Header.Clock.State.String()+",", "the block", r.NotBefore, r.NotAfter)
	return slices.Concat(cautions(t, r.ReceiptedBy), noteCautions(r), clock, reversalNotes(r.Reversals))
}

// bundleCautions are the same of a bundle, of which the last block alone has a bound.
func bundleCautions(r *lightchain.BundleReport, t *lightchain.Trust) []string {
	return slices.Concat(cautions(t, r.ReceiptedBy), clockNotes(r.Sealed, "", "the last block", nil, r.NotAfter), reversalNotes(r.Reversals))
}

// recorder names who can have made the entry: where a trusted aggregator countersigned it, that aggregator has followed
// every change of key from the beginning; else a key that was changed since signs as well as the one in force.
func recorder(by []lightchain.ReceiptedBy) string {
	if len(by) > 0 {
		return "The holder of this chain's key"
	}
	return "Whoever holds this chain's key, or held it before a change that this file need not show,"
}

// cautions says what a trust file lets pass.
func cautions(t *lightchain.Trust, by []lightchain.ReceiptedBy) (all []string) {
	switch {
	case t.Quorum > 0:
	case len(by) > 0:
		all = append(all, `No receipt was required: your trust file has no line "quorum <n>". This file has receipts; one without any would be VERIFIED, too`)
	case len(t.Aggregators) > 0:
		all = append(all, `No receipt was required, and none of an aggregator that you trust is here: your trust file names aggregators and has no line "quorum <n>". `+
			`An old key of this chain, changed or stolen long ago, could have made this file today. Write a line "quorum 1", or a higher number`)
	default:
		all = append(all, "No receipt was required, and you trust no aggregator: an old key of this chain, changed or stolen long ago, could have made this file today. "+
			`Name aggregators and a quorum in a trust file`)
	}
	return all
}

// silent tells of promises that were not kept, and accuses nobody.
func silent(b *strings.Builder, all []lightchain.Silence) {
	for _, s := range all {
		fmt.Fprintf(b, "  - Header %d promised the next one within %d s; the chain was silent from %s (receipt of %s on header %d) to %s (receipt of %s on header %d). A power cut does that, too, or a network or an aggregator that is away.\n",
			s.Height, s.Promised, second(s.From.Time), s.From.Name, s.From.Height, second(s.To.Time), s.To.Name, s.To.Height)
	}
}

// clockTolerance is how far the gateway's clock may stand outside the bracket without a word: aggregators' clocks are a
// little wrong, too.
const clockTolerance = 60 // seconds

// clockNotes says where the gateway's clock stood when it sealed a block, if that was outside the bracket.
func clockNotes(at int64, calledItself, block string, notBefore, notAfter *uint64) (all []string) {
	sealed := at / 1e9
	note := func(side string, bound uint64) {
		all = append(all, fmt.Sprintf("The gateway's clock was wrong: it said %s%s when it sealed %s; the receipts prove that this was %s %s. All times that it gave are in doubt",
			instant(at), calledItself, block, side, second(bound)))
	}
	if b := notBefore; b != nil && *b < 1<<62 && sealed < int64(*b)-clockTolerance {
		note("not before", *b)
	}
	if b := notAfter; b != nil && *b < 1<<62 && sealed > int64(*b)+clockTolerance {
		note("not after", *b)
	}
	return all
}

// unless says on whose word a bound rests.
func unless(by []lightchain.ReceiptedBy) string {
	if len(by) == 1 {
		return fmt.Sprintf("that is the word of %s alone, and false if it lies", by[0].Name)
	}
	return fmt.Sprintf("that is false only if each of %s lies", strings.Join(names(by), ", "))
}

func names(by []lightchain.ReceiptedBy) (all []string) {
	for _, r := range by {
		all = append(all, r.Name)
	}
	return all
}

// beware prints what the reader must not overlook.
func beware(b *strings.Builder, notes []string) {
	if len(notes) == 0 {
		return
	}
	b.WriteString("\n  Beware:\n")
	for _, n := range notes {
		fmt.Fprintf(b, "  - %s.\n", n)
	}
}

// reversalNotes names the aggregators whose word is worth nothing.
func reversalNotes(reversals []lightchain.Reversal) (all []string) {
	for _, r := range reversals {
		all = append(all, reversalNote(r))
	}
	return all
}

func countersigners(receipted []lightchain.ReceiptedBy) string {
	var names []string
	for _, a := range receipted {
		names = append(names, fmt.Sprintf("%s (header %d, %s)", a.Name, a.Height, second(a.Time)))
	}
	return strings.Join(names, ", ")
}

// describeBundle says what a bundle shows: completeness between two numbers, which no single proof can.
func describeBundle(b *strings.Builder, r *lightchain.BundleReport, trust *lightchain.Trust) {
	fmt.Fprintf(b, "  chain     %s\n", r.Chain)
	if r.Name != "" {
		fmt.Fprintf(b, "  gateway   %s\n", printable(r.Name))
	}
	fmt.Fprintf(b, "  blocks    %d to %d, the last sealed %s by the gateway's clock\n", r.From, r.To, instant(r.Sealed))
	bundleNoteLines(b, r.Notes)
	outsideNotes(b, r.Outside)
	b.WriteString("\n  Proved:\n")
	if r.Next == r.First {
		fmt.Fprintf(b, "  - %s recorded no message at all in these blocks.\n", recorder(r.ReceiptedBy))
	} else {
		fmt.Fprintf(b, "  - %s recorded these as all messages from number %d to number %d: %d, none missing.\n", recorder(r.ReceiptedBy), r.First, r.Next-1, r.Next-r.First)
	}
	if len(r.ReceiptedBy) > 0 {
		fmt.Fprintf(b, "  - They are part of the history that was countersigned by %s.\n", countersigners(r.ReceiptedBy))
	}
	if r.NotAfter != nil {
		fmt.Fprintf(b, "  - All of it was closed not after %s; %s.\n", second(*r.NotAfter), unless(r.NotAfterBy))
	}
	silent(b, r.Silences)
	beware(b, bundleCautions(r, trust))
	b.WriteString("\n  Not proved:\n  - That the values are true, or that every message sent reached the gateway.\n")
	b.WriteString(notInvented)
	unsigned(b, trust)
	if len(r.ReceiptedBy) == 0 {
		b.WriteString("  - When it was recorded, and that this history is the only one: no aggregator that you trust has receipted it.\n")
	}
}

const notInvented = "  - That a device sent it: whoever controls the gateway when it records can invent a message, and what it makes of one.\n"

// unsigned says which keys of a trust file stand for nothing yet.
func unsigned(b *strings.Builder, trust *lightchain.Trust) {
	if len(trust.Devices) > 0 {
		b.WriteString("  - What a device signed: your trust file has keys of some, and this program checks nothing under them yet.\n")
	}
}

func notProved(b *strings.Builder, r *lightchain.Report, trust *lightchain.Trust) {
	b.WriteString("\n  Not proved:\n")
	if r.Note != nil {
		noteNotProved(b, r.Note)
	} else {
		b.WriteString("  - That the value is true: a sensor can be wrong, or held over a candle.\n")
		b.WriteString(notInvented)
	}
	unsigned(b, trust)
	if len(r.ReceiptedBy) == 0 {
		b.WriteString("  - When it was recorded: no aggregator that you trust has receipted it.\n")
		b.WriteString("  - That this history is the only one that the gateway's key has signed.\n")
		b.WriteString("  - That the history is complete.\n")
		return
	}
	if r.NotAfter == nil {
		fmt.Fprintf(b, "  - An upper bound of its time: receipts of %d aggregators, %d must agree.\n", len(r.ReceiptedBy), r.Quorum)
	}
	if r.NotBefore == nil {
		b.WriteString("  - A lower bound of its time: too few trusted receipts came before its block, or the proof does not show them.\n")
	}
	b.WriteString("  - That nothing else was recorded beside it: one entry's proof cannot say that.\n")
}

// reportJSON is what --output json prints, one object a file.
type reportJSON struct {
	File     string           `json:"file"`
	Verified bool             `json:"verified"`
	Check    lightchain.Check `json:"check,omitempty"` // the first check that failed
	Error    string           `json:"error,omitempty"`

	Chain       string                   `json:"chain,omitempty"`
	Gateway     string                   `json:"gateway,omitempty"`
	Number      *uint64                  `json:"number,omitempty"`
	Height      *uint64                  `json:"height,omitempty"`
	Sealed      *int64                   `json:"sealed,omitempty"` // nanoseconds since the Unix epoch, by the gateway's clock
	Entry       *entryJSON               `json:"entry,omitempty"`
	ReceiptedBy []lightchain.ReceiptedBy `json:"receipted_by,omitempty"`
	Quorum      uint64                   `json:"quorum,omitempty"`
	NotBefore   *uint64                  `json:"not_before"` // seconds since the Unix epoch
	NotAfter    *uint64                  `json:"not_after"`
	NotBeforeBy []string                 `json:"not_before_by,omitempty"` // the bound is false only if all of these lie
	NotAfterBy  []string                 `json:"not_after_by,omitempty"`
	Reversals   []lightchain.Reversal    `json:"reversals,omitempty"` // aggregators that contradict themselves
	Silent      []lightchain.Silence     `json:"silent,omitempty"`    // promises of the chain that its receipts show as not kept
	Outside     []outsideJSON            `json:"outside,omitempty"`   // evidence that came along and was not checked
	Bundle      *bundleJSON              `json:"bundle,omitempty"`
	Fork        *forkJSON                `json:"fork,omitempty"`
	Notes       []noteJSON               `json:"notes,omitempty"`  // what people said in it
	Beware      []string                 `json:"beware,omitempty"` // what must not be overlooked: that no receipt was required, a wrong clock
}

type outsideJSON struct {
	Kind   string `json:"kind"`
	Height uint64 `json:"height"` // of the header that it speaks of
	Bytes  int    `json:"bytes"`  // how many
}

func newOutsideJSON(all []lightchain.Outside) (out []outsideJSON) {
	for _, o := range all {
		out = append(out, outsideJSON{o.Kind, o.Height, len(o.Bytes)})
	}
	return out
}

type bundleJSON struct {
	First uint64 `json:"first"` // number of the first entry
	Count uint64 `json:"count"` // of entries, none missing
	From  uint64 `json:"from"`  // height of the first block
	To    uint64 `json:"to"`    // height of the last block
}

type entryJSON struct {
	Received int64         `json:"received"` // nanoseconds since the Unix epoch, by the gateway's clock
	Source   string        `json:"source"`
	Flags    uint64        `json:"flags"`
	Payload  []byte        `json:"payload"` // base64
	Decoder  string        `json:"decoder"` // what made the readings of the payload, with its version; "" if nothing is named
	Readings []readingJSON `json:"readings"`
	Reread   reread        `json:"reread,omitempty"` // what the payload gives when it is read again: same, values, differs
}

type readingJSON struct {
	Device  string           `json:"device"`
	Name    string           `json:"name"`
	Unit    string           `json:"unit"`
	Value   lightchain.Value `json:"value"`
	Bytes   bool             `json:"bytes,omitempty"` // the value is bytes, in hexadecimal
	Time    *int64           `json:"time"`            // nanoseconds since the Unix epoch, by the device's clock
	Quality uint64           `json:"quality"`
	Derived bool             `json:"derived,omitempty"` // computed by the gateway
	Meaning *lightchain.Hash `json:"meaning,omitempty"` // of what gave it its name and unit
}

func (o *outcome) writeJSON(w io.Writer) error {
	out := reportJSON{File: o.file, Verified: o.err == nil && o.badNotes() == "", Notes: o.notesJSON()}
	if !out.Verified {
		out.Error = "what a person said does not hold: " + o.badNotes()
	}
	if o.err != nil {
		out.Error = o.err.Error()
		var failed *lightchain.CheckError
		if errors.As(o.err, &failed) {
			out.Check, out.Error = failed.Check, failed.Err.Error()
		}
		return json.NewEncoder(w).Encode(out)
	}
	if r := o.bundle; r != nil {
		out.Chain, out.Gateway, out.ReceiptedBy, out.Quorum, out.NotAfter = r.Chain.String(), r.Name, r.ReceiptedBy, r.Quorum, r.NotAfter
		out.NotAfterBy, out.Reversals, out.Outside = names(r.NotAfterBy), r.Reversals, newOutsideJSON(r.Outside)
		out.Silent, out.Beware = r.Silences, bundleCautions(r, o.trust)
		out.Bundle = &bundleJSON{r.First, r.Next - r.First, r.From, r.To}
		return json.NewEncoder(w).Encode(out)
	}
	if r := o.fork; r != nil {
		out.Chain, out.Gateway, out.Fork = r.Chain.String(), r.Name, newForkJSON(r)
		return json.NewEncoder(w).Encode(out)
	}
	r := o.proof
	out.Chain, out.Gateway, out.Number, out.Height, out.Sealed = r.Chain.String(), r.Name, &r.Number, &r.Header.Height, &r.Header.Sealed
	out.ReceiptedBy, out.Quorum, out.NotBefore, out.NotAfter = r.ReceiptedBy, r.Quorum, r.NotBefore, r.NotAfter
	out.NotBeforeBy, out.NotAfterBy, out.Reversals = names(r.NotBeforeBy), names(r.NotAfterBy), r.Reversals
	out.Outside, out.Silent, out.Beware = newOutsideJSON(r.Outside), r.Silences, proofCautions(r, o.trust)
	out.Entry = &entryJSON{Received: r.Entry.Received, Source: r.Entry.Source, Flags: uint64(r.Entry.Flags), Payload: r.Entry.Payload, Decoder: r.Entry.Decoder, Readings: []readingJSON{}}
	out.Entry.Reread, _ = readAgain(&r.Entry)
	for _, m := range r.Entry.Readings {
		j := readingJSON{Device: m.Device, Name: m.Name, Unit: m.Unit, Value: m.Value, Bytes: m.Value.Kind() == lightchain.KindBytes, Quality: uint64(m.Quality), Derived: m.Derived, Meaning: m.Meaning}
		if m.Timed {
			j.Time = &m.Time
		}
		out.Entry.Readings = append(out.Entry.Readings, j)
	}
	return json.NewEncoder(w).Encode(out)
}

func instant(ns int64) string { return lighttime.Instant(ns).Format("2006-01-02T15:04:05.000Z") }

// second formats whole seconds since the Unix epoch; a time that no calendar holds stays a number.
func second(s uint64) string {
	at, known := lighttime.Second(s)
	if !known {
		return fmt.Sprintf("second %d since 1970", s)
	}
	return at.Format("2006-01-02T15:04:05Z")
}

// payload shows text as it is and anything else in hexadecimal, at most the beginning of it.
func payload(b []byte) string {
	const most = 2000
	shown, rest := b, ""
	if len(b) > most {
		shown, rest = b[:most], fmt.Sprintf(" … (%d bytes)", len(b))
		for len(shown) > 0 && !utf8.Valid(shown) && utf8.Valid(b) {
			shown = shown[:len(shown)-1]
		}
	}
	if s := printable(string(shown)); utf8.Valid(shown) && !strings.Contains(s, `\x`) {
		return s + rest
	}
	return fmt.Sprintf("%x", shown) + rest
}

// printable escapes what could steer a terminal: a proof is written by whoever made it.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%x}`, r)
		}
	}
	return b.String()
}
