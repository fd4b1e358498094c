// Testrun runs everything `make test` runs, and counts it: static checks, the tests plain, under the race detector, and
// under emulated ARM, those of whole systems, of what people install, and of the modules that ship nothing. How long a
// part takes is printed and never judged.
//
// It knows which runs there are, which of them may run side by side, and what their events mean. What a test needs from
// the machine is the business of build/testenv.
//
//	testrun [-limit DURATION] [PART...]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"edgechain.example/arm"
)

// A part is some commands that run one after the other.
type part struct {
	name  string
	lane  lane
	steps []step
}

// A lane is what runs one after the other, beside the other lanes: one part's programs wait, for a timer, a disk or a
// network, or keep one processor busy, while another part's compute.
type lane int

const (
	alone     lane = iota // before all others: what it compiles, they use
	computing             // keeps the processors busy
	emulating             // keeps one busy: a board's tests of one package, which is nearly all of its time
	waiting               // programs that wait for each other most of the time
)

// A step is one command. A test run (`go test -json`) counts each of its tests, any other command counts as one.
type step struct {
	env    []string
	args   []string
	events bool
	needs  string // a program without which the step is skipped, or fails where the variable CI is set
}

func main() {
	limit := flag.Duration("limit", 0, "what still runs after this `time` ends with the stacks of all goroutines, and has failed (default none)")
	flag.Parse()
	ctx := context.Background()
	if *limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, *limit)
		defer stop()
	}
	total, err := run(ctx, os.Stdout, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(2)
	}
	if total.failed > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, names []string) (total counts, err error) {
	all, err := parts()
	if err != nil {
		return total, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(p part) bool { return p.name == name }) {
			return total, fmt.Errorf("no part is called %s", name)
		}
	}
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(p part) bool { return !slices.Contains(names, p.name) })
	}
	begin := time.Now()
	total, err = runParts(ctx, out, all)
	fmt.Fprintf(out, "-- in all: %v, %v of a processor\n", time.Since(begin).Round(time.Second), total.computed.Round(time.Second))
	for _, line := range total.broken {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, total)
	return total, err
}

// runParts runs the parts, those of different lanes side by side, and tells each as a whole, in the order of the list.
func runParts(ctx context.Context, out io.Writer, all []part) (total counts, err error) {
	results := make([]result, len(all))
	for i := range results {
		results[i].ended = make(chan struct{})
	}
	runLane := func(l lane) {
		for i, p := range all {
			if p.lane == l {
				results[i].run(ctx, p)
			}
		}
	}
	go func() {
		runLane(alone)
		for _, l := range []lane{computing, emulating, waiting} {
			go runLane(l)
		}
	}()
	for i := range results {
		r := &results[i]
		r.output.tell(out)
		<-r.ended
		total.add(r.counts)
		err = errors.Join(err, r.err)
	}
	return total, err
}

// A result is what comes of a part. Its lane writes it until ended is closed.
type result struct {
	output page
	counts counts
	err    error
	ended  chan struct{}
}

func (r *result) run(ctx context.Context, p part) {
	defer close(r.ended)
	fmt.Fprintf(&r.output, "== %s\n", p.name)
	begin := time.Now()
	for _, s := range p.steps {
		c, err := s.run(ctx, &r.output)
		r.counts.add(c)
		r.err = errors.Join(r.err, err)
	}
	fmt.Fprintf(&r.output, "-- %s: %v, %v of a processor\n", p.name, time.Since(begin).Round(time.Second), r.counts.computed.Round(time.Second))
}

// A page is what a part prints: kept as long as another part is told, then passed on at once.
type page struct {
	mu   sync.Mutex
	kept bytes.Buffer
	out  io.Writer // nil until it is the part's turn
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return p.kept.Write(b)
	}
	return p.out.Write(b)
}

func (p *page) tell(out io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.kept.WriteTo(out)
	p.out = out
}

