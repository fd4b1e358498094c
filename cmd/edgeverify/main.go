// Command edgeverify is the auditor's program: it checks Edgechain proofs, bundles and evidence of forks offline, against a
// list of whom to trust, and each against the others.
//
// It depends on what decides (lightchain) and on what reads a payload once more (sensors), opens no connection, and writes
// nothing but its report and, where it is told a file for it, evidence.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"

	"edgechain.example/lightchain"
)

const usage = `Usage: edgeverify --trust FILE [--output text|json] FILE...
       edgeverify --chain CHAIN [--output text|json] FILE...

Checks proofs (*.edgeproof, or PEM), bundles (*.edgebundle) and evidence of forks (*.edgefork) offline and says in plain
words what each one proves and what it does not. "-" is standard input. A trust file has lines of UTF-8:

    chain <52 characters>
    aggregator <name> ssh-ed25519 <base64>
    quorum <n>                                how many aggregators must agree; by default none need to
    person <name> ssh-ed25519 <base64>        whose signatures on notes are told by name

--chain CHAIN trusts one chain and no aggregator: then no time is proved.

Proofs and bundles named together are compared: where two of them show different headers at one height of a chain, its
gateway signed two histories, and both files are named. That nothing is said means only that they do not contradict
each other where they speak of the same heights.

The exit code is 0 if all files verify and none contradicts another, 1 if report or evidence cannot be written and for a
fault of this program, 2 for wrong words or a wrong trust file, 3 if something does not verify or two files contradict each other, 4 if a file is not
there. Of several, 3 comes first, then 4. Evidence of a fork verifies if it shows one.

Options:
`

// Exit codes: stable, and the same for all programs of Edgechain.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitVerification = 3
	exitNotFound     = 4
)

// version is set when a release is built.
var version = "dev"

// memoryLimit is where the collector works harder: a file may have 32 MiB, and is held a few times while it is decoded.
const memoryLimit = 96 << 20

func main() {
	debug.SetMemoryLimit(memoryLimit)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	stderr = safely{stderr}
	flags := flag.NewFlagSet("edgeverify", flag.ContinueOnError)
	var said strings.Builder
	flags.SetOutput(&said)
	flags.Usage = func() {
		said.WriteString(usage)
		flags.PrintDefaults()
	}
	trustFile := flags.String("trust", "", "the `FILE` that says whom to trust")
	chain := flags.String("chain", "", "trust this `CHAIN`, all 52 characters, and no aggregator")
	evidence := flags.String("evidence", "", "write evidence of the first two files that contradict each other to a new `FILE`: headers and receipts, no readings")
	output := flags.String("output", "text", "text for people, json for programs: one object a line")
	showVersion := flags.Bool("version", false, "print the version and exit")
	fail := func(code int, format string, args ...any) int {
		fmt.Fprintf(stderr, "edgeverify: %s\n", printable(fmt.Sprintf(format, args...)))
		return code
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		if _, err := io.WriteString(stdout, said.String()); err != nil {
			return fail(exitFailed, "writing the help: %v", err)
		}
		return exitOK
	} else if err != nil {
		fmt.Fprint(stderr, said.String())
		return exitUsage
	}
	if *showVersion {
		if _, err := fmt.Fprintln(stdout, "edgeverify", buildVersion()); err != nil {
			return fail(exitFailed, "writing the version: %v", err)
		}
		return exitOK
	}
	var write func(statement) error
	switch *output {
	case "text":
		write = func(s statement) error { return s.writeText(stdout) }
	case "json":
		write = func(s statement) error { return s.writeJSON(stdout) }
	default:
		return fail(exitUsage, "--output %q: expected text or json", *output)
	}
	if flags.NArg() == 0 {
		return fail(exitUsage, "no file named; edgeverify --help shows how")
	}
	trust, err := readTrust(*trustFile, *chain)
	if err != nil {
		return fail(exitUsage, "%v", err)
	}
	code, compared, named := exitOK, newHistories(trust), givers{}
	for _, file := range flags.Args() {
		o := check(file, stdin, trust)
		err := guarded(func() error {
			o.givers = named
			named.add(&o)
			return write(&o)
		})
		if errors.Is(err, errFault) {
			o = outcome{file: file, err: err}
			err = write(&o)
		}
		if err != nil {
			return fail(exitFailed, "writing the report: %v", err)
		}
		code = worse(code, o.exitCode())
		var found []contradiction
		err = guarded(func() (err error) {
			found, err = compared.add(&o)
			return err
		})
		if err != nil { // the files after it are judged all the same
			code = worse(code, fail(exitFailed, "comparing %s with the files before it: %v", file, err))
		}
		for i := range found {
			if err := write(&found[i]); err != nil {
				return fail(exitFailed, "writing the report: %v", err)
			}
			if *evidence != "" {
				if err := writeEvidence(*evidence, found[i].evidence); err != nil {
					return fail(exitFailed, "writing the evidence: %v", err)
				}
				*evidence = ""
			}
			code = exitVerification
		}
	}
	for _, n := range compared.otherHistories() {
		if err := write(&n); err != nil {
			return fail(exitFailed, "writing the report: %v", err)
		}
		code = exitVerification
	}
	for _, r := range compared.reversals() {
		if err := write(&r); err != nil {
			return fail(exitFailed, "writing the report: %v", err)
		}
		code = exitVerification
	}
	return code
}

// guarded turns a panic into an error that says whose fault it is.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errFault, p)
		}
	}()
	return do()
}

// safely writes lines to a terminal that nothing in them can steer: names of files and flags may come from elsewhere.
type safely struct{ io.Writer }

