package aggregator_test

import (
	"errors"
	"testing"

	"edgechain.example/aggregator"
	"edgechain.example/lightchain"
)

func storeHasOneIdentity(t *testing.T, s opened) {
	first, second := lightchain.PublicKey{1}, lightchain.PublicKey{2}
	bind := func(name string, key lightchain.PublicKey) error { return aggregator.Bind(t.Context(), s, name, key) }
	for range 2 {
		if err := bind("north", first); err != nil {
			t.Fatal(err)
		}
	}
	s.Store = s.again()
	if err := bind("north", second); !errors.Is(err, aggregator.ErrIdentity) {
		t.Errorf("under another key: %v", err)
	}
	if err := bind("south", first); !errors.Is(err, aggregator.ErrIdentity) {
		t.Errorf("under another name: %v", err)
	}
	if _, err := aggregator.Adopt(t.Context(), s, "south", first); !errors.Is(err, aggregator.ErrIdentity) {
		t.Errorf("adopted under another name: %v", err)
	}
	if former, err := aggregator.Adopt(t.Context(), s, "north", second); err != nil || former != lightchain.FormatPublicKey(first) {
		t.Fatalf("adopted after %q: %v", former, err)
	}
	if err := bind("north", second); err != nil {
		t.Error(err)
	}
	if err := bind("north", first); !errors.Is(err, aggregator.ErrIdentity) {
		t.Errorf("under the former key: %v", err)
	}
}
