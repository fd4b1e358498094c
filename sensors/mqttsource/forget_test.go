package mqttsource

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"edgechain.example/lightchain"
)

// held is what a program notes of a session.
type held struct {
	mu    sync.Mutex
	notes [][]string // the newest is the last one
}

func (h *held) configure(c *Config) {
	c.Held = func() []string {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.notes) == 0 {
			return nil
		}
		return h.notes[len(h.notes)-1]
	}
	c.Hold = func(filters []string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.notes = append(h.notes, filters)
	}
}

// What was queued by the old filter is kept; what comes after it was given up does not arrive.
func TestAFilterThatWasTakenOutIsGivenUp(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	var notes held
	before := config(m.url, 1)
	before.Subscriptions = append(before.Subscriptions, Subscription{Filter: "old/#", QoS: 1, Decode: raw})
	notes.configure(&before)
	first := run(t, before, newDisk(t, everything))
	first.awaitReady()
	first.stop()

	device := publisher(t, m.url)
	send(t, device, "old/1", 1, false, "queued")
	cfg := config(m.url, 1)
	notes.configure(&cfg)
	d := newDisk(t, everything)
	s := run(t, cfg, d)
	s.awaitReady()
	send(t, device, "old/1", 1, false, "not wanted any more")
	send(t, device, "line/1", 1, false, "wanted")
	d.awaitDurable(t, 2)
	entries := d.entries()
	if len(entries) != 2 || string(entries[0].Payload) != "queued" || entries[0].Flags&lightchain.NotUnderstood == 0 || string(entries[1].Payload) != "wanted" {
		t.Errorf("%d entries, %s and %s", len(entries), entries[0].Payload, entries[1].Payload)
	}
	if st := s.Stats(); st.Unmatched != 1 {
		t.Errorf("%d matched no filter", st.Unmatched)
	}
	s.stop()
	for _, note := range notes.notes {
		slices.Sort(note)
	}
	if got, want := fmt.Sprint(notes.notes), "[[line/# old/#] [line/# old/#] [line/#]]"; got != want {
		t.Errorf("noted was %s, want %s", got, want)
	}
}
