package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"edgechain.example/lightchain"
)

// A call is one run of the program: what was asked for, and what came out of the files so far.
type call struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	asked          options

	compared *histories
	named    givers
	tally    tally
	held     []statement // of two files, to be told below the table
	code     int

	evident         bool           // evidence was written, or could not be
	withoutEvidence *contradiction // one of which there is none
}

// options are what stands on the command line beside the files.
type options struct {
	trust, chain, evidence, output     string
	summary, readings, version, asJSON bool
}

func newFlags(o *options) *flag.FlagSet {
	flags := flag.NewFlagSet("edgeverify", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // its errors are told by who parses
	flags.Usage = func() {}     // the whole help is for who asks for it
	flags.StringVar(&o.trust, "trust", "", "the `FILE` that says whom to trust")
	flags.StringVar(&o.chain, "chain", "", "trust this `CHAIN`, all 52 characters, and no aggregator")
	flags.StringVar(&o.evidence, "evidence", "", "write evidence of the first two files that contradict each other, or of one that shows two histories, to a new `FILE`: headers and receipts, no readings")
	flags.StringVar(&o.output, "output", "text", "text for people, json for programs: one object a line")
	flags.BoolVar(&o.summary, "summary", false, "a table of one line a file instead of the reports; with --output json an object more, behind the reports")
	flags.BoolVar(&o.readings, "readings", false, "show all readings of a bundle, and not the first 20 alone; JSON has them all")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	return flags
}

// parse reads flags wherever they stand, and returns what else does: the files. The standard library stops at the first file.
//
// What a shell makes of * may hold a file whose name is an option's, put there by whoever is accused: no such word counts, and
// none twice.
func parse(flags *flag.FlagSet, args []string) (files []string, err error) {
	given := map[string]bool{}
	help := false
	for len(args) > 0 {
		first := args[0]
		if first == "--" {
			files = append(files, args[1:]...)
			break
		}
		if first == "-" || !strings.HasPrefix(first, "-") {
			files, args = append(files, first), args[1:]
			continue
		}
		name, n := optionOf(flags, first)
		switch _, err := os.Lstat(first); {
		case err == nil:
			return nil, fmt.Errorf("%s is an option, and a file here has that name: write -- before the files, or ./%s", first, first)
		case given[name]:
			return nil, fmt.Errorf("--%s is given twice. If a file has that name, write -- before the files", name)
		}
		given[name] = true
		if err := misused(flags, name, first, n > len(args)); err != nil {
			return nil, err
		}
		switch err := flags.Parse(args[:n]); {
		case errors.Is(err, flag.ErrHelp):
			help = true
		case err != nil:
			return nil, err
		}
		args = args[n:]
	}
	if (help || given["version"]) && len(files) > 0 {
		return nil, errors.New("--help and --version take no files, and none was looked at. If a file has that name, write -- before the files")
	}
	if help {
		return nil, flag.ErrHelp
	}
	// An option that came out empty, as where a shell knows no such variable, was meant to do something.
	flags.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			err = fmt.Errorf("--%s is empty: say which, or leave it out", f.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	return files, nil
}

// misused says what is wrong with an option, where the standard library's words would not.
func misused(flags *flag.FlagSet, name, word string, missing bool) error {
	f := flags.Lookup(name)
	_, value, given := strings.Cut(word, "=")
	switch {
	case name == "h" || name == "help":
		return nil
	case f == nil:
		return fmt.Errorf("there is no option %s: edgeverify --help shows all. If a file has that name, write -- before the files", word)
	case missing:
		what, usage := flag.UnquoteUsage(f)
		return fmt.Errorf("--%s has nothing behind it: expected --%s %s, %s", name, name, strings.ToUpper(cmp.Or(what, "value")), usage)
	}
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() && given {
		if _, err := strconv.ParseBool(value); err != nil {
			return fmt.Errorf("--%s=%s: expected true or false, or nothing behind --%s", name, value, name)
		}
	}
	return nil
}

// optionOf returns a flag's name, and how many words it takes, its value among them.
func optionOf(flags *flag.FlagSet, word string) (name string, words int) {
	name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	f := flags.Lookup(name)
	if f == nil || hasValue {
		return name, 1
	}
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return name, 1
	}
	return name, 2
}

// wantsJSON looks for --output json by itself, so that words which cannot be read are told in JSON too.
func wantsJSON(args []string) bool {
	return slices.ContainsFunc(args, func(word string) bool {
		return word == "--output=json" || word == "-output=json"
	}) || slices.ContainsFunc([]string{"--output", "-output"}, func(word string) bool {
		i := slices.Index(args, word)
		return i >= 0 && i+1 < len(args) && args[i+1] == "json"
	})
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &call{stdin: stdin, stdout: stdout, stderr: safely{stderr}, named: givers{}}
	c.asked.asJSON = wantsJSON(args)
	var help strings.Builder
	flags := newFlags(&c.asked)
	files, err := parse(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help.WriteString(usage)
		flags.SetOutput(&help)
		flags.PrintDefaults()
		return c.print(help.String(), "the help")
	case err != nil:
		code := c.fail(exitUsage, "%v", err)
		fmt.Fprint(c.stderr, forms+"edgeverify --help says more.\n")
		return code
	case c.asked.version:
		if c.asked.asJSON {
			return c.print(fmt.Sprintf("{\"version\":%q}\n", buildVersion()), "the version")
		}
		return c.print("edgeverify "+buildVersion()+"\n", "the version")
	case c.asked.output != "text" && c.asked.output != "json":
		return c.fail(exitUsage, "--output %q: expected text or json", c.asked.output)
	case len(files) == 0:
		return c.fail(exitUsage, "no file named; edgeverify --help shows how")
	}
	c.asked.asJSON = c.asked.output == "json"
	trust, err := readTrust(c.asked.trust, c.asked.chain)
	if err != nil {
		return c.fail(exitUsage, "%v", err)
	}
	return c.judge(files, trust)
}

func (c *call) print(text, what string) int {
	if _, err := io.WriteString(c.stdout, text); err != nil {
		return c.fail(exitFailed, "writing %s: %v", what, err)
	}
	return exitOK
}

// fail says why the call ends; a program that asked for JSON reads it there too.
func (c *call) fail(code int, format string, args ...any) int {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(c.stderr, "edgeverify: %s\n", printable(text))
	c.failJSON(code, text)
	return code
}

// failedJSON is what --output json prints where no file can be judged, or compared.
type failedJSON struct {
	Error    string `json:"error"`
	ExitCode int    `json:"exit_code"`
}

func (c *call) failJSON(code int, text string) {
	if c.asked.asJSON {
		_ = writeJSON(c.stdout, failedJSON{text, code}) // it stands on the other output as well
	}
}

// judge looks at each file, and at all of them together.
func (c *call) judge(files []string, trust *lightchain.Trust) int {
	c.compared = newHistories(trust)
	for _, file := range files {
		if err := c.file(file, trust); err != nil {
			return c.fail(exitFailed, "%v", err)
		}
	}
	for _, n := range c.compared.otherHistories() {
		if err := c.together(&n); err != nil {
			return c.fail(exitFailed, "%v", err)
		}
	}
	for _, r := range c.compared.reversals() {
		if err := c.together(&r); err != nil {
			return c.fail(exitFailed, "%v", err)
		}
	}
	if w := c.withoutEvidence; w != nil && !c.evident {
		c.code = graver(c.code, c.fail(exitFailed, "no evidence is written of what %s and %s show: %v", w.files[0], w.files[1], w.without))
	}
	if err := c.end(); err != nil {
		return c.fail(exitFailed, "writing the report: %v", err)
	}
	return c.code
}

// file judges one file and compares it with those before it. An error ends the call.
func (c *call) file(file string, trust *lightchain.Trust) error {
	o := check(file, c.stdin, trust)
	o.allReadings = c.asked.readings
	err := guarded(func() error {
		o.givers = c.named
		c.named.add(&o)
		return c.report(&o)
	})
	if errors.Is(err, errFault) {
		o = outcome{file: file, trust: trust, err: err}
		err = c.report(&o)
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	c.tally.add(&o)
	c.code = graver(c.code, o.verdict().exitCode())
	if o.within != nil {
		c.export(o.within)
	}
	var found []contradiction
	err = guarded(func() (err error) {
		found, err = c.compared.add(&o)
		return err
	})
	if err != nil { // the files after it are judged all the same
		c.code = graver(c.code, c.fail(exitFailed, "comparing %s with the files before it: %v", file, err))
	}
	for i := range found {
		if err := c.contradicted(&found[i]); err != nil {
			return err
		}
	}
	return nil
}

// contradicted tells of two files that cannot both be relied on, and writes evidence of the first two.
func (c *call) contradicted(found *contradiction) error {
	if err := c.together(found); err != nil {
		return err
	}
	c.export(found)
	return nil
}

// export writes evidence, of the first that there is.
func (c *call) export(found *contradiction) {
	if c.asked.evidence == "" || c.evident {
		return
	}
	if found.evidence == nil { // another pair may have evidence
		c.withoutEvidence = found
		return
	}
	if err := writeEvidence(c.asked.evidence, found.evidence); err != nil { // that they contradict each other is graver
		c.code = graver(c.code, c.fail(exitFailed, "writing the evidence: %v", err))
	}
	c.evident = true
}

// together tells what two files show together, which is never good.
func (c *call) together(s statement) error {
	c.code = graver(c.code, exitVerification)
	c.tally.together++
	if c.asked.summary && !c.asked.asJSON {
		c.held = append(c.held, s)
		return nil
	}
	if err := c.write(s); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// report tells of one file, unless a table is to do that.
func (c *call) report(o *outcome) error {
	if c.asked.summary && !c.asked.asJSON {
		o.row() // a fault in what it says shows here, where the file can still be told to be not judged
		return nil
	}
	return c.write(o)
}

func (c *call) write(s statement) error {
	if c.asked.asJSON {
		return s.writeJSON(c.stdout)
	}
	return s.writeText(c.stdout)
}

// end tells of all files together: in a line if there are several, in a table if one was asked for.
func (c *call) end() error {
	c.tally.code, c.tally.untold = c.code, c.compared.untold
	switch {
	case c.asked.asJSON && c.asked.summary:
		return c.tally.writeJSON(c.stdout)
	case c.asked.asJSON:
		return nil
	case c.asked.summary:
		if err := c.tally.writeTable(c.stdout); err != nil {
			return err
		}
	}
	for _, s := range c.held {
		if err := s.writeText(c.stdout); err != nil {
			return err
		}
	}
	if len(c.tally.rows) > 1 || c.asked.summary {
		return c.tally.writeText(c.stdout)
	}
	return nil
}
