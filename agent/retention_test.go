package agent

import (
	"crypto/ed25519"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/tomlconf"
)

func TestWhatGoesIsBeyondALimitAndReceipted(t *testing.T) {
	const mb = 1 << 20
	// Blocks 11 to 110 of a megabyte each, beside 20 of what never goes.
	held := holding{oldest: 11, tip: 110, receipted: 90, receiptedLong: 40, sealedLong: 45, old: 60, size: 120 * mb, room: noBound,
		spare: func() (uint64, error) { return 6*mb + 1000, nil }}
	day := 24 * time.Hour
	for _, c := range []struct {
		name          string
		limits        RetentionConfig
		change        func(*holding)
		below, wanted uint64
		why           []string
		kept          []kept
	}{
		{name: "no limit", limits: RetentionConfig{}, below: 11, wanted: 11},
		{name: "age", limits: RetentionConfig{MaxAge: day}, below: 41, wanted: 46, why: []string{"age"}},
		{name: "age of blocks that are gone already", limits: RetentionConfig{MaxAge: day},
			change: func(h *holding) { h.receiptedLong, h.sealedLong = 10, 10 }, below: 11, wanted: 11},
		{name: "age, receipted or not", limits: RetentionConfig{MaxAge: day, DeleteUnreceiptedEvidence: true}, below: 46, wanted: 46, why: []string{"age"}},
		{name: "below the size", limits: RetentionConfig{MaxSize: 122 * mb}, below: 11, wanted: 11},
		{name: "size, brought down to 31/32 of it", limits: RetentionConfig{MaxSize: 64 * mb}, below: 11 + 58, wanted: 11 + 58, why: []string{"size"}},
		{name: "size beyond what is receipted", limits: RetentionConfig{MaxSize: 32 * mb}, below: 91, wanted: 11 + 89, why: []string{"size"}},
		{name: "size, receipted or not", limits: RetentionConfig{MaxSize: 32 * mb, DeleteUnreceiptedEvidence: true}, below: 11 + 89, wanted: 11 + 89, why: []string{"size"}},
		{name: "a size that headers alone exceed", limits: RetentionConfig{MaxSize: 16 * mb, DeleteUnreceiptedEvidence: true}, below: 111, wanted: 111, why: []string{"size"}},
		{name: "nothing is receipted", limits: RetentionConfig{MaxSize: 64 * mb, MaxAge: day},
			change: func(h *holding) { h.receipted, h.receiptedLong = 0, 0 }, below: 11, wanted: 11 + 58},
		{name: "a disk smaller than the limit", limits: RetentionConfig{MaxSize: 1000 * mb},
			change: func(h *holding) { h.room = 8 * mb }, below: 11, wanted: 11},
		{name: "a disk smaller than the limit, and full", limits: RetentionConfig{MaxSize: 1000 * mb},
			change: func(h *holding) { h.room = 0 }, below: 11 + 4, wanted: 11 + 4, why: []string{"room"}},
		{name: "size, and what is young stays", limits: RetentionConfig{MaxSize: 64 * mb, MinAge: day}, below: 61, wanted: 11 + 58, why: []string{"size"}, kept: []kept{{keptByAge, 61, 69}}},
		{name: "size beyond what is receipted, and what is young stays", limits: RetentionConfig{MaxSize: 32 * mb, MinAge: day}, below: 61, wanted: 11 + 89, why: []string{"size"}, kept: []kept{{keptByAge, 61, 91}}},
		{name: "all is young", limits: RetentionConfig{MaxSize: 32 * mb, MinAge: day}, change: func(h *holding) { h.old = 5 }, below: 11, wanted: 11 + 89, kept: []kept{{keptByAge, 11, 91}}},
		{name: "age counts whatever is young", limits: RetentionConfig{MaxSize: 64 * mb, MaxAge: day, MinAge: day}, change: func(h *holding) { h.old = 20 },
			below: 41, wanted: 11 + 58, why: []string{"age", "size"}, kept: []kept{{keptByAge, 41, 69}}},
		{name: "a full disk, and so much a day", limits: RetentionConfig{MaxSize: 1000 * mb, MinAge: day},
			change: func(h *holding) { h.room, h.size = 0, 320*mb }, below: 11 + 6, wanted: 11 + 10, why: []string{"room"}, kept: []kept{{keptByDays, 17, 21}}},
		{name: "a full disk, and nothing more today", limits: RetentionConfig{MaxSize: 1000 * mb, MinAge: day},
			change: func(h *holding) {
				h.room, h.size, h.spare = 0, 320*mb, func() (uint64, error) { return 0, nil }
			}, below: 11, wanted: 11 + 10, kept: []kept{{keptByDays, 11, 21}}},
		{name: "a full disk, where age frees more", limits: RetentionConfig{MaxSize: 1000 * mb, MaxAge: day, MinAge: day},
			change: func(h *holding) { h.room, h.size = 0, 320*mb }, below: 41, wanted: 46, why: []string{"age", "room"}},
		{name: "a full disk, and some of it is young", limits: RetentionConfig{MaxSize: 1000 * mb, MinAge: day},
			change: func(h *holding) { h.room, h.size, h.old = 0, 320*mb, 18 }, below: 17, wanted: 21, why: []string{"room"}, kept: []kept{{keptByDays, 17, 19}, {keptByAge, 19, 21}}},
		{name: "a full disk and no limit of size", limits: RetentionConfig{MaxAge: day},
			change: func(h *holding) { h.room, h.receiptedLong, h.sealedLong = 0, 0, 0 }, below: 11, wanted: 11},
		{name: "age and size, whichever takes more", limits: RetentionConfig{MaxAge: day, MaxSize: 118 * mb}, below: 41, wanted: 46, why: []string{"age", "size"}},
		{name: "all is gone already", limits: RetentionConfig{MaxSize: 16 * mb},
			change: func(h *holding) { h.oldest = 111 }, below: 111, wanted: 111},
	} {
		h := held
		if c.change != nil {
			c.change(&h)
		}
		h.bytes = func(below uint64) (uint64, error) { return (below - min(below, h.oldest)) * mb, nil }
		d, err := c.limits.decide(&h)
		if err != nil {
			t.Fatal(err)
		}
		if d.below != c.below || d.wanted != c.wanted || !slices.Equal(d.why, c.why) || !slices.Equal(d.kept, c.kept) {
			t.Errorf("%s: blocks below %d go, below %d would, because of %v, and %v are kept; want %d, %d, %v, %v", c.name, d.below, d.wanted, d.why, d.kept, c.below, c.wanted, c.why, c.kept)
		}
		if !c.limits.DeleteUnreceiptedEvidence && d.below > max(h.receipted+1, h.oldest) {
			t.Errorf("%s: blocks below %d go, the highest receipted is %d", c.name, d.below, h.receipted)
		}
	}
}

