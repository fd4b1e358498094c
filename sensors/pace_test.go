package sensors

import (
	"testing"
	"time"
)

// What is taken at a pace is a second's worth at once and then one at each interval; never more in any second than twice the rate.
func TestPaceLetsASecondsWorthThroughAndThenTheRate(t *testing.T) {
	for _, rate := range []int{1, 3, 50, 1000} {
		var p Pace
		now := time.Unix(1, 0)
		burst := 0
		for p.Take(now, rate) == 0 {
			burst++
		}
		if burst != rate {
			t.Errorf("rate %d: %d at once", rate, burst)
		}
		for i := range 2 * rate {
			wait := p.Take(now, rate)
			if wait <= 0 || wait > time.Second/time.Duration(rate) {
				t.Fatalf("rate %d, message %d: waits %v", rate, i, wait)
			}
			if now = now.Add(wait); p.Take(now, rate) != 0 {
				t.Fatalf("rate %d, message %d: not taken after %v", rate, i, wait)
			}
		}
		if passed, want := now.Sub(time.Unix(1, 0)), 2*time.Second; passed < want-time.Millisecond || passed > want+time.Millisecond {
			t.Errorf("rate %d: twice as many took %v", rate, passed)
		}
	}
}

func TestPaceWithoutARateTakesAll(t *testing.T) {
	var p Pace
	for range 10_000 {
		if p.Take(time.Unix(1, 0), 0) != 0 {
			t.Fatal("something waits")
		}
	}
}

// A clock that was set back, and a rate that was raised, keep nobody waiting for long.
func TestPaceForgetsWhatDoesNotHoldAnyMore(t *testing.T) {
	var p Pace
	now := time.Unix(1000, 0)
	if p.Take(now, 1) != 0 {
		t.Fatal("the first one waits")
	}
	if wait := p.Take(now, 100); wait > 10*time.Millisecond {
		t.Errorf("after the rate was raised it waits %v", wait)
	}
	now = time.Unix(1, 0)
	wait := p.Take(now, 1)
	if wait > time.Second || p.Take(now.Add(wait), 1) != 0 {
		t.Errorf("after the clock was set back it waits %v, and then more", wait)
	}
}
