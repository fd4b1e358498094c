package recorder

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Whoever sends another number of messages each time, and waits for all of them, goes on as if there were no budget: no window
// tells when it waits.
func TestWhoTakesTurnsDoesNotFallBehind(t *testing.T) {
	const ms = time.Millisecond
	turns := func(n ...int) party {
		return party{trip: ms, n: 1, turn: func(int) func() int {
			i := 0
			return func() int { i++; return n[(i-1)%len(n)] }
		}}
	}
	random := func(n int) func(int) func() int {
		return func(i int) func() int {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			return func() int { return 1 + r.IntN(n) }
		}
	}
	weights := rand.New(rand.NewPCG(4, 2))
	fiveThenSingly := append([]int{5}, slices.Repeat([]int{1}, 50)...)
	tenThenNine := append(slices.Repeat([]int{10}, 500), slices.Repeat([]int{9}, 100_000)...)
	resends := append(slices.Repeat([]int{1}, 700), 2)
	for _, c := range []struct {
		name    string
		parties []party
	}{
		{"5 at once, then 50 singly", []party{turns(fiveThenSingly...)}},
		{"10 at once, then 9", []party{turns(tenThenNine...)}},
		{"1 to 30 at once", []party{{trip: ms, n: 1, turn: random(30)}}},
		{"1 to 30 at once, over a slow link", []party{{trip: 40 * ms, n: 1, turn: random(30)}}},
		{"1 to 30, 1 ms apart", []party{{trip: ms, gap: ms, n: 1, turn: random(30)}}},
		{"1 to 30, 5 ms apart", []party{{trip: ms, gap: 5 * ms, n: 1, turn: random(30)}}},
		{"window 1, over a link that varies", []party{{window: 1, trip: 20 * ms, late: 40 * ms, n: 1, next: func(int) func() time.Duration { return nil }}}},
		{"1 to 30 at once, over a link that varies", []party{{trip: 20 * ms, late: 40 * ms, n: 1, turn: random(30)}}},
		{"1 to 30 at once, which it takes half a second to make", []party{{trip: 500 * ms, late: 100 * ms, n: 1, turn: random(30)}}},
		{"4 with 1 to 30 at once", []party{{trip: ms, n: 4, turn: random(30)}}},
		{"1 to 30 at once, beside 16 without", []party{{trip: ms, n: 1, turn: random(30)}, {n: 16, next: func(i int) func() time.Duration { return poisson(160*ms, uint64(i)) }}}},
		{"window 1, one more after a reconnection", []party{turns(resends...)}},
		{"a window of 20 by bytes", []party{{window: 20, trip: ms, n: 1, weight: func() int { return 1 + weights.IntN(6) }, next: func(int) func() time.Duration { return nil }}}},
		{"two threads of one client id", []party{{window: 1, trip: ms, n: 2, shared: true, next: func(int) func() time.Duration { return nil }}}},
		{"two threads of one client id, one of which pauses", []party{{window: 1, trip: ms, n: 2, shared: true, next: func(i int) func() time.Duration {
			if i == 0 {
				return nil
			}
			return poisson(300*ms, 3)
		}}}},
		{"another client id for each message", []party{{trip: 3 * ms, n: 1, anew: true, turn: func(int) func() int { return func() int { return 1 } }}}},
		{"3 with another client id for each message", []party{{trip: 3 * ms, n: 3, anew: true, turn: func(int) func() int { return func() int { return 1 } }}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			at1 := simulate(t, 0, time.Minute, 30*time.Second, c.parties...)
			got := simulate(t, 2e9, time.Minute, 30*time.Second, c.parties...)
			t.Logf("%.1f syncs a second for %.0f messages a second; at once %.1f and %.0f; limited %v", got.syncs, total(got.rates), at1.syncs, total(at1.rates), got.limited[:min(3, len(got.limited))])
			if total(got.rates) < 0.9*total(at1.rates) {
				t.Errorf("%.2f messages a second, and would be %.2f", total(got.rates), total(at1.rates))
			}
		})
	}
}
