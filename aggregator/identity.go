package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

// ErrIdentity means that a store belongs to an aggregator of another name or key.
var ErrIdentity = errors.New("the store is another aggregator's")

// identity is under which name and key the receipts of a store are signed. Two replicas that shared a store under two
// keys would both countersign, and neither knew what the other has signed.
type identity struct {
	Name string `json:"name"`
	Key  string `json:"key"` // the public key, as in an OpenSSH file
}

// The one document of its kind.
const identityKind, identityName = "identity", "aggregator"

// Bind has the store belong to the aggregator of this name and key: from the first call on any other fails with
// [ErrIdentity].
func Bind(ctx context.Context, d registry.Documents, name string, key lightchain.PublicKey) error {
	mine := identity{name, lightchain.FormatPublicKey(key)}
	_, err := setIdentity(ctx, d, func(old *identity) (identity, error) {
		switch {
		case old == nil || *old == mine:
			return mine, nil
		case old.Name != name:
			return mine, old.otherName(name)
		}
		return mine, fmt.Errorf("%w: its receipts are signed with %s, and key.file is %s: put that key back; if it was changed on purpose, stop all replicas, then `edgeaggregator key adopt`", ErrIdentity, old.Key, mine.Key)
	})
	return err
}

// Adopt has a store whose receipts were signed with another key go on under this one, and returns that other key, or
// "" where there was none. No aggregator may run on the store. The name cannot change: gateways and auditors know it.
func Adopt(ctx context.Context, d registry.Documents, name string, key lightchain.PublicKey) (former string, err error) {
	mine := identity{name, lightchain.FormatPublicKey(key)}
	old, err := setIdentity(ctx, d, func(old *identity) (identity, error) {
		if old != nil && old.Name != name {
			return mine, old.otherName(name)
		}
		return mine, nil
	})
	if err != nil || old == nil {
		return "", err
	}
	return old.Key, nil
}

func (i *identity) otherName(name string) error {
	return fmt.Errorf("%w: its receipts are signed as %q, and aggregator.name is %q: put the name right, or name another store", ErrIdentity, i.Name, name)
}

// setIdentity stores what decide makes of the identity that the store had, nil if it had none.
func setIdentity(ctx context.Context, d registry.Documents, decide func(old *identity) (identity, error)) (old *identity, err error) {
	err = d.UpdateDocument(ctx, identityKind, identityName, func(text []byte) ([]byte, error) {
		old = nil
		if text != nil {
			old = new(identity)
			if err := json.Unmarshal(text, old); err != nil {
				return nil, fmt.Errorf("whose the store is: %w", err)
			}
		}
		next, err := decide(old)
		if err != nil {
			return nil, err
		}
		if old != nil && next == *old {
			return nil, registry.ErrUnchanged
		}
		return json.Marshal(next)
	})
	return old, err
}
