package agent

import (
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
	"edgechain.example/tomlconf"
)

func TestARoundTakesMostOfItsTimeWithinBounds(t *testing.T) {
	week := DefaultConfig().Store
	for _, c := range []struct {
		size uint64
		want float64
	}{
		{0, scrubRate},
		{100 << 20, scrubRate},
		{20 << 30, (20 << 30) / (0.8 * 7 * 86400)},
		{1 << 40, float64(256 * tomlconf.KiB)},
	} {
		if got := scrubSpeed(c.size, week); got != c.want {
			t.Errorf("%d bytes are read at %.0f a second, want %.0f", c.size, got, c.want)
		}
	}
}

// A run that ended between making the entry and noting it makes no second one, and another damage makes its own.
func TestADamageIsRecordedOnce(t *testing.T) {
	b := newRecording(t, nil)
	b.start()
	a := &Agent{store: b.store, queue: b.queue, log: slog.New(slog.DiscardHandler), metrics: b.metrics}
	first := store.Damage{From: 3, To: 4, First: 100, Count: 20, Why: "a sector is gone"}
	second := store.Damage{From: 9, To: 9, First: 300, Count: 7, Headers: true, Why: "a sector is gone"}
	for _, d := range []store.Damage{first, second, first, second} {
		if err := a.recordDamage(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	var made []damageEvent
	for m, err := range b.store.Find(store.Query{Source: "agent:damage"}) {
		if err != nil {
			t.Fatal(err)
		}
		var e damageEvent
		if err := json.Unmarshal(m.Entry.Payload, &e); err != nil {
			t.Fatal(err)
		}
		made = append(made, e)
	}
	if len(made) != 2 || *made[0].First != 100 || made[0].Count != 20 || *made[1].First != 300 || !made[1].Headers {
		t.Errorf("%+v", made)
	}
	if so := made[1].SoFar; so.Times != 2 || so.Count != 27 {
		t.Errorf("so far %+v, want 2 times and 27 entries", so)
	}
	b.stop(t)
}

// Damage that a reader meets while the agent runs is told by number, also where no round would ever begin by itself.
func TestDamageThatIsMetIsToldByNumber(t *testing.T) {
	c, _ := keptGateway(t)
	c.Store.ScrubEvery = 0
	key, err := keyfile.Load(c.Key.File, keyfile.Passphrase{})
	if err != nil {
		t.Fatal(err)
	}
	o := c.storeOptions(slog.New(slog.DiscardHandler))
	o.Signer = key
	noise := rand.New(rand.NewPCG(1, 2))
	for opened := range 2 { // the end moves on to another table
		st, err := store.Open(c.ChainDir(), o)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 * (1 - opened) {
			var group []lightchain.Entry
			for range 10 {
				payload := make([]byte, 500)
				for i := range payload {
					payload[i] = byte(noise.Uint32())
				}
				group = append(group, lightchain.Entry{Received: 1, Source: "test:x", Flags: lightchain.NotUnderstood, Payload: payload})
			}
			staged, err := st.Stage(group)
			if err == nil {
				err = staged.Wait()
			}
			if err == nil {
				_, err = st.Seal(store.SealParams{Sealed: 1})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	largest, size := "", int64(0)
	tables, err := filepath.Glob(filepath.Join(c.ChainDir(), "data-1", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables {
		if info, err := os.Stat(name); err == nil && info.Size() > size {
			largest, size = name, info.Size()
		}
	}
	b, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	b[size/2] ^= 1
	if err := os.WriteFile(largest, b, 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ := runAgent(t, c)
	for range a.store.Find(store.Query{}) {
	}
	await(t, "the numbers of what is lost", func() bool {
		for m, err := range a.store.Find(store.Query{Source: "agent:damage"}) {
			var e damageEvent
			if err == nil && json.Unmarshal(m.Entry.Payload, &e) == nil && e.First != nil && e.Count > 0 {
				return true
			}
		}
		return false
	})
}

func TestAScrubOfAStoreThatWasJustReadWaits(t *testing.T) {
	b := newRecording(t, nil)
	b.start()
	a := &Agent{store: b.store}
	if wait := a.untilScrub(time.Hour); wait > 0 {
		t.Errorf("the first round waits %s", wait)
	}
	o := store.ScrubOptions{Pace: func(int) error { return nil }, Record: func(store.Damage) error { return nil }}
	if err := b.store.Scrub(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if wait := a.untilScrub(time.Hour); wait <= 0 || wait > time.Hour {
		t.Errorf("the second waits %s", wait)
	}
	o.Now = func() time.Time { return time.Now().AddDate(30, 0, 0) } // the clock stood in the future
	if err := b.store.Scrub(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if wait := a.untilScrub(time.Hour); wait != time.Hour {
		t.Errorf("after a clock in the future the next waits %s", wait)
	}
	b.stop(t)
}

// What a start finds damaged, and does not know the extent of, is read through at once, whatever store.scrub_every says.
func TestAStartWithDamageReadsTheStoreThroughAtOnce(t *testing.T) {
	for _, every := range []time.Duration{0, 7 * 24 * time.Hour} {
		c, _ := keptGateway(t)
		c.Store.Memtable, c.Store.ScrubEvery, c.Store.ScrubRate = 64*tomlconf.KiB, every, tomlconf.GiB
		a, stop := runAgent(t, c)
		for n := range 200 {
			payload := make([]byte, 2048)
			_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(payload)
			if err := a.recordWith(t.Context(), "gap", map[string][]byte{"why": payload}, nil); err != nil {
				t.Fatal(err)
			}
		}
		recordDurably(t, a)
		stop()
		tables, err := filepath.Glob(filepath.Join(c.ChainDir(), "data-1", "*.sst"))
		if err != nil || len(tables) < 3 {
			t.Fatalf("%d tables, %v", len(tables), err)
		}
		blocks := slices.DeleteFunc(tables, func(table string) bool {
			info, err := os.Stat(table)
			return err != nil || info.Size() < 16<<10
		})
		logs, err := filepath.Glob(filepath.Join(c.ChainDir(), "data-1", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range append(logs, blocks[1:]...) { // all but genesis
			if err := flip(table); err != nil {
				t.Fatal(err)
			}
		}
		a, stop = runAgent(t, c)
		if s := a.store.Info().Recovered; !s.Lost() {
			t.Fatalf("nothing is said to be damaged: %+v", s)
		}
		await(t, "a round to its end", func() bool { return a.store.Scrubbing().Last != nil })
		uncounted := 0
		for m, err := range a.store.Find(store.Query{Source: "agent:damage"}) {
			var e damageEvent
			if err == nil && json.Unmarshal(m.Entry.Payload, &e) == nil && e.Uncounted {
				uncounted++
			}
		}
		if uncounted != 1 {
			t.Errorf("%d entries say that something is lost which is not counted", uncounted)
		}
		stop()
	}
}

// flip turns a bit in the middle of a file.
func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 4
	return os.WriteFile(path, b, 0o600)
}
