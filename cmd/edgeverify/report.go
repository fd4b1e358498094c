package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
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
		fmt.Fprintf(&b, "%s: %s\n  %s\n", nameOf(o.file), o.verdict().words(), printable(o.explain()))
		o.undoneNote(&b)
		if o.within != nil {
			fmt.Fprintf(&b, "\n  It shows TWO HISTORIES in itself: the chain's key signed both headers.\n\n")
			describeFork(&b, o.within.report)
		}
	case o.fork != nil:
		fmt.Fprintf(&b, "%s: VERIFIED, it shows TWO HISTORIES of one chain\n\n", nameOf(o.file))
		o.undoneNote(&b)
		describeFork(&b, o.fork)
	default:
		o.headline(&b)
		o.undoneNote(&b)
		if err := o.describe(&b, w); err != nil {
			return err
		}
		list(&b, "Proved", o.proved())
		list(&b, "Beware", sentences(o.cautions()))
		list(&b, "Not proved", o.notProved())
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// list prints sentences under a heading, if there are any.
func list(b *strings.Builder, heading string, all []string) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n  %s:\n", heading)
	for _, s := range all {
		fmt.Fprintf(b, "  - %s\n", s)
	}
}

func sentences(all []string) (ended []string) {
	for _, s := range all {
		ended = append(ended, s+".")
	}
	return ended
}

// undoneNote says what was undone before the file was read.
func (o *outcome) undoneNote(b *strings.Builder) {
	if len(o.undone) > 0 {
		fmt.Fprintf(b, "  note      what mail programs do to files was undone first: %s\n", strings.Join(o.undone, ", "))
	}
}

func (o *outcome) describe(b *strings.Builder, w io.Writer) error {
	if o.bundle == nil {
		return describe(b, w, o.proof, o.givers)
	}
	describeBundle(b, o.bundle)
	if o.entries == nil {
		return nil
	}
	o.entries.losses.write(b, "lost")
	o.entries.notes.write(b, "said")
	return o.entries.readingLines(b, w, o.allReadings)
}

// proved are the sentences that a file which verifies has shown, the most important first.
func (o *outcome) proved() []string {
	switch {
	case o.err != nil:
		return nil
	case o.proof != nil:
		return proofProved(o.proof)
	case o.bundle != nil:
		return bundleProved(o.bundle)
	}
	return forkProved(o.fork)
}

// cautions are what nobody may overlook of a file that verified, person or program.
func (o *outcome) cautions() []string {
	switch {
	case o.err != nil:
		return nil
	case o.proof != nil:
		return proofCautions(o.proof, o.trust)
	case o.bundle != nil:
		return append(bundleCautions(o.bundle, o.trust), o.entries.lossCaution()...)
	}
	return nil
}

// notProved are the sentences that a file has not shown, though one might think so.
func (o *outcome) notProved() []string {
	switch {
	case o.err != nil:
		return nil
	case o.proof != nil:
		return proofNotProved(o.proof, o.trust)
	case o.bundle != nil:
		return bundleNotProved(o.bundle, o.trust)
	}
	return forkNotProved(o.fork)
}

// sentence says in one what became of the file.
func (o *outcome) sentence() string {
	if o.err != nil {
		return o.explain()
	}
	if bad := o.badNotes(); bad != "" {
		return badNotesText(bad)
	}
	return o.proved()[0]
}

// meaning says what a failed check means to somebody who has not read the format.
var meaning = map[lightchain.Check]string{
	lightchain.CheckDecoding:  "The file is no proof, bundle or evidence of a fork in the format's one encoding: damaged, cut short or changed.",
	lightchain.CheckChain:     "It is not, in all its headers, of a chain that your trust file names.",
	lightchain.CheckKeys:      "The chain's changes of key do not hold together.",
	lightchain.CheckSignature: "A header is not signed with the key that the chain had in force.",
	lightchain.CheckEntry:     "The entry is not the one that the gateway put into the block.",
	lightchain.CheckBlock:     "The headers that it shows are not of one history.",
	lightchain.CheckReceipts:  "The receipts of the aggregators that you trust do not hold, or are too few.",
	lightchain.CheckFork:      "It does not show two signed histories of one chain: it accuses nobody.",
	lightchain.CheckBeacon:    "The receipts said to be older than the block are not those that it names.",
}

