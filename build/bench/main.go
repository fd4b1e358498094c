// Bench measures what Edgechain costs, each figure beside a named baseline measured in the same run, and beside the
// target where there is one.
//
// It owns the workload, the baselines, and the way of measuring: whatever is compared runs in a process of its own, on
// a real disk, in turns with its baseline, so that a busy moment meets both; what is printed are medians. It judges
// nothing: a target that is missed is told, and the exit status stays 0, since a machine may be slow for any reason.
// It is a module of its own so that its peers stay out of the programs' dependencies.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// A part is one group of figures that can be asked for by name.
type part struct {
	name, about string
	run         func(*bench, context.Context) error
}

func parts() []part {
	return []part{
		{"staging", "durable staging and sealing, against a plain file and Tessera's POSIX appender", (*bench).staging},
		{"ingest", "messages over MQTT until they are on disk, against brokers and subscribers that do nothing", (*bench).ingest},
		{"history", "proving and verifying in long chains, against hashing the same bytes", (*bench).history},
		{"headers", "headers checked in a run, against checking every header's signature", (*bench).headers},
		{"receipts", "from a block's seal to its stored receipt through Mosquitto, against an echo", (*bench).receipts},
		{"catchup", "a gateway that was offline for 100,000 blocks, against sending its signed headers", (*bench).catchup},
		{"node", "what an aggregator takes in and how much memory it needs, against checking alone", (*bench).node},
		{"memory", "the agent's memory, idle and at full speed", (*bench).memory},
		{"reading", "CPU time and allocations of a committed reading, with and without SHA instructions", (*bench).reading},
		{"card", "bytes that reach the device for each reading, against a plain file in the same groups", (*bench).card},
		{"size", "what the programs weigh on a board", (*bench).size},
	}
}

// bench is one run of the program.
type bench struct {
	dir     string // of everything that is written, on a real disk
	rounds  int    // how often each comparison is repeated
	short   bool
	profile string // folder for CPU profiles, "" for none

	cardTime time.Duration // how long the cells of part card run

	log     io.Writer
	figures []figure
	missing []string // what this machine cannot measure, and why
}

func main() {
	if name := os.Getenv(childVariable); name != "" {
		os.Exit(beChild(name))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(log)
	only := flags.String("only", "", "the `parts` to run, with commas between them")
	short := flags.Bool("short", false, "small numbers: that each part works, not how fast")
	rounds := flags.Int("n", 5, "how often each comparison is repeated")
	parent := flags.String("dir", os.TempDir(), "`folder` for what is written, on the disk that is to be measured")
	output := flags.String("output", "table", "table or json")
	profile := flags.String("profile", "", "`folder` for CPU profiles of what is measured")
	cardTime := flags.Duration("card", 3*time.Minute, "how long part card runs, which does so in real time")
	flags.Usage = func() {
		fmt.Fprintln(log, "usage: go run . [flags]\nAll parts take half an hour on two cores. As root, part card sees what the file system itself writes.")
		flags.PrintDefaults()
		for _, p := range parts() {
			fmt.Fprintf(log, "  %-8s %s\n", p.name, p.about)
		}
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *output != "table" && *output != "json" {
		return fmt.Errorf("-output %s: expected table or json", *output)
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *short {
		*rounds = 1
	}
	dir, err := os.MkdirTemp(*parent, "edgechain-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, rounds: *rounds, short: *short, profile: *profile, cardTime: *cardTime, log: log}
	place, err := where(dir)
	if err != nil {
		return err
	}
	for _, p := range chosen {
		fmt.Fprintf(log, "== %s: %s\n", p.name, p.about)
		began := time.Now()
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(log, "   %s took %v\n", p.name, time.Since(began).Round(time.Second))
	}
	place.LoadAfter = loadAverage()
	if *output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"machine": place, "figures": b.figures, "left_out": b.missing})
	}
	if err := printTable(out, place, b.figures); err != nil {
		return err
	}
	for _, what := range b.missing {
		fmt.Fprintf(out, "\nLEFT OUT: %s\n", what)
	}
	return nil
}

// leftOut notes what this machine cannot measure: it is told now, and once more below the table.
func (b *bench) leftOut(what string, why error) {
	text := fmt.Sprintf("%s: %v", what, why)
	b.missing = append(b.missing, text)
	fmt.Fprintf(b.log, "   LEFT OUT: %s\n", text)
}

func choose(only string) ([]part, error) {
	all := parts()
	if only == "" {
		return all, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only %s: no part is called so", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// scaled returns n, or a small part of it in a short run.
func (b *bench) scaled(n int) int {
	if b.short {
		return max(1000, n/200)
	}
	return n
}
