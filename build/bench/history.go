package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

type historyTask struct {
	Dir     string
	Entries int
	Proofs  int
}

type historyResult struct {
	Cost cost
	// Of proving, in nanoseconds, the median and the 99th percentile:
	Prove, ProveSlow float64
	// Of a block header's path in the whole history:
	Path, PathSlow float64
}

// buildHistory makes a chain of blocks of 4000 entries that were staged in groups of 1000.
func buildHistory(t historyTask) (r historyResult, err error) {
	entries, err := machineEntries(min(t.Entries, stagingPool))
	if err != nil {
		return r, err
	}
	s, err := newChain(t.Dir)
	if err != nil {
		return r, err
	}
	a := &storeAppender{s: s, dir: t.Dir}
	m := newMeter()
	last := func() error { return nil }
	for done := 0; done < t.Entries; {
		at := done % len(entries)
		n := min(1000, t.Entries-done, len(entries)-at)
		wait, err := a.stage(entries[at : at+n])
		if err != nil {
			return r, err
		}
		if err := last(); err != nil {
			return r, err
		}
		done, last = done+n, wait
	}
	if err := last(); err != nil {
		return r, err
	}
	r.Cost = m.cost()
	return r, a.close()
}

func verifyHistory(t historyTask) (r historyResult, err error) {
	reader, err := store.OpenReader(t.Dir, store.Options{})
	if err != nil {
		return r, err
	}
	defer reader.Close()
	m := newMeter()
	sum, err := reader.Verify(context.Background(), nil)
	if err != nil {
		return r, err
	}
	if sum.Entries != uint64(t.Entries) {
		return r, fmt.Errorf("%d entries were verified, not %d", sum.Entries, t.Entries)
	}
	r.Cost = m.cost()
	return r, nil
}

// proveHistory proves entries all over the chain, and checks that each proof is one.
func proveHistory(t historyTask) (r historyResult, err error) {
	reader, err := store.OpenReader(t.Dir, store.Options{})
	if err != nil {
		return r, err
	}
	defer reader.Close()
	trust := lightchain.Trust{Chains: []lightchain.ChainID{reader.Chain()}}
	tip := reader.Tip().Height
	rng := rand.New(rand.NewPCG(7, 8))
	var prove, path []float64
	m := newMeter()
	for range t.Proofs {
		number := rng.Uint64N(uint64(t.Entries))
		begin := time.Now()
		p, err := reader.Prove(number, 0)
		prove = append(prove, float64(time.Since(begin)))
		if err != nil {
			return r, err
		}
		if _, err := p.Verify(&trust); err != nil {
			return r, err
		}
		height := p.Header.Header.Height
		begin = time.Now()
		_, err = reader.HistoryPath(height, tip+1)
		path = append(path, float64(time.Since(begin)))
		if err != nil {
			return r, err
		}
	}
	r.Cost = m.cost()
	r.Prove, r.ProveSlow = median(prove), quantile(prove, 0.99)
	r.Path, r.PathSlow = median(path), quantile(path, 0.99)
	return r, nil
}

// hashEntries hashes as many of the same entries, from memory, into the same trees: what verifying cannot do without.
func hashEntries(t historyTask) (r historyResult, err error) {
	entries, err := machineEntries(min(t.Entries, stagingPool))
	if err != nil {
		return r, err
	}
	encoded := make([][]byte, len(entries))
	var seed lightchain.Seed
	for i := range entries {
		entries[i].Salt = seed.Salt(uint64(i))
		if encoded[i], err = entries[i].Append(nil); err != nil {
			return r, err
		}
	}
	m := newMeter()
	var tree lightchain.CompactRange
	for i := range t.Entries {
		if i%4000 == 0 {
			tree.Root()
			tree = lightchain.CompactRange{}
		}
		tree.Append(lightchain.LeafHash(encoded[i%len(encoded)]), nil)
	}
	r.Cost = m.cost()
	return r, nil
}

func (b *bench) history(ctx context.Context) error {
	for _, entries := range []int{1_000_000, 10_000_000} {
		t := historyTask{filepath.Join(b.dir, "history"), b.scaled(entries), b.scaled(1000)}
		name := func(what string) string { return fmt.Sprintf("%s, %s entries", what, plain(float64(t.Entries))) }
		var built, r historyResult
		if err := b.measure(ctx, "build", t, &built); err != nil {
			return err
		}
		fmt.Fprintf(b.log, "   %s: built in %v\n", plain(float64(t.Entries)), built.Cost.Wall.Round(time.Millisecond))
		var core, wall, hash, peak, prove, slow, path, pathSlow, block []float64
		for range min(b.rounds, 3) {
			if err := b.measure(ctx, "verify", t, &r); err != nil {
				return err
			}
			core = append(core, float64(t.Entries)/r.Cost.CPU.Seconds())
			wall = append(wall, float64(t.Entries)/r.Cost.Wall.Seconds())
			peak = append(peak, float64(r.Cost.Peak)/1e6)
			if err := b.measure(ctx, "hash", t, &r); err != nil {
				return err
			}
			each := r.Cost.CPU.Seconds() / float64(t.Entries)
			hash, block = append(hash, 1/each), append(block, 4000*each*1000)
			if err := b.measure(ctx, "prove", t, &r); err != nil {
				return err
			}
			prove, slow = append(prove, r.Prove/1e6), append(slow, r.ProveSlow/1e6)
			path, pathSlow = append(path, r.Path/1e6), append(pathSlow, r.PathSlow/1e6)
		}
		if err := os.RemoveAll(t.Dir); err != nil {
			return err
		}
		const baseline = "SHA-256 of the same bytes"
		b.compare("history", name("verified for each second of CPU"), "entries/s", core, baseline, hash, atLeast(500_000))
		b.compare("history", name(fmt.Sprintf("verified, %d cores", runtime.NumCPU())), "entries/s", wall, baseline, hash, none())
		b.report("history", name("verifying, peak memory"), "MB", peak, none())
		b.compare("history", name("proof of one, median"), "ms", prove, baseline+" in a block", block, none())
		b.compare("history", name("proof of one, 99 of 100 within"), "ms", slow, baseline+" in a block", block, none())
		b.report("history", name("path of a header, median"), "ms", path, none())
		b.report("history", name("path of a header, 99 of 100 within"), "ms", pathSlow, none())
	}
	return nil
}