// passOn writes what a report has so far once that is much: there may be 65,535 readings, of 10 KB each.
func passOn(b *strings.Builder, w io.Writer) error {
	if b.Len() < 1<<16 {
		return nil
	}
	_, err := io.WriteString(w, b.String())
	b.Reset()
	return err
}

func describe(b *strings.Builder, w io.Writer, r *lightchain.Report, named givers) error {
	again := rereadNotes(&r.Entry) // before a word is written, for it may show a fault of this program
	fmt.Fprintf(b, "  entry     number %d, in block %d\n", r.Number, r.Header.Height)
	fmt.Fprintf(b, "  chain     %s\n", r.Chain)
	if r.Name != "" {
		fmt.Fprintf(b, "  gateway   %s\n", printable(r.Name))
	}
	continuesLine(b, r.Before)
	fmt.Fprintf(b, "  source    %s\n", shown(r.Entry.Source))
	fmt.Fprintf(b, "  received  %s by the gateway's clock\n", instant(r.Entry.Received))
	fmt.Fprintf(b, "  sealed    %s by the gateway's clock, then %s\n", instant(r.Header.Sealed), r.Header.Clock.State)
	for _, note := range flagNotes(r.Entry.Flags) {
		fmt.Fprintf(b, "  note      %s\n", note)
	}
	payloadLines(b, r.Entry.Payload)
	for i := range r.Entry.Readings {
		fmt.Fprintf(b, "  reading   %s\n", reading(&r.Entry.Readings[i]))
		if err := passOn(b, w); err != nil {
			return err
		}
	}
	if len(r.Entry.Readings) > 0 {
		by := "decoder"
		if r.Entry.Decoder != "" {
			by += " " + r.Entry.Decoder
		}
		fmt.Fprintf(b, "  note      readings are the gateway's interpretation of the payload, by its %s; the payload is what arrived\n", by)
		for _, note := range append(named.notes(r), again...) {
			fmt.Fprintf(b, "  note      %s\n", note)
		}
	}
	if r.Note != nil {
		noteLines(b, r.Note)
	}
	outsideNotes(b, r.Outside)
	return nil
}

// continuesLine says which chain this one continues: whoever has that one's newest header finds it by this hash.
func continuesLine(b *strings.Builder, before *lightchain.Hash) {
	if before != nil {
		fmt.Fprintf(b, "  continues the chain whose last known header had the hash %s, as the gateway says\n", before)
	}
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
	fmt.Fprintf(&b, "%s %s = %s", word(r.Device), word(r.Name), shownValue(r.Value))
	if r.Unit != "" {
		fmt.Fprintf(&b, " %s", word(r.Unit))
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

// word is for a name or a unit from elsewhere: it stands as it is where it passes for no words of this report, and else in quotes.
func word(s string) string {
	foreign := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("._-/:%#+*°²³$@~&", r)
	}
	if s == "" || strings.ContainsFunc(s, foreign) {
		return quoted(s)
	}
	return shown(s)
}

func proofProved(r *lightchain.Report) []string {
	all := []string{fmt.Sprintf("%s recorded exactly these bytes as entry %d.", recorder(r.ReceiptedBy), r.Number)}
	if len(r.ReceiptedBy) > 0 {
		all = append(all, fmt.Sprintf("It is part of the history that was countersigned by %s.", countersigners(r.ReceiptedBy)))
	}
	if r.NotAfter != nil {
		all = append(all, fmt.Sprintf("Its block was closed not after %s; %s.", second(*r.NotAfter), unless(r.NotAfterBy)))
	}
	if r.NotBefore != nil {
		all = append(all, fmt.Sprintf("Its block was closed not before %s; %s. That the entry itself did not arrive earlier is the gateway's word.", second(*r.NotBefore), unless(r.NotBeforeBy)))
	}
	return all
}

// proofCautions are what nobody may overlook of a proof that verified, person or program.
func proofCautions(r *lightchain.Report, t *lightchain.Trust) []string {
	clock := clockNotes(r.Header.Sealed, ", and called itself "+r.Header.Clock.State.String()+",", "the block", r.NotBefore, r.NotAfter)
	return slices.Concat(cautions(t, r.ReceiptedBy), noteCautions(r), clock, reversalNotes(r.Reversals), silent(r.Silences))
}

// bundleCautions are the same of a bundle, of which the last block alone has a bound.
func bundleCautions(r *lightchain.BundleReport, t *lightchain.Trust) []string {
	return slices.Concat(cautions(t, r.ReceiptedBy), clockNotes(r.Sealed, "", "the last block", nil, r.NotAfter), reversalNotes(r.Reversals), silent(r.Silences))
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
		all = append(all, `No receipt was required: your trust file asks for none, by a line "quorum 0" or by no line "quorum <n>". This file has receipts; one without any would be VERIFIED, too`)
	case len(t.Aggregators) > 0:
		all = append(all, `No receipt was required, and none of an aggregator that you trust is here: your trust file names aggregators and asks for no receipt, by a line "quorum 0" or by no line "quorum <n>". `+
			`An old key of this chain, changed or stolen long ago, could have made this file today. Write a line "quorum 1", or a higher number`)
	default:
		all = append(all, "No receipt was required, and you trust no aggregator: an old key of this chain, changed or stolen long ago, could have made this file today. "+
			`Name aggregators and a quorum in a trust file`)
	}
	return all
}

