// Testrun runs everything `make test` runs, and counts it: static checks, the tests plain, under the race detector, and
// under emulated ARM, those of whole systems, of what people install, and of the modules that ship nothing. How long each
// part took is told and never judged: it says how busy the machine is, not what the tree is worth.
//
// It knows which runs there are and what their events mean. What a test needs from the machine is the business of
// build/testenv. Named on the command line, only those parts run.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"edgechain/arm"
)

// A part is what is asked for by name: commands that run one after the other.
type part struct {
	name  string
	steps []step
}

// A step is one command. A test run (`go test -json`) counts each of its tests, any other command counts as one.
type step struct {
	env    []string
	args   []string
	events bool
	needs  string // a program without which the step is skipped, or fails where the variable CI is set
}

func main() {
	total, err := run(os.Stdout, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(2)
	}
	if total.failed > 0 {
		os.Exit(1)
	}
}

func run(out io.Writer, names []string) (total counts, err error) {
	all, err := parts()
	if err != nil {
		return total, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(p part) bool { return p.name == name }) {
			return total, fmt.Errorf("no part is called %s", name)
		}
	}
	var took time.Duration
	for _, p := range all {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		fmt.Fprintf(out, "== %s\n", p.name)
		begin := time.Now()
		for _, s := range p.steps {
			c, err := s.run(out)
			if err != nil {
				return total, err
			}
			total.add(c)
		}
		d := time.Since(begin).Round(time.Second)
		took += d
		fmt.Fprintf(out, "-- %s: %v\n", p.name, d)
	}
	fmt.Fprintf(out, "-- in all: %v\n", took)
	for _, line := range total.broken {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, total)
	return total, nil
}

// parts returns the runs of `make test`. Every test runs plainly once: unit tests, then whole systems (the programs
// in cmd/, started, killed and looked at from outside), the packages, installed and removed, the modules that only build or
// measure, and the policy.
//
// The race detector gets another run of all packages, -short: it slows a test some ten times and sees nothing of the
// programs a test starts, so tests that are long, or start programs, leave there. It needs cgo, with which Pebble
// compresses by another library than the one we ship; hence apart. Under emulation, another ten times as slow, run
// the packages that decide what a byte means, with -trimpath, so that what is compiled for them serves the policy, which
// weighs the programs as they are shipped, as well.
func parts() ([]part, error) {
	pure := []string{"CGO_ENABLED=0"}
	list := exec.Command("go", "list", "./...")
	list.Stderr = os.Stderr
	output, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	var units, systems []string
	for pkg := range strings.FieldsSeq(string(output)) {
		switch {
		case pkg == "edgechain": // the policy
		case strings.HasPrefix(pkg, "edgechain/cmd/"):
			systems = append(systems, pkg)
		default:
			units = append(units, pkg)
		}
	}
	race := test([]string{"CGO_ENABLED=1"}, append([]string{"-race", "-short"}, append(units, systems...)...)...)
	race.needs = "gcc"
	all := []part{
		{"check", []step{
			{env: pure, args: []string{"go", "build", "./..."}},
			{env: pure, args: []string{"go", "vet", "./..."}},
			{env: pure, args: []string{"gofmt", "-l", "."}},
			{env: pure, args: []string{"go", "tool", "staticcheck", "./..."}},
		}},
		{"unit", []step{test(pure, units...)}},
		{"race", []step{race}},
	}
	for _, target := range arm.Targets() {
		emulated := test(target.Env(), "-trimpath", "-short", "-run=^(Test|Example)", "-exec="+target.Exec(),
			"./lightchain", "./lightchain/store", "./lightchain/keyfile")
		emulated.needs = target.Emulator[0]
		all = append(all, part{"qemu-" + target.Name, []step{emulated}})
	}
	return append(all,
		part{"system", []step{test(pure, append([]string{"-count=1"}, systems...)...)}},
		part{"packages", separate(pure, "build/packages")},
		part{"modules", append(separate(pure, "build/nats"), separate(pure, "build/bench")...)},
		part{"policy", []step{test(pure, "-count=1", "edgechain")}},
	), nil
}

// hang is after how long a package's tests are taken to hang, and end with the stacks of all goroutines: far beyond what a
// busy machine takes, and below what a build machine allows for all.
const hang = "-timeout=60m"

// separate makes the steps of a module of its own. -C comes before all other flags.
func separate(env []string, dir string) []step {
	return []step{
		{env: env, args: []string{"go", "vet", "-C", dir, "./..."}},
		{env: env, args: []string{"go", "test", "-C", dir, "-json", hang, "-count=1", "./..."}, events: true},
	}
}

// test makes the step of a test run.
func test(env []string, args ...string) step {
	return step{env: env, args: append([]string{"go", "test", "-json", hang}, args...), events: true}
}

func (s step) run(out io.Writer) (c counts, err error) {
	if _, missing := exec.LookPath(s.needs); s.needs != "" && missing != nil && os.Getenv("CI") == "" {
		c.skipped++
		fmt.Fprintf(out, "SKIP\t%s: %s is not installed: build/testenv/install.sh installs what the tests run\n", s, s.needs)
		return c, nil
	}
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	if s.events {
		cmd.Stderr = os.Stderr
		events, err := cmd.StdoutPipe()
		if err != nil {
			return c, err
		}
		if err := cmd.Start(); err != nil {
			return c, err
		}
		c, err = read(events, out)
		if err != nil {
			io.Copy(io.Discard, events)
			err = fmt.Errorf("%s: %w", s, err)
		}
		if failed := cmd.Wait(); failed != nil && c.failed == 0 { // before the first event: arguments, the list of packages
			c.fail(fmt.Sprintf("FAIL\t%s: %v", s, failed))
		}
		return c, err
	}

	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	failed := cmd.Run()
	if s.args[0] == "gofmt" && output.Len() > 0 {
		failed = errors.New("not as gofmt writes it") // which it does not hold for a failure
	}
	if failed == nil {
		c.passed++
		fmt.Fprintf(out, "ok  \t%s\n", s)
		return c, nil
	}
	out.Write(output.Bytes())
	c.fail(fmt.Sprintf("FAIL\t%s: %v", s, failed))
	return c, nil
}

func (s step) String() string { return strings.Join(s.args, " ") }
