package broker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// What a client publishes with QoS 1 and 2 beyond its rate is late, in its order, and another client does not wait for it.
func TestBeyondTheRateAClientIsLateAndNothingIsLost(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, func(c *Config) { c.Rate = 10 })
	w := dial(t, b, login{id: "fast", clean: true})
	const n = 23
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
		w.publish(uint16(i+1), 1+byte(i%2), "x", want[i])
	}
	for i := range n {
		w.wants(fmt.Sprintf("%s %d", []string{"PUBACK", "PUBREC"}[i%2], i+1))
	}
	d.awaitEntries(n)
	if got := d.payloads(); !slices.Equal(got, want) {
		t.Errorf("recorded are %v", got)
	}
	if st := b.Stats(); st.Exceeded != 0 {
		t.Errorf("%+v", st)
	}
	// How late it is, is tested where the clock is the test's, in package sensors.
	other := dial(t, b, login{id: "other", clean: true})
	other.publish(1, 1, "x", "y")
	other.wants("PUBACK 1")
}

// Who connects anew for each message, and keeps no session, has no more than the others; nor has it what is another's.
func TestNoConnectionBeginsWithARateOfItsOwn(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, func(c *Config) { c.Rate = 1 })
	sent := func(id string) (lost uint64) {
		before := b.Stats().Exceeded
		w := dial(t, b, login{id: id, clean: true})
		w.publish(0, 0, "x", "y")
		w.silent()
		w.drop(b, id)
		return b.Stats().Exceeded - before
	}
	began, lost := time.Now(), uint64(0)
	const n = 20
	for range n {
		lost += sent("a")
	}
	if most := 2 + int(time.Since(began)/time.Second); int(lost) < n-most { // one at once, and one a second
		t.Errorf("%d of %d messages were lost", lost, n)
	}
	if sent("b") > 0 {
		t.Error("another client's message was lost")
	}
	// How many are remembered has an end.
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range 2 * mostPaces {
		s := &session{id: fmt.Sprint(i), pace: new(pace)}
		s.pace.take(1)
		b.keepPace(s)
	}
	if len(b.paces) > mostPaces {
		t.Errorf("%d clients are remembered", len(b.paces))
	}
}

// Lifting the rate lets a client go that waits for it.
func TestARateThatIsLiftedLetsWhoWaitsGo(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, func(c *Config) { c.Rate = 1 })
	w := dial(t, b, login{id: "a", clean: true})
	const n = 300 // five minutes' worth
	for i := range n {
		w.publish(uint16(i+1), 1, "x", fmt.Sprint(i))
	}
	w.wants("PUBACK 1")
	await(t, func() bool { return b.Stats().Slowed > 0 })
	if err := b.SetLimits(Limits{}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < n; i++ {
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
	}
	if st := b.Stats(); st.Slowed == 0 || st.Slowed > 60 {
		t.Errorf("%+v", st)
	}
}

// What comes with QoS 0 beyond the rate is lost, counted and told; nothing is told of what was recorded.
func TestBeyondTheRateQoS0IsLostAndTold(t *testing.T) {
	d := autoDisk(t, 0)
	var mu sync.Mutex
	lost, topics := 0, 0
	b := start(t, d, func(c *Config) {
		c.Rate = 1
		c.Exceeded = func(topic string) {
			mu.Lock()
			defer mu.Unlock()
			if topic == "x" {
				topics++
			}
		}
		c.Lost = func(n int, _ string) {
			mu.Lock()
			defer mu.Unlock()
			lost += n
		}
	})
	w := dial(t, b, login{id: "a", clean: true})
	const n = 2000
	for i := range n {
		w.publish(0, 0, "x", fmt.Sprint(i))
	}
	w.publish(1, 1, "x", "last")
	w.wants("PUBACK 1")
	st := b.Stats()
	if st.Exceeded == 0 {
		t.Error("nothing is lost")
	}
	d.awaitEntries(n + 1 - int(st.Exceeded))
	if got := len(d.payloads()); got-1+int(st.Exceeded) != n {
		t.Errorf("%d are recorded, %d lost, of %d", got-1, st.Exceeded, n)
	}
	b.tellExceeded(time.Now(), true)
	mu.Lock()
	defer mu.Unlock()
	if lost != int(st.Exceeded) || topics != lost {
		t.Errorf("told of %d, by their topics of %d, lost are %d", lost, topics, st.Exceeded)
	}
}

// What is not recorded is acknowledged, passed on, counted once, and no part of the rate.
func TestWhatIsNotRecordedIsPassedOnAndCounted(t *testing.T) {
	d := autoDisk(t, 0)
	var mu sync.Mutex
	counted := 0
	b := start(t, d, func(c *Config) {
		c.Rate = 1
		c.PassOn = func(topic string) (bool, func()) {
			return topic == "noise", func() {
				mu.Lock()
				defer mu.Unlock()
				counted++
			}
		}
	})
	sub := dial(t, b, login{id: "sub", clean: true})
	sub.subscribe(1, "#", 0)
	sub.wants("SUBACK 1 0")
	w := dial(t, b, login{id: "a", clean: true})
	for i := range 100 {
		w.publish(uint16(i+1), 1, "noise", fmt.Sprint(i))
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
		if p := sub.message(); string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("the subscriber got %q", p.Payload)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if st := b.Stats(); counted != 100 || len(d.payloads()) != 0 || st.Slowed != 0 {
		t.Errorf("counted are %d, recorded %v, %+v", counted, d.payloads(), st)
	}
}
