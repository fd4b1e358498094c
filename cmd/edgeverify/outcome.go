package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"edgechain.example/lightchain"
)

// outcome is what became of one file: the report of what it is, or the reason why there is none.
type outcome struct {
	file   string
	trust  *lightchain.Trust
	proof  *lightchain.Report
	bundle *lightchain.BundleReport
	fork   *lightchain.ForkReport
	err    error

	// Of a file that the trust file refuses: it verifies for whoever trusts its chain and asks for no receipts, or fails
	// besides.
	sound   bool
	besides error
	found   int // of a sound one, how many aggregators countersigned it

	soundProof  *lightchain.Report // what it shows to such a one: its notes are judged all the same
	soundBundle *lightchain.BundleReport

	undone      []string // what was done to the file on its way
	entries     *bundleEntries
	allReadings bool

	within *contradiction // of a file that refutes itself: what its chain's key signed, both of it

	sides    []lightchain.Side        // what it says of its chain's history,
	blocks   *lightchain.BundleBlocks // and of the heights of a bundle,
	receipts []lightchain.ReceiptedBy // and who countersigned that
	givers   givers                   // of names and units
}

// errFault is a panic: a fault of this program, whatever the file is.
var errFault = errors.New("a fault of this program, which says nothing of the file: please report it, with the file if you may")

// check reads one file and verifies it. Whatever is in it, the files named after it are judged, too.
func check(file string, stdin io.Reader, trust *lightchain.Trust) outcome {
	o := outcome{file: file, trust: trust}
	err := guarded(func() error { return o.judge(stdin) })
	if errors.Is(err, errFault) {
		return outcome{file: file, trust: trust, err: err}
	}
	if o.err = err; err != nil {
		o.proof, o.bundle, o.fork, o.entries = nil, nil, nil, nil
	}
	return o
}