// aged is a chain with a block an hour, sealed from the given moment on, in a store of its own.
type aged struct {
	t     *testing.T
	store *store.Store
	next  time.Time
	state lightchain.ClockState
	boot  uint64 // that the headers tell
	up    uint64 // the height at which it began
}

var agedFrom = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func newAged(t *testing.T) *aged {
	t.Helper()
	o := testOptions(t, vfs.NewMem())
	if _, err := store.Create("chain", o, store.Genesis{}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &aged{t: t, store: s, next: agedFrom, state: lightchain.ClockSynchronised, boot: 1}
}

// seal adds so many blocks of one entry, and returns the height of the newest.
func (c *aged) seal(blocks int) uint64 {
	c.t.Helper()
	for range blocks {
		g, err := c.store.Stage([]lightchain.Entry{{Received: c.next.UnixNano(), Source: "test:x", Flags: lightchain.NotUnderstood, Payload: []byte("x")}})
		if err == nil {
			err = g.Wait()
		}
		if err == nil {
			_, err = c.store.Seal(store.SealParams{Sealed: c.next.UnixNano(), Clock: lightchain.Clock{State: c.state, Boot: c.boot, Uptime: (c.store.Tip().Height - c.up) * uint64(time.Hour)}})
		}
		if err != nil {
			c.t.Fatal(err)
		}
		c.next = c.next.Add(time.Hour)
	}
	return c.store.Tip().Height
}

// receipt has an aggregator countersign a header at the given moment.
func (c *aged) receipt(name string, height uint64, at time.Time) {
	c.t.Helper()
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(append(make([]byte, 31), name[0])))
	if err != nil {
		c.t.Fatal(err)
	}
	h, err := c.store.Header(height)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := h.Countersign(signer, name, uint64(at.Unix()))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.store.PutReceipt(height, r, func() uint64 { return 0 }); err != nil {
		c.t.Fatal(err)
	}
}

