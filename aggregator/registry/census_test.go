package registry

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"edgechain.example/lightchain"
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
	c := NewCensus(store, New(store, Rules{}, time.Now, slog.New(slog.DiscardHandler)), time.Now, nil)
	for _, test := range []struct {
		took, ago time.Duration
		before    bool
	}{
		{countCheap, 0, false},
		{time.Minute, 0, true},
		{time.Minute, 49 * time.Minute, true},
		{time.Minute, 51 * time.Minute, false},
	} {
		c.last, c.took, c.done = &Count{}, test.took, time.Now().Add(-test.ago)
		looked := store.looked
		if _, before, err := c.Recent(t.Context()); err != nil || before != test.before || (store.looked == looked) != test.before {
			t.Errorf("it took %s, %s ago: counted before %t, looked %t, %v", test.took, test.ago, before, store.looked > looked, err)
		}
	}
}

// fewRecords holds some records.
type fewRecords struct {
	Store
	all []*Record
}

func (f *fewRecords) Records(context.Context, lightchain.ChainID, int) ([]*Record, error) {
	all := f.all
	f.all = nil
	return all, nil
}

// A gateway that is silent and offline has both findings, and is one gateway.
func TestAGatewayThatIsSilentAndOfflineCountsOnce(t *testing.T) {
	now := time.Unix(1e9, 0)
	store := &fewRecords{all: []*Record{
		{Standing: Approved, Online: Offline, Seen: 1},
		{Standing: Approved, Online: Offline, Seen: now.Unix()},
		{Standing: Approved, Seen: 1},
		{Standing: Approved, Seen: now.Unix()},
		{Standing: Waiting, Online: Offline, Seen: 1},
	}}
	registry := New(store, Rules{Silence: time.Hour}, time.Now, slog.New(slog.DiscardHandler))
	c := NewCensus(store, registry, func() time.Time { return now }, nil)
	n, _, err := c.Recent(t.Context())
	if err != nil || n.Unheard != 3 || n.Ailing[Silent] != 2 || n.Ailing[Away] != 2 {
		t.Errorf("%+v, %v", n, err)
	}
}
