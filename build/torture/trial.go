package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A trial is one fault, tried once.
type trial struct {
	class, group, name string
	run                func(context.Context, *outcome)
}

// each runs the trials, several at the same time and in random order, as many as there is time for.
func (t *torture) each(ctx context.Context, trials []trial) error {
	if t.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.duration)
		defer cancel()
	}
	trials = slices.DeleteFunc(trials, func(r trial) bool { return !t.match.MatchString(r.class + "/" + r.group + "/" + r.name) })
	rand.New(rand.NewPCG(t.seed, 1)).Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	if t.n > 0 && len(trials) > t.n {
		trials = trials[:t.n]
	}
	work := make(chan trial)
	var workers sync.WaitGroup
	for range t.workers {
		workers.Go(func() {
			for r := range work {
				t.try(ctx, r)
			}
		})
	}
	for i, r := range trials {
		if ctx.Err() != nil {
			fmt.Fprintf(t.log, "   the time is up after %d of %d trials\n", i, len(trials))
			break
		}
		work <- r
		if i%500 == 499 {
			fmt.Fprintf(t.log, "   %d of %d trials\n", i+1, len(trials))
		}
	}
	close(work)
	workers.Wait()
	return nil
}

// try runs one trial to its end: one that the time's end has cut off says nothing.
func (t *torture) try(ctx context.Context, r trial) {
	o := &outcome{class: r.class, group: r.group, name: r.name}
	r.run(ctx, o)
	if ctx.Err() != nil {
		return
	}
	t.report.add(o)
	if o.failed() || o.unsealed != "" || t.match.String() != "" {
		fmt.Fprintln(t.log, o)
	}
}

// sample returns of each file, and of the kinds of fault it may have, one each, from specimens in turn, so that a test has all kinds.
func sample(trials []trial, random *rand.Rand) (chosen []trial) {
	random.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	seen := map[string]int{}
	for _, r := range trials {
		file, what, _ := strings.Cut(r.name, " ")
		kind := strings.TrimRight(filepath.Ext(file), "0123456789")
		if kind == "" || strings.HasPrefix(filepath.Base(file), "marker") {
			kind = strings.TrimRight(strings.Split(filepath.Base(file), ".")[0], "0123456789")
		}
		sort := kind + " " + strings.Join(strings.FieldsFunc(what, func(c rune) bool { return '0' <= c && c <= '9' }), "")
		if strings.Contains(what, "swapped") {
			sort = kind + " swapped"
		}
		if seen[sort]++; seen[sort] == 1 {
			chosen = append(chosen, r)
		}
	}
	return chosen
}