// judge reads the file and verifies what is in it.
func (o *outcome) judge(stdin io.Reader) error {
	r := stdin
	if o.file != "-" {
		f, err := open(o.file)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	in, err := o.unzip(bufio.NewReaderSize(r, 1<<16))
	if err != nil {
		return err
	}
	if o.undone != nil {
		r = in // how long it is, is not known any more
	}
	first, err := in.Peek(sniffed)
	switch {
	case len(first) == 0 && errors.Is(err, io.EOF):
		return undecoded(fmt.Errorf("%w%s", errEmpty, o.emptiness()))
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case isText(first):
		return o.checkText(in, size(r))
	case lightchain.IsBundle(first):
		return o.checkBundle(in)
	}
	// One byte beyond shows that it is too long.
	b, err := readAtMost(in, lightchain.MaxProof+1, size(r))
	if err != nil {
		return err
	}
	return o.checkBytes(b)
}

var errEmpty = errors.New("0 bytes")

// emptiness asks what made it so: an accident of copying more often than anything else.
func (o *outcome) emptiness() string {
	switch {
	case o.undone != nil:
		return " in the gzip."
	case o.file == "-":
		return " came on standard input."
	}
	return ". Was it copied to its end?"
}

// open opens what can hold a file; a folder can be opened, too, and not read. A named pipe into which nobody writes is empty: to
// wait for somebody would keep the files behind it from being looked at.
func open(file string) (*os.File, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a folder: name the files in it")
	}
	return os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// undecoded is what is no file of the format.
func undecoded(err error) error {
	return &lightchain.CheckError{Check: lightchain.CheckDecoding, Err: err}
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

// readAtMost reads so many bytes at the most, of expected ones, into memory that is made for them at once. Where it is not known how
// many come, what is more than a few gets room for all that may: pages that nothing is written to take no memory, and copies do.
func readAtMost(r io.Reader, most, expected int64) ([]byte, error) {
	const few = 1 << 20
	b := make([]byte, 0, min(most, expected+bytes.MinRead))
	for int64(len(b)) < most {
		if len(b) == cap(b) {
			room := most
			if len(b) < few {
				room = min(most, 4*int64(cap(b)))
			}
			b = append(make([]byte, 0, room), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		} else if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// checkBytes verifies what is in memory as a whole.
func (o *outcome) checkBytes(b []byte) error {
	switch {
	case lightchain.IsBundle(b):
		return o.checkBundle(bufio.NewReader(bytes.NewReader(b)))
	case lightchain.IsFork(b):
		return o.checkFork(b)
	}
	p, err := lightchain.DecodeProof(b)
	if err != nil {
		return undecoded(err)
	}
	if o.proof, err = p.Verify(o.trust); err == nil {
		o.sides, o.receipts = p.Sides(), o.proof.Receipts
		return nil
	}
	if !asksMore(err) {
		o.accuse(err, p.Sides)
		return err
	}
	sides := p.Sides()
	if r, soundErr := p.Verify(o.asItIs(sides)); o.refused(err, soundErr) {
		o.soundProof = r
		o.compare(sides, r.Receipts, r.ReceiptedBy)
	}
	return err
}

// accuse looks into a file whose headers are of no one history: where two of them are signed, whoever signed them is accused by
// evidence that verifies without the file.
func (o *outcome) accuse(err error, sides func() []lightchain.Side) {
	if !errors.Is(err, lightchain.CheckBlock) && !errors.Is(err, lightchain.CheckKeys) {
		return
	}
	all := sides()
	if f := lightchain.Contradiction(all, all, o.trust); f != nil {
		if r, err := f.Verify(o.trust); err == nil {
			o.within = &contradiction{files: [2]string{o.file, o.file}, evidence: f, report: r}
		}
	}
}

// asksMore reports whether a check failed that may only be one of what the trust file asks for.
func asksMore(err error) bool {
	return errors.Is(err, lightchain.CheckChain) || errors.Is(err, lightchain.CheckReceipts)
}

// checkFork verifies evidence that a gateway's keys signed two histories.
func (o *outcome) checkFork(b []byte) error {
	f, err := lightchain.DecodeFork(b)
	if err != nil {
		return undecoded(err)
	}
	if o.fork, err = f.Verify(o.trust); asksMore(err) && len(f.Keys) > 0 {
		lax := *o.trust
		lax.Chains = []lightchain.ChainID{f.Keys[0].ChainID()}
		_, soundErr := f.Verify(&lax)
		o.refused(err, soundErr)
	}
	return err
}

// checkBundle reads item by item: a bundle may be larger than the memory.
func (o *outcome) checkBundle(r *bufio.Reader) error {
	v := lightchain.NewBundleVerifier(o.trust)
	v.KeepBlocks(keptBlocks)
	o.entries = &bundleEntries{room: bundleRoom}
	var item []byte
	for {
		head, err := r.Peek(9)
		if len(head) == 0 && errors.Is(err, io.EOF) {
			return o.endBundle(v)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		start, end, err := lightchain.BundleItem(head)
		if err != nil {
			return undecoded(err)
		}
		if cap(item) < end {
			item = make([]byte, end)
		}
		item = item[:end]
		if _, err := io.ReadFull(r, item); errors.Is(err, io.ErrUnexpectedEOF) {
			return undecoded(errors.New("bundle: cut short"))
		} else if err != nil {
			return err
		}
		if err := v.Add(item[start:]); err != nil {
			return err
		}
		o.entries.add(item[start:])
	}
}

func (o *outcome) endBundle(v *lightchain.BundleVerifier) (err error) {
	if o.bundle, err = v.Report(); err == nil {
		o.sides, o.blocks, o.receipts = v.Sides(), v.Blocks(), o.bundle.Receipts
		return o.entries.readAgain()
	}
	if !asksMore(err) {
		o.accuse(err, v.Sides)
		return err
	}
	sides := v.Sides()
	if r, soundErr := v.ReportFor(o.asItIs(sides)); o.refused(err, soundErr) {
		o.soundBundle = r
		if o.compare(sides, r.Receipts, r.ReceiptedBy); o.sides != nil {
			o.blocks = v.Blocks()
		}
	}
	return err
}

// asItIs is the trust of somebody who has the same aggregators, trusts the file's own chain, and asks for no receipts.
func (o *outcome) asItIs(sides []lightchain.Side) *lightchain.Trust {
	lax := *o.trust
	lax.Quorum, lax.Chains = 0, nil
	if len(sides) > 0 {
		lax.Chains = []lightchain.ChainID{sides[0].Head.ChainID()}
	}
	return &lax
}

// refused notes what is wrong with a file that the trust file refuses, beside that, and reports whether it is sound.
func (o *outcome) refused(err, soundErr error) bool {
	o.sound = soundErr == nil
	if soundErr != nil && soundErr.Error() != err.Error() {
		o.besides = soundErr
	}
	return o.sound
}

// compare has a sound file compared with the others: what its chain's key signed accuses it, however few have countersigned
// that. Of a chain that the trust file does not name nobody asks.
func (o *outcome) compare(sides []lightchain.Side, receipts, by []lightchain.ReceiptedBy) {
	o.found = len(by)
	if slices.Contains(o.trust.Chains, sides[0].Head.ChainID()) {
		o.sides, o.receipts = sides, receipts
	}
}

// explain says in a plain sentence why a file does not verify.
func (o *outcome) explain() string {
	var failed *lightchain.CheckError
	if !errors.As(o.err, &failed) {
		if v := o.verdict(); v == unreadable {
			return fmt.Sprintf("It cannot be read, so nothing is known of it: %v.", o.err)
		} else if v == notFound {
			return fmt.Sprintf("It is not there, so nothing is known of it: %v.", o.err)
		}
		return o.err.Error()
	}
	if named := aggregators(o.trust); o.verdict() == tooFew && uint64(named) < o.trust.Quorum {
		return fmt.Sprintf("The check %q failed. It is sound, and no file can have the receipts that your trust file asks for: its quorum is %d, and it names %s. Name more, or ask for fewer; %d of them countersigned this one.",
			failed.Check, o.trust.Quorum, plural(named, "aggregator"), o.found)
	}
	if o.verdict() == tooFew {
		return fmt.Sprintf("The check %q failed. It is sound, and too few have countersigned it: %d of those whom your trust file names, which asks for %d. Ask for a later proof, which has more receipts.",
			failed.Check, o.found, o.trust.Quorum)
	}
	if errors.Is(failed.Err, errEmpty) {
		return fmt.Sprintf("The check %q failed. The file is empty: %v", failed.Check, failed.Err)
	}
	text := fmt.Sprintf("The check %q failed. %s (%v)", failed.Check, meaning[failed.Check], failed.Err)
	bad := o.badNotes()
	switch {
	case bad != "":
		text += " Nor does what a person said hold here: " + bad + "."
	case o.sound:
		text += " By itself it is sound, which anybody can bring about with a key of his own."
	case o.besides != nil:
		text += fmt.Sprintf(" Nor does it verify for whoever trusts its chain and asks for no receipts: %v.", o.besides)
	}
	return text
}

// brief is the same for a line of a table.
func (o *outcome) brief() string {
	var failed *lightchain.CheckError
	switch {
	case o.err == nil:
		return "a note that does not hold: " + o.badNotes()
	case o.verdict() == tooFew:
		return fmt.Sprintf("countersigned by %d of those trusted, %d asked for", o.found, o.trust.Quorum)
	case errors.As(o.err, &failed) && o.badNotes() != "":
		return fmt.Sprintf("%s: %v; and a note that does not hold: %s", failed.Check, failed.Err, o.badNotes())
	case errors.As(o.err, &failed):
		return fmt.Sprintf("%s: %v", failed.Check, failed.Err)
	}
	return o.err.Error()
}
