// Torture does to the built programs what the world does to a gateway: rot, power cuts, failing system calls, kills, wrong
// clocks, bad networks, weeks of load. At the end it says of each fault class how often it was tried and what it cost.
//
// It owns the list of what was acknowledged, the heights and the proofs that were seen, all of it outside the programs under
// test, and judges by that alone: see judge.go. It asks a running program only what any user could ask. It is a module of
// its own so that nothing of it comes near the programs' dependencies.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A class is one kind of fault.
type class struct {
	name, about string
	needs       func() string // why this machine cannot have it; "" if it can
	run         func(*torture, context.Context) error
}

func classes() []class {
	return []class{
		{"files", "every file of a store, and configuration and key, damaged in every way", nil, (*torture).files},
		{"node", "the same of an aggregator", lacksMosquitto, (*torture).node},
		{"cut", "what power cuts leave on the disk of a gateway, or of an aggregator, and a disk that forgets what it synced", func() string { return lacksFuse() + lacksMosquitto() }, (*torture).cut},
		{"inject", "each system call that changes the disk fails or kills, once, for a while, for ever", func() string { return lacksStrace() + lacksMosquitto() }, (*torture).inject},
		{"kill", "SIGKILL at random, of agent, aggregator and broker, amid all that they do", lacksMosquitto, (*torture).kill},
		{"clock", "the clock of a running program stepped", lacksClock, (*torture).clock},
		{"network", "half-open connections, brokers that die, forget, repeat, a client id used twice, an aggregator that is silent", lacksMosquitto, (*torture).network},
		{"soak", "500 messages a second for long, with a kill a minute: nothing may grow", lacksMosquitto, (*torture).soak},
	}
}

// torture is one run of the program.
type torture struct {
	dir      string        // of everything that is written
	native   string        // folder of the programs as this machine runs them
	programs string        // folder of the programs under test: the same, or another machine's
	emulator []string      // in front of each of these, then
	prepares bool          // specimens are made, which native programs do; set while no trial runs
	short    bool          // a sample of each class that fits into a test
	every    int           // one byte in so many is flipped
	n        int           // trials of each class at most; 0: as many as there are, or as the time allows
	duration time.Duration // of each class; 0: without end, where a class has one
	workers  int
	disk     string // size of the disk in memory, as mount takes it
	seed     uint64
	match    *regexp.Regexp // of trials
	log      io.Writer

	report report
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, log io.Writer) (failed bool, err error) {
	t := &torture{log: log}
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.SetOutput(log)
	only := flags.String("class", "", "the `classes` to run, with commas between them")
	parent := flags.String("dir", os.TempDir(), "`folder` for what is written, on a disk")
	programs := flags.String("programs", "", "`folder` of this machine's programs; they are built if it is not named")
	target := flags.String("target", "", "a board's `name`, such as armv6: its programs are tried, under emulation")
	match := flags.String("match", "", "only the trials whose names match this `expression`, as failures are named")
	flags.BoolVar(&t.short, "short", false, "a sample of each class that fits into a test")
	flags.IntVar(&t.every, "every", 64, "flip one byte in so `MANY`, and of a large file no more than 2000; 1: every byte of all files")
	flags.IntVar(&t.n, "n", 0, "trials of each class at most")
	flags.DurationVar(&t.duration, "for", 0, "how long each class takes at most")
	flags.StringVar(&t.disk, "disk", "24m", "`size` of the disk in memory that retention keeps a chain on, in class kill")
	flags.IntVar(&t.workers, "workers", runtime.NumCPU(), "trials at the same time, where they do not disturb each other")
	flags.Uint64Var(&t.seed, "seed", uint64(time.Now().UnixNano()), "of all that is random")
	flags.Usage = func() {
		fmt.Fprintln(log, "usage: go run . [flags]\nIt exits with 1 if anything was lost untold, forked, or did not come back.")
		flags.PrintDefaults()
		for _, c := range classes() {
			fmt.Fprintf(log, "  %-8s %s\n", c.name, c.about)
		}
	}
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if t.match, err = regexp.Compile(*match); err != nil {
		return false, fmt.Errorf("-match: %w", err)
	}
	chosen, err := choose(*only)
	if err != nil {
		return false, err
	}
	if t.dir, err = os.MkdirTemp(*parent, "torture-"); err != nil {
		return false, err
	}
	defer os.RemoveAll(t.dir)
	if err := os.Chmod(t.dir, 0o755); err != nil { // some programs run as another user
		return false, err
	}
	if err := t.prepare(ctx, *programs, *target); err != nil {
		return false, err
	}
	fmt.Fprintf(log, "seed %d\n", t.seed)
	for _, c := range chosen {
		if c.needs != nil {
			if why := c.needs(); why != "" {
				t.report.leaveOut(c.name, why)
				fmt.Fprintf(log, "== %s: LEFT OUT: %s\n", c.name, why)
				continue
			}
		}
		fmt.Fprintf(log, "== %s: %s\n", c.name, c.about)
		began := time.Now()
		if err := c.run(t, ctx); err != nil {
			return false, fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(log, "-- %s took %v\n", c.name, time.Since(began).Round(time.Second))
	}
	return t.report.print(out), nil
}

func choose(only string) ([]class, error) {
	all := classes()
	if only == "" {
		return all, nil
	}
	var chosen []class
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(c class) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-class %s: no class is called so", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// folder makes a new folder; its path is short, since sockets lie in it.
func (t *torture) folder(name string) (string, error) {
	dir, err := os.MkdirTemp(t.dir, name)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// program returns the path of a program under test.
func (t *torture) program(name string) string {
	if t.prepares {
		return filepath.Join(t.native, name)
	}
	return filepath.Join(t.programs, name)
}
