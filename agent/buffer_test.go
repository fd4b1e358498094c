package agent

import (
	"math"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

func TestGrowthIsMeasuredOverTheLastDayAcrossRestarts(t *testing.T) {
	const minute = uint64(time.Minute)
	start := int64(1_700_000_000e9)
	// header returns that of a chain with a block a minute: boot 1 for a while, then boot 2.
	chain := func(first, second uint64, wallAfter time.Duration) (lightchain.Header, func(uint64) (lightchain.Header, error)) {
		at := func(height uint64) (lightchain.Header, error) {
			h := lightchain.Header{Height: height, Sealed: start + int64(height*minute), Clock: lightchain.Clock{Boot: 1, Uptime: height * minute}}
			if height > first {
				h.Clock = lightchain.Clock{Boot: 2, Uptime: (height - first) * minute}
				h.Sealed += int64(wallAfter)
			}
			return h, nil
		}
		newest, _ := at(first + second)
		return newest, at
	}
	const day = 24 * 60
	for _, c := range []struct {
		name          string
		first, second uint64
		wallAfter     time.Duration // by which the clock was off since the second boot, or the power
		from          uint64
		over          time.Duration
	}{
		{"days in one boot", 0, 5 * day, 0, 4*day + 1, 24 * time.Hour},
		{"a young chain", 0, 30, 0, 1, 30 * time.Minute},
		{"after a boot", 3 * day, 60, 0, 2*day + 61, 24 * time.Hour},
		{"after a boot and six hours without power", 3 * day, 60, 6 * time.Hour, 3*day - 17*60 + 1, 24 * time.Hour},
		{"after a boot into 1970", 3 * day, 60, -50 * 365 * 24 * time.Hour, 3*day + 2, 59 * time.Minute},
		{"after a boot into the future", 3 * day, 60, 50 * 365 * 24 * time.Hour, 3*day + 2, 59 * time.Minute},
		{"most of a day after a boot", 3 * day, 20 * 60, 0, 3*day + 2, 20*time.Hour - time.Minute},
	} {
		newest, at := chain(c.first, c.second, c.wallAfter)
		from, over := window(&newest, at)
		if from != c.from || over != c.over {
			t.Errorf("%s: from block %d, %v; want %d, %v", c.name, from, over, c.from, c.over)
		}
	}
}

func TestTheBufferIsWhatCouldBeRecordedWithoutReceipts(t *testing.T) {
	c := newAged(t)
	k := newKeeper(t, c, RetentionConfig{Quorum: 1})
	if b := k.buffer(); b.Rate != 0 || b.Days != nil || !math.IsNaN(bufferSeconds(&b)) {
		t.Errorf("of a chain without a block: %+v", b)
	}
	if err := k.committer.Do(t.Context(), func() { c.seal(48) }); err != nil {
		t.Fatal(err)
	}
	b := k.buffer()
	if b.Rate <= 0 || b.Endless {
		t.Fatalf("%+v", b)
	}
	// A block an hour: a day's growth is about half of what two days' blocks take up, log and all.
	if held := float64(c.store.Stats().LiveBytes); b.Rate < held/4 || b.Rate > held {
		t.Errorf("it grows by %v bytes a day, and has %v after two", b.Rate, held)
	}
	k.config.Retention = RetentionConfig{MaxSize: 1 << 30, Quorum: 1, DeleteUnreceiptedEvidence: true}
	if b := k.buffer(); !b.Endless || !math.IsInf(bufferSeconds(&b), 1) {
		t.Errorf("where nothing needs a receipt: %+v", b)
	}
}
