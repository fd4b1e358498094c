package agent

import (
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain/lightchain"
	"edgechain/lightchain/store"
	"edgechain/tomlconf"
)

func TestWhatGoesIsBeyondALimitAndReceipted(t *testing.T) {
	const mb = 1 << 20
	// Blocks 11 to 110 of a megabyte each, beside 20 of what never goes.
	held := holding{oldest: 11, tip: 110, receipted: 90, receiptedLong: 40, sealedLong: 45, size: 120 * mb, room: noBound}
	day := 24 * time.Hour
	for _, c := range []struct {
		name          string
		limits        RetentionConfig
		change        func(*holding)
		below, wanted uint64
		why           []string
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
			change: func(h *holding) { h.room = 0 }, below: 11 + 4, wanted: 11 + 4, why: []string{"size"}},
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
		if d.below != c.below || d.wanted != c.wanted || !slices.Equal(d.why, c.why) {
			t.Errorf("%s: blocks below %d go, below %d would, because of %v; want %d, %d, %v", c.name, d.below, d.wanted, d.why, c.below, c.wanted, c.why)
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
	return &aged{t, s, agedFrom, lightchain.ClockSynchronised}
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
			_, err = c.store.Seal(store.SealParams{Sealed: c.next.UnixNano(), Clock: lightchain.Clock{State: c.state, Boot: 1, Uptime: c.store.Tip().Height * uint64(time.Hour)}})
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
	c := RetentionConfig{MaxAge: 90 * 24 * time.Hour, MaxSize: 20 * tomlconf.GiB, Quorum: 2, DeleteUnreceiptedEvidence: true}
	if got := *retentionConfig(c.Limits()); got != c {
		t.Errorf("%+v, want %+v", got, c)
	}
}
