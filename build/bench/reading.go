package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"edgechain.example/lightchain"
)

type readingTask struct {
	Dir     string
	Group   int
	Entries int
	Decode  bool // only that
}

type readingResult struct {
	Cost   cost
	Allocs uint64
	Bytes  uint64 // allocated
}

// commitReadings takes messages as they arrive through everything between a source and the disk: decoding, encoding,
// salting, hashing, staging, sealing.
func commitReadings(t readingTask) (r readingResult, err error) {
	messages := machineMessages(min(t.Entries, stagingPool), "press-07")
	in, err := newIntake()
	if err != nil {
		return r, err
	}
	s, err := newChain(t.Dir)
	if err != nil {
		return r, err
	}
	a := &storeAppender{s: s, dir: t.Dir}
	group := make([]lightchain.Entry, 0, t.Group)
	last := func() error { return nil }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m := newMeter()
	for i := range t.Entries {
		group = append(group, in.entry(&messages[i%len(messages)]))
		if len(group) < t.Group {
			continue
		}
		if !t.Decode {
			wait, err := a.stage(group)
			if err != nil {
				return r, err
			}
			if err := last(); err != nil {
				return r, err
			}
			last = wait
		}
		group = group[:0]
	}
	if err := last(); err != nil {
		return r, err
	}
	r.Cost = m.cost()
	runtime.ReadMemStats(&after)
	r.Allocs, r.Bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	return r, a.close()
}

// reading shows what a change costs on a board: CPU time depends little on what else the machine does, and without SHA
// instructions a large processor is nearer to a Raspberry Pi 4, which has none.
func (b *bench) reading(ctx context.Context) error {
	with, without := "", "GODEBUG=cpu.sha=off"
	if runtime.GOARCH == "arm64" {
		without = "GODEBUG=cpu.sha2=off"
	}
	for _, c := range []struct {
		name           string
		group, entries int
		decode         bool
	}{
		{"decoding alone", 1000, 400_000, true},
		{"committed, groups of 1000", 1000, 400_000, false},
		{"committed, groups of 10", 10, 50_000, false},
		{"committed, groups of 1", 1, 10_000, false},
	} {
		var plainCPU, slowCPU, allocs, bytes []float64
		for range b.rounds {
			for _, env := range []string{with, without} {
				t := readingTask{filepath.Join(b.dir, "reading"), c.group, b.scaled(c.entries), c.decode}
				var r readingResult
				if err := b.measure(ctx, "reading", t, &r, env); err != nil {
					return err
				}
				if err := os.RemoveAll(t.Dir); err != nil {
					return err
				}
				each := func(v float64) float64 { return v / float64(t.Entries) }
				if env == without {
					slowCPU = append(slowCPU, each(float64(r.Cost.CPU.Nanoseconds())))
					continue
				}
				plainCPU = append(plainCPU, each(float64(r.Cost.CPU.Nanoseconds())))
				allocs, bytes = append(allocs, each(float64(r.Allocs))), append(bytes, each(float64(r.Bytes)))
			}
		}
		b.report("reading", c.name+", CPU", "ns/reading", plainCPU, none())
		b.compare("reading", c.name+", CPU without SHA instructions", "ns/reading", slowCPU, "with them", plainCPU, none())
		b.report("reading", c.name, "allocations/reading", allocs, none())
		b.report("reading", c.name, "bytes allocated/reading", bytes, none())
		fmt.Fprintf(b.log, "   %s: %s ns, without SHA instructions %s ns\n", c.name, plain(median(plainCPU)), plain(median(slowCPU)))
	}
	return nil
}
