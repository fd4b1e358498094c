package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"edgechain.example/lightchain"
)

// Exit codes: stable, and the same for all programs of Edgechain. docs/reference/exit-codes.md has their table.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitVerification = 3
	exitNotFound     = 4
	exitUnreadable   = 6
	exitNotTrusted   = 8
)

// gravity has the codes of files from the gravest on. What was found out about evidence stands before what kept it from being
// looked at: a file that is missing may be given again, and must not hide a forged one.
var gravity = []int{exitVerification, exitNotTrusted, exitFailed, exitUnreadable, exitNotFound, exitOK}

// graver returns which of two codes tells what matters more.
func graver(a, b int) int {
	return gravity[min(slices.Index(gravity, a), slices.Index(gravity, b))]
}

// A verdict is what became of one file, in a word for programs.
type verdict string

const (
	verified    verdict = "verified"
	notVerified verdict = "not_verified"     // forged, damaged, cut short, or with a note that does not hold
	notTrusted  verdict = "not_trusted"      // sound, of a chain that the trust file does not name
	tooFew      verdict = "too_few_receipts" // sound, and countersigned by fewer than the trust file asks for
	unreadable  verdict = "unreadable"       // there, and nobody could look at it
	notFound    verdict = "not_found"
	notJudged   verdict = "not_judged" // by a fault of this program
)

// verdicts are told in this order.
var verdicts = []verdict{verified, notVerified, notTrusted, tooFew, unreadable, notFound, notJudged}

func (v verdict) exitCode() int {
	switch v {
	case verified:
		return exitOK
	case notTrusted, tooFew:
		return exitNotTrusted
	case unreadable:
		return exitUnreadable
	case notFound:
		return exitNotFound
	case notJudged:
		return exitFailed
	}
	return exitVerification
}

// words are the verdict as a report's first line has it.
func (v verdict) words() string {
	switch v {
	case notVerified:
		return "NOT VERIFIED"
	case notTrusted:
		return "NOT TRUSTED"
	case tooFew:
		return "TOO FEW RECEIPTS"
	case unreadable:
		return "CANNOT BE READ"
	case notFound:
		return "NOT FOUND"
	case notJudged:
		return "NOT JUDGED"
	}
	return "VERIFIED"
}

func (o *outcome) verdict() verdict {
	var failed *lightchain.CheckError
	switch {
	case o.err == nil && o.badNotes() == "":
		return verified
	case o.err == nil:
		return notVerified
	case errors.Is(o.err, errFault):
		return notJudged
	case !errors.As(o.err, &failed):
		if errors.Is(o.err, fs.ErrNotExist) {
			return notFound
		}
		return unreadable
	case o.badNotes() != "":
		return notVerified
	case o.sound && failed.Check == lightchain.CheckChain:
		return notTrusted
	case o.sound:
		return tooFew
	}
	return notVerified
}

// A tally is what became of all files.
type tally struct {
	rows     []row
	together int // findings about two files
	untold   int // pairs that contradict each other, beyond those that are told
	code     int
}

// A row is one file of the table.
type row struct {
	File     string  `json:"file"`
	Verdict  verdict `json:"verdict"`
	Gateway  string  `json:"gateway"`
	Shows    string  `json:"shows"`
	ExitCode int     `json:"exit_code"`
}

func (t *tally) add(o *outcome) { t.rows = append(t.rows, o.row()) }

func (o *outcome) row() row {
	v := o.verdict()
	r := row{File: o.file, Verdict: v, ExitCode: v.exitCode()}
	switch {
	case v != verified:
		r.Shows = o.brief()
	case o.proof != nil:
		r.Gateway, r.Shows = o.proof.Name, fmt.Sprintf("entry %d in block %d", o.proof.Number, o.proof.Header.Height)
		r.Shows += closed(o.proof.NotBefore, o.proof.NotAfter)
	case o.bundle != nil:
		r.Gateway, r.Shows = o.bundle.Name, bundleSpan(o.bundle)+closed(nil, o.bundle.NotAfter)
	case o.fork != nil:
		r.Gateway, r.Shows = o.fork.Name, fmt.Sprintf("two histories at height %d", o.fork.Height)
	}
	return r
}

func bundleSpan(r *lightchain.BundleReport) string {
	if r.Next == r.First {
		return fmt.Sprintf("no entry in blocks %d to %d", r.From, r.To)
	}
	return fmt.Sprintf("entries %d to %d in blocks %d to %d", r.First, r.Next-1, r.From, r.To)
}

// closed says within what time a file was, as far as receipts do.
func closed(notBefore, notAfter *uint64) string {
	switch {
	case notBefore != nil && notAfter != nil:
		return fmt.Sprintf(", closed %s to %s", second(*notBefore), second(*notAfter))
	case notAfter != nil:
		return ", closed not after " + second(*notAfter)
	case notBefore != nil:
		return ", closed not before " + second(*notBefore)
	}
	return ""
}

// writeTable writes one line a file.
func (t *tally) writeTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILE\tVERDICT\tGATEWAY\tSHOWS")
	for _, r := range t.rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", nameOf(r.File), r.Verdict.words(), printable(r.Gateway), printable(r.Shows))
	}
	fmt.Fprintln(table)
	return table.Flush()
}

// counts are how many files have each verdict.
func (t *tally) counts() map[verdict]int {
	counts := map[verdict]int{}
	for _, r := range t.rows {
		counts[r.Verdict]++
	}
	return counts
}

// writeText says it in one line.
func (t *tally) writeText(w io.Writer) error {
	var parts []string
	counts := t.counts()
	for _, v := range verdicts {
		if n := counts[v]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, v.words()))
		}
	}
	line := fmt.Sprintf("%s: %s", plural(len(t.rows), "file"), strings.Join(parts, ", "))
	if t.together > 0 {
		line += "; " + plural(t.together, "CONTRADICTION") + " between two of them"
	}
	if t.untold > 0 {
		line += fmt.Sprintf(", and between %s more that are not listed", plural(t.untold, "pair"))
	}
	_, err := fmt.Fprintf(w, "%s. Exit code %d.\n", line, t.code)
	return err
}

func plural(n int, of string) string {
	switch {
	case n == 1:
		return "1 " + of
	case strings.ToUpper(of) == of:
		return fmt.Sprintf("%d %sS", n, of)
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// summaryJSON is the last object of --output json --summary.
type summaryJSON struct {
	Files          []row           `json:"files"`
	Counts         map[verdict]int `json:"counts"`
	Contradictions int             `json:"contradictions"`
	NotListed      int             `json:"not_listed,omitempty"` // pairs of files that contradict each other, too
	ExitCode       int             `json:"exit_code"`
}

func (t *tally) writeJSON(w io.Writer) error {
	counts := t.counts()
	for _, v := range verdicts {
		counts[v] += 0 // each verdict has a number
	}
	rows := slices.Clone(t.rows)
	for i := range rows {
		rows[i].File = validName(rows[i].File)
	}
	return writeJSON(w, struct {
		Summary summaryJSON `json:"summary"`
	}{summaryJSON{rows, counts, t.together, t.untold, t.code}})
}