func TestAgeIsCountedFromTheReceiptsOfAQuorum(t *testing.T) {
	c := newAged(t)
	for range 48 { // north receipts each hour, south each fourth
		height := c.seal(1)
		c.receipt("north", height, c.next)
		if height%4 == 0 {
			c.receipt("south", height, c.next.Add(time.Minute))
		}
		c.receipt("other", height, agedFrom) // a name that is not configured
	}
	for _, x := range []struct {
		quorum          int
		receipted, long uint64
	}{{1, 48, 24}, {2, 48, 20}, {3, 0, 0}} {
		s := &survey{chain: &c.store.Reader, aggregators: []string{"north", "south"}, now: c.next, room: noBound}
		h, err := s.holding(&RetentionConfig{MaxAge: 24 * time.Hour, Quorum: x.quorum}, false)
		if err != nil {
			t.Fatal(err)
		}
		if h.receipted != x.receipted || h.receiptedLong != x.long {
			t.Errorf("a quorum of %d has countersigned up to %d, and to %d a day ago; want %d and %d", x.quorum, h.receipted, h.receiptedLong, x.receipted, x.long)
		}
	}
}

func TestAClockInTheFutureMakesNothingOldUnlessItIsSynchronised(t *testing.T) {
	c := newAged(t)
	c.state = lightchain.ClockUnsynchronised
	c.receipt("north", c.seal(10), c.next)
	s := &survey{chain: &c.store.Reader, aggregators: []string{"north"}, now: time.Date(2080, 1, 1, 0, 0, 0, 0, time.UTC), room: noBound}
	for _, limits := range []RetentionConfig{
		{MaxAge: time.Hour, Quorum: 1},
		{MaxAge: time.Hour, Quorum: 1, DeleteUnreceiptedEvidence: true},
	} {
		h, err := s.holding(&limits, false)
		if err != nil {
			t.Fatal(err)
		}
		if h.receiptedLong != 0 || h.sealedLong != 0 {
			t.Errorf("%+v: up to block %d or %d all is old, says a clock that nobody believes", limits, h.receiptedLong, h.sealedLong)
		}
	}
	s.synchronised = true
	h, err := s.holding(&RetentionConfig{MaxAge: time.Hour, Quorum: 1}, false)
	if err != nil || h.receiptedLong != 10 {
		t.Errorf("up to block %d all is old, say synchronised clocks, %v; want 10", h.receiptedLong, err)
	}
}

func TestBlocksOfAWrongClockAreAsOldAsTheNextOneOfARightClock(t *testing.T) {
	c := newAged(t)
	c.seal(5) // 1 to 5
	right := c.next
	c.state, c.next = lightchain.ClockUnsynchronised, time.Unix(0, 0)
	c.seal(5) // 6 to 10, in 1970
	c.state, c.next = lightchain.ClockSynchronised, right.Add(48*time.Hour)
	c.seal(5) // 11 to 15
	for _, x := range []struct {
		now  time.Time
		want uint64
	}{
		{right.Add(time.Hour), 0},
		{right.Add(25 * time.Hour), 5},
		{right.Add(48*time.Hour + 24*time.Hour - time.Minute), 5},
		{right.Add(48*time.Hour + 24*time.Hour + time.Minute), 11},
	} {
		s := &survey{chain: &c.store.Reader, now: x.now, synchronised: true, room: noBound}
		h, err := s.holding(&RetentionConfig{MaxAge: 24 * time.Hour, Quorum: 1}, false)
		if err != nil {
			t.Fatal(err)
		}
		if h.sealedLong != x.want {
			t.Errorf("at %v blocks up to %d are old, want %d", x.now, h.sealedLong, x.want)
		}
	}
}

