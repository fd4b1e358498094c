package collector

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	headersync "edgechain.example/sync"
)

func TestAClockThatIsWrongIsSaidOnceAndOnceThatItIsRightAgain(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 2)
	var log bytes.Buffer
	k.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	k.start()
	right := true
	k.k.c.Clock = func() (uint64, bool) { return uint64(w.now.Unix()), right }
	lines := func(text string) int { return strings.Count(log.String(), text) }
	for spell := 1; spell <= 2; spell++ {
		right = false
		for range 10 {
			g.seal()
			w.run(5 * time.Minute)
		}
		if n := lines("failed to countersign"); n != spell || k.k.Withheld() != 1 {
			t.Fatalf("said %d times in %d spells; %d heads wait\n%s", n, spell, k.k.Withheld(), &log)
		}
		right = true
		w.run(time.Minute)
		if n := lines("countersigned again"); n != spell || k.k.Withheld() != 0 {
			t.Fatalf("its end is said %d times in %d spells; %d heads wait\n%s", n, spell, k.k.Withheld(), &log)
		}
	}
	if state := w.state(k); state.Receipt == nil || state.Head.Height() != g.chain.Tip.Height {
		t.Errorf("in the end: %+v", state)
	}
}
