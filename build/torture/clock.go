package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

//go:embed clock/clock.c
var clockSource []byte

func lacksClock() string {
	if runtime.GOARCH != "amd64" {
		return "a program's clock is stepped on amd64 alone"
	}
	return lacks("gcc")
}

// A step sets a program's clock.
type step struct {
	name   string
	offset func(now int64) int64 // seconds
}

func steps() []step {
	at := func(year int) func(int64) int64 {
		return func(now int64) int64 { return time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC).Unix() - now }
	}
	return []step{
		{"1970", at(1970)},
		{"in 20 years", func(int64) int64 { return 20 * 365 * 24 * 3600 }},
		{"a day back", func(int64) int64 { return -24 * 3600 }},
		{"2300", at(2300)},
		{"1969", at(1969)},
		{"1677", at(1677)}, // before int64 nanoseconds
		{"right", func(int64) int64 { return 0 }},
	}
}

// clock steps the clock of an agent that runs, from each time to each other.
func (t *torture) clock(ctx context.Context) error {
	source, program := filepath.Join(t.dir, "clock.c"), filepath.Join(t.dir, "clock")
	if err := os.WriteFile(source, clockSource, 0o644); err != nil {
		return err
	}
	if text, err := exec.CommandContext(ctx, "gcc", "-O1", "-Wall", "-o", program, source).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, text)
	}
	old, err := t.plainGateway(ctx)
	if err != nil {
		return err
	}
	s := &specimen{name: "clock", gateway: old}
	if err := s.keepProofs(); err != nil {
		return err
	}
	var trials []trial
	for _, from := range steps() {
		for _, to := range steps() {
			if from.name == to.name {
				continue
			}
			trials = append(trials, trial{class: "clock", group: "stepped", name: from.name + " to " + to.name, run: func(ctx context.Context, o *outcome) {
				s.steps(ctx, program, []step{from, to, steps()[len(steps())-1]}, o)
			}})
		}
	}
	if t.short {
		trials = slices.DeleteFunc(trials, func(r trial) bool { return !strings.HasPrefix(r.name, "right to") })
	}
	return t.each(ctx, trials)
}

// steps runs a copy of the specimen with one time after the other, and judges it by each and after a start with the right one.
func (s *specimen) steps(ctx context.Context, program string, times []step, o *outcome) {
	g, err := s.gateway.copyOf()
	if err != nil {
		o.stuck = "the harness: " + err.Error()
		return
	}
	defer g.remove()
	file := filepath.Join(g.dir, "clock")
	g.wrap = []string{program, file}
	for _, at := range times {
		if err := os.WriteFile(file, fmt.Appendf(nil, "%d\n", at.offset(time.Now().Unix())), 0o644); err != nil {
			o.stuck = "the harness: " + err.Error()
			return
		}
		began := time.Now()
		if err := g.comeBack(ctx, payload(0)); err != nil {
			o.stuck = fmt.Sprintf("at %s: %v", at.name, err)
			return
		}
		o.back = max(o.back, time.Since(began))
		if g.starts > 1 {
			o.stuck = fmt.Sprintf("it ended at %s", at.name)
			return
		}
		f, err := g.settle(ctx)
		if err != nil {
			o.stuck = fmt.Sprintf("at %s: %v", at.name, err)
			return
		}
		judge(g.ledger, f, o)
		s.compareProofs(ctx, g, f, o)
		g.ledger.see(f)
	}
	g.kill()
	g.wrap = nil
	if err := g.comeBack(ctx, payload(0)); err != nil {
		o.stuck = "afterwards: " + err.Error()
		return
	}
	if f, err := g.settle(ctx); err != nil {
		o.stuck = "afterwards: " + err.Error()
	} else {
		judge(g.ledger, f, o)
	}
}
