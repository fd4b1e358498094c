package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

// appender is a way to make groups of entries durable.
type appender interface {
	// stage takes a group. wait returns when it is durable; the next group may be staged before.
	stage(group []lightchain.Entry) (wait func() error, err error)
	// close makes everything durable that is not, and gives back what the appender holds.
	close() error
	// stored returns the bytes that what was taken takes on disk for good.
	stored() (int64, error)
}

type stagingTask struct {
	System  string // "store", "file", "threaded file", "tessera"
	Dir     string
	Group   int
	Entries int
	Limit   time.Duration // after which no further group is begun
}

type stagingResult struct {
	Entries int
	Cost    cost   // until the last group was durable
	Written uint64 // bytes of pages that the kernel was made to write, until all was at rest
	Stored  int64
}

// stagingPool is how many different entries there are; longer runs take them again, when no compressor remembers them.
// Few, so that garbage is not collected late for their sake.
const stagingPool = 10_000

// stage runs one system. As in the agent, a group is prepared while the sync of the one before is pending.
func stage(t stagingTask) (r stagingResult, err error) {
	entries, err := machineEntries(min(t.Entries, stagingPool))
	if err != nil {
		return r, err
	}
	a, err := newAppender(t)
	if err != nil {
		return r, err
	}
	m := newMeter()
	last := func() error { return nil }
	// One group at least, however slow the machine is: what was staged is divided by.
	for at := 0; r.Entries == 0 || r.Entries < t.Entries && time.Since(m.begin) < t.Limit; r.Entries += t.Group {
		if at+t.Group > len(entries) {
			at = 0
		}
		wait, err := a.stage(entries[at : at+t.Group])
		if err != nil {
			return r, err
		}
		if err := last(); err != nil {
			return r, err
		}
		at, last = at+t.Group, wait
	}
	if err := last(); err != nil {
		return r, err
	}
	r.Cost = m.cost()
	if err := a.close(); err != nil {
		return r, err
	}
	if r.Stored, err = a.stored(); err != nil {
		return r, err
	}
	r.Written = m.cost().Written
	return r, nil
}

func newAppender(t stagingTask) (appender, error) {
	switch t.System {
	case "store":
		s, err := newChain(t.Dir)
		return &storeAppender{s: s, dir: t.Dir}, err
	case "file", "threaded file":
		return newFileAppender(t.Dir, t.System != "file")
	case "tessera":
		return newTesseraAppender(t.Dir, t.Group)
	}
	return nil, fmt.Errorf("%q is no system", t.System)
}

// storeAppender is lightchain/store, with blocks of at most 4096 entries.
type storeAppender struct {
	s   *store.Store
	dir string
}

func (a *storeAppender) stage(group []lightchain.Entry) (func() error, error) {
	if len(group) > a.s.Room() {
		if err := a.seal(); err != nil {
			return nil, err
		}
	}
	g, err := a.s.Stage(group)
	if err != nil {
		return nil, err
	}
	return g.Wait, nil
}

func (a *storeAppender) seal() error {
	_, err := a.s.Seal(store.SealParams{Sealed: time.Now().UnixNano()})
	return err
}

func (a *storeAppender) close() error {
	if err := a.seal(); err != nil {
		return err
	}
	return a.s.Close()
}

// stored opens the chain once more, which brings what was only in the log into tables. Keys only rise, so that
// compacting moves tables and does not make them smaller: what they take now, they take for good.
func (a *storeAppender) stored() (int64, error) {
	o, err := chainOptions()
	if err != nil {
		return 0, err
	}
	s, err := store.Open(a.dir, o)
	if err != nil {
		return 0, err
	}
	if err := s.Close(); err != nil {
		return 0, err
	}
	return fileBytes(a.dir, func(path string) bool { return strings.HasSuffix(path, ".sst") })
}

