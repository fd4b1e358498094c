// Command edgeverify is the auditor's program: it checks Edgechain proofs, bundles and evidence of forks offline, against a
// list of whom to trust, and each against the others.
//
// It depends on what decides (lightchain) and on what reads a payload once more (sensors), opens no connection, and writes
// nothing but its report and, where it is told a file for it, evidence.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"edgechain.example/lightchain"
)

const forms = `Usage: edgeverify --trust FILE [OPTION]... FILE...
       edgeverify --chain CHAIN [OPTION]... FILE...
`

const usage = forms + `
Checks proofs (*.edgeproof, or PEM), bundles (*.edgebundle) and evidence of forks (*.edgefork) offline and says in plain
words what each one proves and what it does not. "-" is standard input. Options may stand before and behind the names of
files; behind "--" everything is a file. A trust file has lines of UTF-8:

    chain <52 characters>
    aggregator <name> ssh-ed25519 <base64>
    quorum <n>                                how many aggregators must agree; by default none need to
    person <name> ssh-ed25519 <base64>        whose signatures on notes are told by name
    device <name> <kind> <base64>             a device's key: nothing is checked under it yet

--chain CHAIN trusts one chain and no aggregator: then no time is proved.

What a mail program does to a file is undone, and told: quote marks, lines of another length, text around a proof, base64
alone, gzip.

Proofs and bundles named together are compared, each block of a bundle too: where what two of them show cannot be of one
history, such as different headers at one height, the chain's gateway signed two histories, and both files are named, even if
one of them has too few receipts. That nothing is said means only that they do not contradict each other in what they show.

Exit codes; of several files the first of these that applies to one of them:

    2   wrong words, or a wrong trust file; no file was looked at
    3   it does not verify: forged, damaged, cut short; or two files contradict each other
    8   it is sound, and not enough for your trust file: another chain, or too few receipts
    1   a fault of this program; or files cannot be compared in full, or evidence not be written; or the report cannot, which
        ends it at once
    6   it cannot be read: no right to it, a folder, a bad disk
    4   it is not there
    0   all files verify, and none contradicts another

Evidence of a fork verifies if it shows one.

Options:
`

// version is set when a release is built.
var version = "dev"

// memoryLimit is where the collector works harder: a file may have 32 MiB, and is held a few times while it is decoded.
const memoryLimit = 96 << 20

func main() {
	debug.SetMemoryLimit(memoryLimit)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
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

// maxTrust is room for a quarter of a million chains.
const maxTrust = 16 << 20

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
	f, err := open(file)
	if err != nil {
		return nil, fmt.Errorf("the trust file: %w", err)
	}
	defer f.Close()
	b, err := readAtMost(f, maxTrust+1, size(f))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the trust file: %w", err)
	case len(b) > maxTrust:
		return nil, fmt.Errorf("%s: longer than the %d MiB that a trust file may have", file, maxTrust>>20)
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

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "dev" && info.Main.Version != "" {
		return info.Main.Version
	}
	return version
}