func TestNothingIsDeletedByAgeUntilItIsWorthWhile(t *testing.T) {
	c := newAged(t)
	c.seal(100)
	limits := &RetentionConfig{MaxAge: 64 * time.Hour, Quorum: 1, DeleteUnreceiptedEvidence: true} // a slack of an hour
	for _, x := range []struct {
		after time.Duration // since block 1
		slack bool
		want  uint64
	}{{64*time.Hour + time.Minute, false, 1}, {64*time.Hour + time.Minute, true, 0}, {65*time.Hour + time.Minute, true, 2}} {
		s := &survey{chain: &c.store.Reader, now: agedFrom.Add(x.after), synchronised: true, room: noBound}
		h, err := s.holding(limits, x.slack)
		if err != nil {
			t.Fatal(err)
		}
		if h.sealedLong != x.want {
			t.Errorf("%v after the first block, slack %v: blocks up to %d are old, want %d", x.after, x.slack, h.sealedLong, x.want)
		}
	}
}

// images adds so many blocks of 400 KiB each that nothing compresses.
func (c *aged) images(blocks int) {
	c.t.Helper()
	for n := range blocks {
		payload := make([]byte, 400<<10)
		rand.NewChaCha8([32]byte{1, byte(n), byte(n >> 8)}).Read(payload)
		if _, err := c.store.Stage([]lightchain.Entry{{Received: c.next.UnixNano(), Source: "test:x", Flags: lightchain.NotUnderstood, Payload: payload}}); err != nil {
			c.t.Fatal(err)
		}
		c.seal(1)
	}
}

// looks has retention look at a full disk so many times, at the given moment, and returns what it kept in the end.
func (k *keeper) looks(t *testing.T, times int, now time.Time) []kept {
	t.Helper()
	for look := 0; ; look++ {
		s := &survey{chain: &k.store.Reader, aggregators: []string{"north"}, now: now, synchronised: true}
		h, err := s.holding(&k.config.Retention, true)
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.config.Retention.decide(h)
		if err != nil {
			t.Fatal(err)
		}
		if look == times {
			return d.kept
		}
		for from := h.oldest; from < d.below; {
			p, err := k.pruneStep(t.Context(), from, d, nil)
			if err != nil {
				t.Fatal(err)
			}
			from = p.To
		}
	}
}

// Something else fills the disk, and goes on filling it: each byte that is freed is gone at once. However often retention
// looks, and however often it was started anew, the chain gives up so much a day and no more.
func TestADiskThatSomebodyElseFillsTakesSoMuchADay(t *testing.T) {
	c := newAged(t)
	c.images(60)
	c.receipt("north", 60, c.next)
	k := newKeeper(t, c, RetentionConfig{MaxSize: tomlconf.GiB, RoomPerDay: 2 * tomlconf.MiB, Quorum: 1, MinAge: 12 * time.Hour})
	now := c.next.Add(48 * time.Hour)
	const block = 400 << 10
	var oldest uint64
	for day := range 3 {
		kept := k.looks(t, 20, now)
		was := oldest
		var err error
		if oldest, err = k.store.OldestBlock(); err != nil {
			t.Fatal(err)
		}
		if gone := (oldest - max(was, 1)) * block; gone == 0 || gone > 2<<20+block {
			t.Fatalf("day %d took %d bytes", day, gone)
		}
		if len(kept) == 0 || kept[0].by != keptByDays || kept[0].from != oldest {
			t.Errorf("day %d: %v are kept from block %d on", day, kept, oldest)
		}
		if again := k.looks(t, 10, now.Add(time.Hour)); len(again) == 0 {
			t.Error("an hour later more may go")
		}
		if o, err := k.store.OldestBlock(); err != nil || o != oldest {
			t.Fatalf("an hour later blocks below %d are gone, %v; before, those below %d", o, err, oldest)
		}
		// The day is over once a header says so: it stands after the deletions, and is a day old.
		if err := k.committer.Do(t.Context(), func() { c.next = now; c.seal(1) }); err != nil {
			t.Fatal(err)
		}
		now = now.Add(26 * time.Hour)
	}
	for _, e := range k.told(t) {
		if !slices.Equal(e.Why, []string{"room"}) || e.Bytes == 0 {
			t.Errorf("the chain says %+v", e)
		}
	}
}