// silent tells of promises that were not kept by the receipts of a file, and accuses nobody. It is no proof: whoever made the file may
// have left a receipt out.
func silent(promises []lightchain.Silence) (all []string) {
	for _, s := range promises {
		all = append(all, fmt.Sprintf("Header %d promised the next one within %d s; by the receipts in this file the chain was silent from %s (receipt of %s on header %d) to %s (receipt of %s on header %d). "+
			"Whoever made the file may have left out others: ask the aggregators. A power cut does that, too, or a network or an aggregator that is away",
			s.Height, s.Promised, second(s.From.Time), s.From.Name, s.From.Height, second(s.To.Time), s.To.Name, s.To.Height))
	}
	return all
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

// describeBundle says what a bundle holds.
func describeBundle(b *strings.Builder, r *lightchain.BundleReport) {
	fmt.Fprintf(b, "  chain     %s\n", r.Chain)
	if r.Name != "" {
		fmt.Fprintf(b, "  gateway   %s\n", printable(r.Name))
	}
	continuesLine(b, r.Before)
	fmt.Fprintf(b, "  blocks    %d to %d, the last sealed %s by the gateway's clock\n", r.From, r.To, instant(r.Sealed))
	bundleNoteLines(b, r.Notes)
	outsideNotes(b, r.Outside)
}

// bundleProved says what a bundle shows: completeness between two numbers, which no single proof can.
func bundleProved(r *lightchain.BundleReport) (all []string) {
	if r.Next == r.First {
		all = append(all, recorder(r.ReceiptedBy)+" recorded no entry at all in these blocks.")
	} else {
		all = append(all, fmt.Sprintf("%s recorded these as all entries from number %d to number %d: %d, none missing.", recorder(r.ReceiptedBy), r.First, r.Next-1, r.Next-r.First))
	}
	if len(r.ReceiptedBy) > 0 {
		all = append(all, fmt.Sprintf("They are part of the history that was countersigned by %s.", countersigners(r.ReceiptedBy)))
	}
	if r.NotAfter != nil {
		all = append(all, fmt.Sprintf("All of it was closed not after %s; %s.", second(*r.NotAfter), unless(r.NotAfterBy)))
	}
	return all
}

func bundleNotProved(r *lightchain.BundleReport, trust *lightchain.Trust) []string {
	all := append([]string{"That the values are true, or that every message sent reached the gateway.", notInvented}, unsigned(trust)...)
	if len(r.ReceiptedBy) == 0 {
		all = append(all, "When it was recorded, and that this history is the only one: no aggregator that you trust has receipted it.")
	}
	return all
}

const notInvented = "That a device sent it: whoever controls the gateway when it records can invent a message, and what it makes of one."

// unsigned says which keys of a trust file stand for nothing yet.
func unsigned(trust *lightchain.Trust) []string {
	if len(trust.Devices) == 0 {
		return nil
	}
	return []string{"What a device signed: your trust file has keys of some, and this program checks nothing under them yet."}
}

func proofNotProved(r *lightchain.Report, trust *lightchain.Trust) []string {
	all := []string{"That the value is true: a sensor can be wrong, or held over a candle.", notInvented}
	if r.Note != nil {
		all = noteNotProved(r.Note)
	}
	all = append(all, unsigned(trust)...)
	if len(r.ReceiptedBy) == 0 {
		return append(all, "When it was recorded: no aggregator that you trust has receipted it.",
			"That this history is the only one that the gateway's key has signed.", "That the history is complete.")
	}
	if r.NotAfter == nil {
		all = append(all, fmt.Sprintf("An upper bound of its time: receipts of %d aggregators, %d must agree.", len(r.ReceiptedBy), r.Quorum))
	}
	if r.NotBefore == nil {
		all = append(all, "A lower bound of its time: too few trusted receipts came before its block, or the proof does not show them.")
	}
	return append(all, "That nothing else was recorded beside it: one entry's proof cannot say that.")
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

// mostBytes is how much a report shows of each text, payload or value from elsewhere, which may have 16 MiB.
const mostBytes = 2000

// shown is printable for such a text: of a long one the beginning, and how many bytes it has.
func shown(s string) string {
	begins, more := cut(s)
	return printable(begins) + more
}

// cut returns the beginning of a text that is too long to be shown, and what is to be said of the rest.
func cut(s string) (begins, more string) {
	if len(s) <= mostBytes {
		return s, ""
	}
	end := mostBytes
	for end > mostBytes-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end], fmt.Sprintf(" … (%d bytes)", len(s))
}

func shownValue(v lightchain.Value) string {
	text, _ := v.Text()
	switch {
	case v.Kind() == lightchain.KindText:
		return quoted(text) // "20.5" is text, and 20.5 is none
	case v.Kind() == lightchain.KindBytes && len(text) > mostBytes:
		return fmt.Sprintf("%x … (%d bytes)", text[:mostBytes], len(text))
	}
	return v.String()
}

// payloadLines shows text as it is and anything else in hexadecimal, at most the beginning of it. Where text has several
// lines each is marked: none of them may pass for one of this report.
func payloadLines(b *strings.Builder, payload []byte) {
	shown, rest := payload, ""
	if len(payload) > mostBytes {
		shown, rest = payload[:mostBytes], fmt.Sprintf(" … (%d bytes)", len(payload))
		for len(shown) > 0 && !utf8.Valid(shown) && utf8.Valid(payload) {
			shown = shown[:len(shown)-1]
		}
	}
	text, isText := payloadText(shown)
	switch {
	case !isText:
		fmt.Fprintf(b, "  payload   %x%s\n", shown, rest)
	case !strings.Contains(text, "\n"):
		fmt.Fprintf(b, "  payload   %s%s\n", text, rest)
	default:
		head := "  payload   | "
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			b.WriteString(head + strings.TrimSuffix(line, "\r") + "\n")
			head = "            | "
		}
		if rest != "" {
			fmt.Fprintf(b, "           %s\n", rest)
		}
	}
}

