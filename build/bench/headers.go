package main

import (
	"context"
	"fmt"
	"time"

	"edgechain.example/lightchain"
)

// headersPerRun is how many headers a page holds, more or less.
const headersPerRun = 1000

type headersTask struct {
	Runs int // to check
	Each bool
}

// checkHeaders follows a chain: by decoding runs as they come from the wire, whose last signature vouches for the rest,
// or by every header's own signature, where the headers are decoded already.
func checkHeaders(t headersTask) (c cost, err error) {
	chain, err := newHeaderChain(0)
	if err != nil {
		return c, err
	}
	const middle = 99_999 // headers before, in ten subtrees
	if err := chain.leap(middle); err != nil {
		return c, err
	}
	start := chain.tip.Clone()
	if !t.Each {
		encoded, err := chain.run(headersPerRun)
		if err != nil {
			return c, err
		}
		m := newMeter()
		for range t.Runs {
			r, err := lightchain.DecodeRun(encoded)
			if err != nil {
				return c, err
			}
			if _, err := start.Clone().Follow(r, nil); err != nil {
				return c, err
			}
		}
		return m.cost(), nil
	}
	var all []*lightchain.SignedHeader
	for range headersPerRun {
		s, err := chain.seal()
		if err != nil {
			return c, err
		}
		all = append(all, s)
	}
	m := newMeter()
	for range t.Runs {
		tip := start.Clone()
		for _, s := range all {
			if err := tip.FollowOne(s); err != nil {
				return c, err
			}
		}
	}
	return m.cost(), nil
}

func (b *bench) headers(ctx context.Context) error {
	var run, each []float64
	for range b.rounds {
		for _, t := range []headersTask{{b.scaled(1_000_000) / headersPerRun, false}, {b.scaled(40_000) / headersPerRun, true}} {
			var c cost
			if err := b.measure(ctx, "headers", t, &c); err != nil {
				return err
			}
			rate := float64(t.Runs*headersPerRun) / max(c.CPU, time.Microsecond).Seconds()
			if t.Each {
				each = append(each, rate)
			} else {
				run = append(run, rate)
			}
		}
		fmt.Fprintf(b.log, "   in a run %s/s, each %s/s\n", plain(run[len(run)-1]), plain(each[len(each)-1]))
	}
	b.compare("headers", "checked in a run for each second of CPU", "headers/s", run, "every signature", each, atLeast(500_000))
	return nil
}
