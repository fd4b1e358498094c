package aggregator

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"edgechain/lightchain"
)

// emptyStore holds nothing, and counts who looks.
type emptyStore struct {
	Store
	looked int
}

func (e *emptyStore) Records(context.Context, lightchain.ChainID, int) ([]*Record, error) {
	e.looked++
	return nil, nil
}

// Whoever asks again and again for the status of very many gateways does not keep the store busy.
func TestWhatIsDearToCountIsCountedRarely(t *testing.T) {
	store := new(emptyStore)
	c := newCensus(store, NewRegistry(store, Rules{}, time.Now, slog.New(slog.DiscardHandler)), time.Now)
	for _, test := range []struct {
		took, ago time.Duration
		before    bool
	}{
		{countCheap, 0, false},
		{time.Minute, 0, true},
		{time.Minute, 49 * time.Minute, true},
		{time.Minute, 51 * time.Minute, false},
	} {
		c.last, c.took, c.done = &count{}, test.took, time.Now().Add(-test.ago)
		looked := store.looked
		if _, before, err := c.recent(t.Context()); err != nil || before != test.before || (store.looked == looked) != test.before {
			t.Errorf("it took %s, %s ago: counted before %t, looked %t, %v", test.took, test.ago, before, store.looked > looked, err)
		}
	}
}