// payloadText returns a payload that is text: UTF-8 that steers no terminal. Lines end in LF or CR LF.
func payloadText(b []byte) (string, bool) {
	for rest := b; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		end := r == '\r' && len(rest) > 1 && rest[1] == '\n'
		if r != '\n' && r != '\t' && !end && (!unicode.IsPrint(r) || r == utf8.RuneError) {
			return "", false
		}
		rest = rest[n:]
	}
	return string(b), true
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

// nameOf returns a file's name as a report has it. One that could be taken for words of the report, or holds what is not printed,
// stands in quotes, and no two names look the same.
func nameOf(file string) string {
	if q := strconv.Quote(file); q[1:len(q)-1] != file || strings.ContainsAny(file, " :") || file == "" {
		return q
	}
	return file
}

// validName returns a file's name for JSON, which has no bytes that are not UTF-8: they are written as \xff.
func validName(file string) string {
	if utf8.ValidString(file) {
		return file
	}
	var b strings.Builder
	for len(file) > 0 {
		r, n := utf8.DecodeRuneInString(file)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, file[0])
		} else {
			b.WriteString(file[:n])
		}
		file = file[n:]
	}
	return b.String()
}

func validNames(files [2]string) [2]string {
	return [2]string{validName(files[0]), validName(files[1])}
}