func (s safely) Write(b []byte) (int, error) {
	lines := strings.Split(string(b), "\n")
	for i, line := range lines {
		words := strings.Split(line, "\t")
		for j := range words {
			words[j] = printable(words[j])
		}
		lines[i] = strings.Join(words, "\t")
	}
	if _, err := io.WriteString(s.Writer, strings.Join(lines, "\n")); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A statement is what there is to say of a file, or of two together.
type statement interface {
	writeText(io.Writer) error
	writeJSON(io.Writer) error
}

// readTrust reads the trust file, or trusts the one chain named instead.
func readTrust(file, chain string) (*lightchain.Trust, error) {
	switch {
	case file != "" && chain != "":
		return nil, errors.New("--trust and --chain exclude one another: name the chain in the trust file")
	case chain != "":
		c, err := lightchain.ParseChainID(chain)
		return &lightchain.Trust{Chains: []lightchain.ChainID{c}}, err
	case file == "":
		return nil, errors.New("whom to trust? Name a trust file with --trust, or one chain with --chain")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t, err := lightchain.ParseTrust(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(t.Chains) == 0 {
		return nil, fmt.Errorf("%s: no line \"chain <52 characters>\": no proof could verify", file)
	}
	return t, nil
}

// outcome is what became of one file: the report of what it is, or the reason why there is none.
type outcome struct {
	file   string
	trust  *lightchain.Trust
	proof  *lightchain.Report
	bundle *lightchain.BundleReport
	fork   *lightchain.ForkReport
	err    error

	sides    []lightchain.Side        // what it says of its chain's history,
	receipts []lightchain.ReceiptedBy // and who countersigned that
	givers   givers                   // of names and units
}

// errFault is a panic: a fault of this program, whatever the file is.
var errFault = errors.New("a fault of this program, which says nothing of the file: please report it, with the file if you may")

// check reads one file and verifies it. Whatever is in it, the files named after it are judged, too.
func check(file string, stdin io.Reader, trust *lightchain.Trust) outcome {
	o := outcome{file: file, trust: trust}
	if err := guarded(func() error { return o.judge(stdin) }); err != nil {
		return outcome{file: file, err: err}
	}
	return o
}

// judge reads the file and verifies what is in it.
func (o *outcome) judge(stdin io.Reader) error {
	file, trust, r := o.file, o.trust, stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	in := bufio.NewReaderSize(r, 1<<16)
	first, err := in.Peek(1)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case lightchain.IsBundle(first):
		return o.checkBundle(in, trust)
	case lightchain.IsFork(first):
		return o.checkFork(in, size(r), trust)
	}
	return o.checkProof(in, size(r), trust)
}

// size returns how many bytes a file has; 0 where that is not known.
func size(r io.Reader) int64 {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	}
	return 0
}

// checkProof reads never more than a proof may have.
func (o *outcome) checkProof(r io.Reader, expected int64, trust *lightchain.Trust) error {
	// In PEM a proof takes a third more, and the ends of its lines; one byte beyond shows that it is too long.
	b, err := readAtMost(r, lightchain.MaxProof/2*3+1, expected)
	if err != nil {
		return err
	}
	if b, err = lightchain.DecodeText(b); err != nil {
		return &lightchain.CheckError{Check: lightchain.CheckDecoding, Err: err}
	}
	p, err := lightchain.DecodeProof(b)
	if err != nil {
		return &lightchain.CheckError{Check: lightchain.CheckDecoding, Err: err}
	}
	if o.proof, err = p.Verify(trust); err == nil {
		o.sides, o.receipts = p.Sides(), o.proof.Receipts
	}
	return err
}

// readAtMost reads so many bytes at the most, of expected ones, into memory that is made for them at once: growing, it
// would take twice as much.
func readAtMost(r io.Reader, most, expected int64) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, min(most, expected)+bytes.MinRead))
	_, err := b.ReadFrom(io.LimitReader(r, most))
	return b.Bytes(), err
}

// checkBundle reads item by item: a bundle may be larger than the memory.
func (o *outcome) checkBundle(r *bufio.Reader, trust *lightchain.Trust) error {
	v := lightchain.NewBundleVerifier(trust)
	var item []byte
	for {
		head, err := r.Peek(9)
		if len(head) == 0 && errors.Is(err, io.EOF) {
			if o.bundle, err = v.Report(); err == nil {
				o.sides, o.receipts = v.Sides(), o.bundle.Receipts
			}
			return err
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		start, end, err := lightchain.BundleItem(head)
		if err != nil {
			return &lightchain.CheckError{Check: lightchain.CheckDecoding, Err: err}
		}
		if cap(item) < end {
			item = make([]byte, end)
		}
		item = item[:end]
		if _, err := io.ReadFull(r, item); errors.Is(err, io.ErrUnexpectedEOF) {
			return &lightchain.CheckError{Check: lightchain.CheckDecoding, Err: errors.New("bundle: cut short")}
		} else if err != nil {
			return err
		}
		if err := v.Add(item[start:]); err != nil {
			return err
		}
	}
}

// worse returns which of two codes tells what matters more: a file that does not verify is not hidden by one that is not there.
func worse(a, b int) int {
	if a == exitVerification || b == exitVerification {
		return exitVerification
	}
	return max(a, b)
}

func (o *outcome) exitCode() int {
	switch {
	case o.err == nil && o.badNotes() != "":
		return exitVerification
	case o.err == nil:
		return exitOK
	case errors.Is(o.err, fs.ErrNotExist):
		return exitNotFound
	case errors.Is(o.err, errFault):
		return exitFailed
	}
	return exitVerification
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "dev" && info.Main.Version != "" {
		return info.Main.Version
	}
	return version
}