// A disk that is smaller than the limit bounds the chain for good: what it grows by in a day may go for it.
func TestAChainMayDeleteAsMuchAsItGrows(t *testing.T) {
	c := newAged(t)
	c.images(30)
	k := newKeeper(t, c, RetentionConfig{MaxSize: tomlconf.GiB, RoomPerDay: 1, Quorum: 1, MinAge: 12 * time.Hour})
	c.receipt("north", 30, c.next)
	k.looks(t, 30, c.next) // the last day added 24 blocks, of which the newest 12 are young
	oldest, err := k.store.OldestBlock()
	if err != nil || oldest < 15 || oldest > 19 {
		t.Errorf("blocks below %d are gone, %v; want those below 18 or so", oldest, err)
	}
}

// Whatever the disk and the size ask for, what is younger than min_age stays, and is told.
func TestWhatIsYoungStaysWhateverFillsTheDisk(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits RetentionConfig
	}{
		{"a full disk", RetentionConfig{MaxSize: tomlconf.GiB, RoomPerDay: tomlconf.GiB, Quorum: 1, MinAge: 10 * time.Hour}},
		{"a size that is too small", RetentionConfig{MaxSize: 2 * tomlconf.MiB, Quorum: 1, MinAge: 10 * time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain := newAged(t)
			chain.images(30)
			chain.receipt("north", 30, chain.next)
			k := newKeeper(t, chain, c.limits)
			told := k.looks(t, 40, chain.next)
			oldest, err := k.store.OldestBlock()
			if err != nil || oldest != 21 { // block 30 was sealed an hour ago
				t.Errorf("blocks below %d are gone, %v; want those below 21", oldest, err)
			}
			if len(told) != 1 || told[0].by != keptByAge || told[0].from != 21 {
				t.Errorf("%v are kept", told)
			}
		})
	}
}

// A gateway that never hears of the time knows by the clock that nobody sets what is old, across boots.
func TestAgeWithoutAClockIsForHowLongTheMachineRan(t *testing.T) {
	c := newAged(t)
	c.state = lightchain.ClockUnsynchronised
	c.seal(10) // boot 1, sealed 0 h to 9 h after it
	c.boot, c.up = 2, 10
	c.seal(5) // 0 h to 4 h
	c.boot, c.up = 3, 15
	c.seal(3) // 0 h to 2 h
	c.boot = 4
	c.up = 18
	c.up -= 10_000 // 10,000 h and 10,001 h: on another board, which ran long before
	c.seal(2)
	for _, synchronised := range []bool{false, true} { // since a moment ago
		s := &survey{chain: &c.store.Reader, now: time.Date(2080, 1, 1, 0, 0, 0, 0, time.UTC), synchronised: synchronised, room: noBound}
		for _, x := range []struct{ tip, hours, want uint64 }{
			{18, 0, 18}, {18, 1, 17}, {18, 2, 16}, {18, 3, 14}, {18, 4, 13}, {18, 6, 11}, {18, 7, 9}, {18, 15, 1}, {18, 16, 0}, {18, 1000, 0},
			{19, 0, 19}, {19, 1, 17}, {19, 7, 9}, {20, 1, 19}, {20, 2, 17}, {20, 16, 1}, {20, 17, 0}, {20, 9000, 0},
		} {
			limits := &RetentionConfig{MaxSize: tomlconf.GiB, MinAge: time.Duration(x.hours) * time.Hour, Quorum: 1, DeleteUnreceiptedEvidence: true}
			got, err := s.older(x.tip, limits, s.now, limits.MinAge)
			if err != nil || got != x.want {
				t.Errorf("of %d blocks up to %d are older than %d hours, %v; want %d", x.tip, got, x.hours, err, x.want)
			}
		}
	}
}

