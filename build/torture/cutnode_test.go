package main

import (
	"math/rand/v2"
	"testing"
)

// A disk that is set back behind all that the world knows is a planted fault: receipts are gone, and another history is
// countersigned, and the judge must notice both.
func TestJudgeNoticesAnAggregatorThatForgot(t *testing.T) {
	if why := lacksFuse() + lacksMosquitto(); why != "" {
		t.Skip(why)
	}
	h := &torture{dir: t.TempDir(), programs: programs(t), native: programs(t)}
	f, err := h.filmedNode(t.Context())
	ok(t, err)
	defer f.remove()
	for _, tempted := range []bool{false, true} {
		end := f.scenes[len(f.scenes)-1].to
		var o outcome
		f.live(t.Context(), cutAt{seed: rand.Uint64(), at: end}, end, tempted, &o)
		if o.failed() || o.lost > 0 {
			t.Errorf("nothing was forgotten, tempted %t: %v", tempted, &o)
		}
		o = outcome{}
		f.live(t.Context(), cutAt{seed: rand.Uint64(), at: f.scenes[0].to}, end, tempted, &o)
		if o.untold == 0 || tempted != (len(o.forks) > 0) {
			t.Errorf("all was forgotten, tempted %t: %v", tempted, &o)
		}
	}
}