// fileBytes adds up the lengths of the files below dir that count.
func fileBytes(dir string, counts func(path string) bool) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !counts(path) {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// The groups, and how many entries each is tried with.
func stagingSizes() []struct{ group, entries int } {
	return []struct{ group, entries int }{{1, 20_000}, {10, 50_000}, {100, 200_000}, {1000, 400_000}}
}

func (b *bench) staging(ctx context.Context) error {
	systems := []string{"store", "file", "threaded file", "tessera"}
	limit := 4 * time.Second
	if b.short {
		limit = time.Second
	}
	for _, size := range stagingSizes() {
		rate := map[string][]float64{}
		results := map[string][]stagingResult{}
		for round := range b.rounds {
			for _, system := range systems {
				dir := filepath.Join(b.dir, "staging")
				t := stagingTask{system, dir, size.group, b.scaled(size.entries), limit}
				var r stagingResult
				if err := b.measure(ctx, "staging", t, &r); err != nil {
					return err
				}
				if err := os.RemoveAll(dir); err != nil {
					return err
				}
				rate[system] = append(rate[system], float64(r.Entries)/r.Cost.Wall.Seconds())
				results[system] = append(results[system], r)
				fmt.Fprintf(b.log, "   groups of %d, round %d, %s: %s readings/s\n", size.group, round+1, system, plain(rate[system][round]))
			}
		}
		b.reportStaging(size.group, rate, results)
	}
	return nil
}

func (b *bench) reportStaging(group int, rate map[string][]float64, results map[string][]stagingResult) {
	goal := map[int]float64{1: 0.9, 10: 0.9, 100: 1, 1000: 1}[group]
	name := func(what string) string { return fmt.Sprintf("%s, groups of %d", what, group) }
	each := func(system string, of func(stagingResult) float64) (values []float64) {
		for _, r := range results[system] {
			values = append(values, of(r))
		}
		return values
	}
	b.compare("staging", name("staged and sealed"), "readings/s", rate["store"], "plain file", rate["file"], timesAtLeast(goal))
	b.compare("staging", name("staged and sealed"), "readings/s", rate["store"], "plain file, syncing beside", rate["threaded file"], none())
	tessera := none()
	if group == 1000 {
		tessera = timesAtLeast(20)
	}
	b.compare("staging", name("staged and sealed"), "readings/s", rate["store"], "Tessera POSIX", rate["tessera"], tessera)

	stored := func(r stagingResult) float64 { return float64(r.Stored) / float64(r.Entries) }
	bound := map[int]target{1: atMost(50), 1000: atMost(42)}[group]
	b.compare("staging", name("on disk"), "bytes/reading", each("store", stored), "plain file", each("file", stored), bound)
	b.compare("staging", name("on disk"), "bytes/reading", each("store", stored), "Tessera POSIX", each("tessera", stored), none())
	written := func(r stagingResult) float64 { return float64(r.Written) / float64(r.Entries) }
	b.compare("staging", name("written"), "bytes/reading", each("store", written), "plain file", each("file", written), none())
	b.compare("staging", name("written"), "bytes/reading", each("store", written), "Tessera POSIX", each("tessera", written), none())
	cpu := func(r stagingResult) float64 { return float64(r.Cost.CPU.Nanoseconds()) / float64(r.Entries) / 1000 }
	b.compare("staging", name("CPU"), "µs/reading", each("store", cpu), "plain file", each("file", cpu), none())
	b.compare("staging", name("CPU"), "µs/reading", each("store", cpu), "Tessera POSIX", each("tessera", cpu), none())
	peak := func(r stagingResult) float64 { return float64(r.Cost.Peak-min(r.Cost.Peak, r.Cost.Base)) / 1e6 }
	b.compare("staging", name("peak memory beyond the input"), "MB", each("store", peak), "plain file", each("file", peak), none())
	b.compare("staging", name("peak memory beyond the input"), "MB", each("store", peak), "Tessera POSIX", each("tessera", peak), none())
}