// parts returns the runs of `make test`. Every test runs plainly once: unit tests, then whole systems (the programs
// in cmd/, started, killed and looked at from outside), the packages, installed and removed, the modules that only build,
// measure or torture, and the policy.
//
// The race detector gets another run of all packages in which goroutines are started, -short: it slows a test some ten
// times and sees nothing of the programs a test starts, so tests that are long, or start programs, leave there, and those
// that compute for long on one goroutine are left out. It needs cgo, with which Pebble compresses by another library than
// the one we ship; hence apart. Under emulation, another ten times as slow, run the packages that decide what a byte means.
// None of these runs asks `go vet` again: the first part has.
//
// All are compiled with -trimpath, so that what is compiled once serves the tests, the programs as they are shipped, the
// packages, and the policy, which weighs the programs.
func parts() ([]part, error) {
	listed, err := ask("go", "list", "-f", "{{.ImportPath}} {{.Dir}}", "./...")
	if err != nil {
		return nil, err
	}
	flags, err := ask("go", "env", "GOFLAGS")
	if err != nil {
		return nil, err
	}
	trimmed := "GOFLAGS=" + strings.TrimSpace(flags+" -trimpath")
	pure := []string{"CGO_ENABLED=0", trimmed}
	var units, systems, raced []string
	for line := range strings.Lines(listed) {
		pkg, folder, _ := strings.Cut(strings.TrimSpace(line), " ")
		if pkg == "edgechain.example" { // the policy
			continue
		}
		if strings.HasPrefix(pkg, "edgechain.example/cmd/") {
			systems = append(systems, pkg)
		} else {
			units = append(units, pkg)
		}
		if starts, err := concurrent(folder); err != nil {
			return nil, err
		} else if starts {
			raced = append(raced, pkg)
		}
	}
	race := test([]string{"CGO_ENABLED=1", trimmed}, append([]string{"-race", "-short", atOnce, leaveOut(cutPower, mendDamage, damageFiles, onOneGoroutine)}, raced...)...)
	race.needs = "gcc"
	all := []part{
		{"check", alone, []step{
			{env: pure, args: []string{"go", "build", "./..."}},
			{env: pure, args: []string{"go", "vet", "./..."}},
			{env: pure, args: []string{"gofmt", "-l", "."}},
			{env: pure, args: []string{"go", "tool", "staticcheck", "./..."}},
		}},
		{"unit", computing, []step{test(pure, append([]string{atOnce}, units...)...)}},
		{"race", computing, []step{race}},
	}
	for _, target := range arm.Targets() {
		all = append(all, part{"qemu-" + target.Name, emulating, emulated(target, trimmed)})
	}
	return append(all,
		part{"system", waiting, []step{test(pure, append([]string{"-count=1"}, systems...)...)}},
		part{"packages", waiting, separate(pure, "build/packages")},
		part{"modules", waiting, slices.Concat(separate(pure, "build/bench"), separate(pure, "build/torture"), separate(pure, "build/factory"))},
		part{"policy", computing, []step{test(pure, "-count=1", "edgechain.example")}},
	), nil
}

// ask returns what a command prints.
func ask(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(output)), nil
}

// hang is the flag that says after how long a package's tests are taken to hang, and end with the stacks of all goroutines:
// fifty times what the slowest takes on two cores, or half of the time that the whole run still has, so that what would
// come after them runs, too.
func hang(ctx context.Context) string {
	after := 4 * time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		after = min(after, max(time.Until(deadline)/2, time.Second)) // no time at all would mean none is set
	}
	return fmt.Sprintf("-timeout=%v", after.Round(time.Second))
}

// atOnce lets more packages be tested than there are processors: those with databases and brokers wait for these most of the
// time.
const atOnce = "-p=4"

// separate makes the steps of a module of its own. -C comes before all other flags. Tests of it that run side by side
// wait for other programs: more of them than there are processors may.
func separate(env []string, dir string) []step {
	return []step{
		{env: env, args: []string{"go", "vet", "-C", dir, "./..."}},
		{env: env, args: []string{"go", "test", "-C", dir, "-json", "-vet=off", "-count=1", "-parallel=4", "./..."}, events: true},
	}
}

// test makes the step of a test run.
func test(env []string, args ...string) step {
	return step{env: env, args: append([]string{"go", "test", "-json", "-vet=off"}, args...), events: true}
}

func (s step) run(ctx context.Context, out io.Writer) (c counts, err error) {
	if _, missing := exec.LookPath(s.needs); s.needs != "" && missing != nil && os.Getenv("CI") == "" {
		c.skipped++
		fmt.Fprintf(out, "SKIP\t%s: %s is not installed: build/testenv/install.sh installs what the tests run\n", s, s.needs)
		return c, nil
	}
	args := s.args[1:]
	if s.events { // after -C, and before the packages
		at := slices.Index(args, "-json") + 1
		args = slices.Insert(slices.Clone(args), at, hang(ctx))
	}
	cmd := exec.CommandContext(ctx, s.args[0], args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Cancel = func() error { return quit(cmd.Process.Pid) }
	cmd.WaitDelay = time.Minute // for the stacks
	var said bytes.Buffer
	cmd.Stderr = &said
	if !s.events {
		cmd.Stdout = &said
		failed := cmd.Run()
		c.computed = computed(cmd)
		if s.args[0] == "gofmt" && said.Len() > 0 {
			failed = errors.New("not as gofmt writes it") // which it does not hold for a failure
		}
		if failed == nil {
			c.passed++
			fmt.Fprintf(out, "ok  \t%s\n", s)
			return c, nil
		}
		_, _ = said.WriteTo(out)
		c.fail(s.failure(ctx, failed))
		return c, nil
	}

	events, err := cmd.StdoutPipe()
	if err != nil {
		return c, err
	}
	if err := cmd.Start(); err != nil {
		c.fail(s.failure(ctx, err))
		return c, nil
	}
	c, err = read(events, out)
	if err != nil {
		_, _ = io.Copy(io.Discard, events)
		err = fmt.Errorf("%s: %w", s, err)
	}
	failed := cmd.Wait()
	c.computed = computed(cmd)
	_, _ = said.WriteTo(out)
	if failed != nil && (c.failed == 0 || ctx.Err() != nil) { // before the first event: arguments, the list of packages
		c.fail(s.failure(ctx, failed))
	}
	return c, err
}

// computed is how long a command that has ended, and the programs that it waited for, kept processors busy.
func computed(cmd *exec.Cmd) time.Duration {
	if cmd.ProcessState == nil {
		return 0
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func (s step) String() string { return strings.Join(s.args, " ") }

// failure is the line of a step that failed as a whole.
func (s step) failure(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		err = errors.New("the time of the whole run was over")
	}
	return fmt.Sprintf("FAIL\t%s: %v", s, err)
}