// What retention keeps although there is no room is told once, and shown for as long as it lasts.
func TestWhatIsKeptWithoutRoomIsTold(t *testing.T) {
	var log strings.Builder
	a := New(DefaultConfig(), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		a.noteKept([]api.Kept{{By: keptByAge, Stretch: api.Stretch{From: 3, To: 9, Bytes: 5000}}})
	}
	a.noteKept([]api.Kept{{By: keptByDays}, {By: keptByAge}})
	if _, kept := a.keptBack(); len(kept) != 2 {
		t.Errorf("%v", kept)
	}
	a.noteKept(nil)
	a.noteKept(nil)
	if text := log.String(); strings.Count(text, "level=WARN") != 2 || strings.Count(text, "level=INFO") != 1 || !strings.Contains(text, "retention.min_age says so") || !strings.Contains(text, "blocks=3-9 bytes=5000") {
		t.Error(text)
	}
	if got := api.Keepers(); !slices.Equal(got, []string{keptByAge, keptByDays}) {
		t.Errorf("the keys are %v", got)
	}
}

func TestTheFloorOfAgeIsBelowTheLimitOfAge(t *testing.T) {
	const free = "[hwmon]\nenabled = true\n[retention]\ndelete_unreceipted_evidence = true\n"
	for _, c := range []struct {
		text string
		ok   bool
		want time.Duration
	}{
		{"", true, 24 * time.Hour},
		{"max_age = \"6h\"", true, 6 * time.Hour},
		{"max_age = \"6h\"\nmin_age = \"6h\"", true, 6 * time.Hour},
		{"max_age = \"6h\"\nmin_age = \"7h\"", false, 0},
		{"min_age = \"-1h\"", false, 0},
		{"min_age = \"365d\"\nmax_size = \"1GiB\"", true, 365 * 24 * time.Hour},
	} {
		got, _, err := loadText(t, free+c.text, nil, nil)
		if (err == nil) != c.ok || c.ok && got.Retention.MinAge != c.want {
			t.Errorf("%s\n: %v", c.text, err)
		}
	}
	if _, warned, err := loadText(t, free+"max_size = \"1GiB\"\nmin_age = \"0s\"", nil, nil); err != nil || !slices.ContainsFunc(warned, func(p tomlconf.Problem) bool { return strings.Contains(p.Text, "retention.min_age") }) {
		t.Errorf("%v, %v", warned, err)
	}
}

func TestLimitsThatCanNeverDeleteAreRefused(t *testing.T) {
	upstream := `
[[upstream]]
name = "office"
servers = ["tcp://127.0.0.1:1883"]
[[upstream.aggregator]]
name = "agg-1"
key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
`
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{`max_age = "90d"`, false},
		{`max_size = "1GiB"`, false},
		{"max_age = \"90d\"\ndelete_unreceipted_evidence = true", true},
		{`max_age = "90d"` + upstream, true},
		{"max_age = \"90d\"\nquorum = 2" + upstream, false},
		{"max_age = \"10m\"" + upstream, false},
		{"max_size = \"1MiB\"" + upstream, false},
	} {
		got, _, err := loadText(t, "[hwmon]\nenabled = true\n[retention]\n"+c.text, nil, nil)
		if (err == nil) != c.ok {
			t.Errorf("%s\n: %v", c.text, err)
		}
		if c.ok && got.Retention.MaxAge != 90*24*time.Hour {
			t.Errorf("90d is %v", got.Retention.MaxAge)
		}
	}
}

func TestLimitsSurviveTheirWayThroughTheInterface(t *testing.T) {
	c := RetentionConfig{MaxAge: 90 * 24 * time.Hour, MaxSize: 20 * tomlconf.GiB, Quorum: 2, MinAge: 48 * time.Hour, RoomPerDay: tomlconf.GiB, DeleteUnreceiptedEvidence: true}
	if got := *retentionConfig(c.Limits()); got != c {
		t.Errorf("%+v, want %+v", got, c)
	}
}
