package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
)

// keyEvent is what the chain says about a change of key, beside the header that makes it.
type keyEvent struct {
	Key    string `json:"key"`    // the new public key
	Height uint64 `json:"height"` // of the header that commits to it; it signs from the next one on

	AskedBy *localhttp.Peer `json:"asked_by,omitempty"` // nil: it was due, or it is not known
}

// RotateKey seals the open block with a header that hands over to a new key, and destroys the old one as far as that
// can be done. A power cut between any two steps leaves a gateway that goes on; see package keyfile.
func (a *Agent) RotateKey(ctx context.Context) (key lightchain.PublicKey, height uint64, err error) {
	doErr := a.committer.Do(ctx, func() { key, height, err = a.rotateOnTail() })
	if err := errors.Join(doErr, err); err != nil {
		return key, 0, fmt.Errorf("changing the key: %w", err)
	}
	by := localhttp.PeerOf(ctx)
	a.log.Info("the change of key was asked for", "by", by)
	a.record(ctx, "key", keyEvent{lightchain.FormatPublicKey(key), height, by})
	return key, height, nil
}

func (a *Agent) rotateOnTail() (key lightchain.PublicKey, height uint64, err error) {
	c := a.config // the key's place never changes while the agent runs
	if a.gate.Closed() {
		return key, 0, fmt.Errorf("nothing is sealed: %s", a.gate.Worst())
	}
	if changes, err := a.store.KeyChanges(); err != nil || changes >= store.MaxKeyChanges {
		return key, 0, cmp.Or(err, store.ErrKeysSpent)
	}
	if err := keyfile.CheckReplace(c.Key.File); err != nil {
		return key, 0, err
	}
	if err := c.ownsKeyFiles(a.store.Tip().Key); err != nil {
		return key, 0, err
	}
	next, err := c.nextKey(a.store.Tip().Key, a.log)
	if err != nil {
		return key, 0, err
	}
	// Somebody put it there: who has it signs for all that it once signed.
	if used, err := a.store.UsedKey(next.Public()); err != nil || used {
		return key, 0, cmp.Or(err, fmt.Errorf("%s: %w: move it elsewhere, and another one is made", c.nextKeyFile(), store.ErrKeyUsed))
	}
	// The next key is on disk. If the power fails now nothing has named it, and it is taken the next time.
	header, err := a.committer.SealWith(next)
	if err != nil {
		return key, 0, err
	}
	a.metrics.blocks.Inc()
	a.keys.kept.Forget() // the old key is to be nowhere from now on
	for _, u := range a.upstreams {
		u.gateway.SetSigner(next)
	}
	a.log.Info("the key was changed", "key", lightchain.FormatPublicKey(next.Public()), "height", header.Header.Height)
	// The chain continues under the next key alone. If the power fails now the next start finishes what follows; if it
	// cannot be done now, watchKeys does.
	if err := keyfile.Replace(c.nextKeyFile(), c.Key.File, c.Key.Passphrase); err != nil {
		a.keys.unfinished.Store(true)
		a.log.Error("failed to destroy the old key: the chain goes on under the new one; it is tried again", "err", err)
	}
	a.keepKeyFiles() // of the new key from now on
	a.warnOfKeys()
	return next.Public(), header.Header.Height, nil
}

// ownsKeyFiles refuses to have a key destroyed that is not this chain's: somebody put it in the place of the key in force.
func (c *Config) ownsKeyFiles(inForce lightchain.PublicKey) error {
	for _, path := range keyfile.Files(c.Key.File) {
		if other, err := keyfile.ReadPublicKey(path); err == nil && other != inForce {
			return fmt.Errorf("%s holds another key than the chain's, which a change would destroy: move it elsewhere", path)
		}
	}
	return nil
}

// nextKey returns the key that waits to be named, or makes one.
func (c *Config) nextKey(inForce lightchain.PublicKey, log *slog.Logger) (lightchain.Signer, error) {
	file := c.nextKeyFile()
	next, err := keyfile.Load(file, c.Key.Passphrase)
	switch {
	case err == nil && next.Public() == inForce:
		return nil, errors.New("the last change of key is not finished: its old key is still to be destroyed")
	case err == nil:
		return next, nil
	case !errors.Is(err, fs.ErrNotExist):
		log.Warn("failed to use the key that was made before; another is made", "err", err)
		if err := keyfile.Destroy(file); err != nil { // nothing has named it
			return nil, err
		}
	}
	return keyfile.Create(file, keyfile.Options{Passphrase: c.Key.Passphrase, Comment: c.name()})
}

// A proof shows each header that set a key, and may show so many of them. The last ones are for who changes the key by
// hand, because it may be known to somebody.
const (
	manyKeyChanges = 512  // told from here on
	lastScheduled  = 1000 // none is made by itself from here on
)

// warnOfKeys says how many changes of key are left, once that matters. It is called at the start, and after each change.
func (a *Agent) warnOfKeys() {
	changes, err := a.store.KeyChanges()
	if err != nil || changes < manyKeyChanges {
		return
	}
	a.log.Warn("the key was changed often: a chain bears a limited number of changes", "changes", changes, "most", store.MaxKeyChanges, "by_itself", lastScheduled)
}

// rotateWhenDue changes the key every so many blocks; the committer calls it after each seal.
func (a *Agent) rotateWhenDue(height uint64) {
	every := uint64(a.inForce().Key.RotateEvery)
	if every == 0 || a.queue.Stopped() { // the entry that tells of it would come too late: the next start does it
		return
	}
	heights, err := a.store.KeyHeights(height + 1)
	if err != nil || len(heights) == 0 || height-heights[len(heights)-1] < every {
		return
	}
	if len(heights)-1 >= lastScheduled {
		if !a.keysTold {
			a.keysTold = true
			a.log.Error("the key is not changed by itself any more: "+store.ErrKeysSpent.Error()+". By hand it goes on a little", "changes", len(heights)-1, "most", store.MaxKeyChanges)
		}
		return
	}
	key, at, err := a.rotateOnTail()
	if err != nil {
		a.log.Error("failed to change the key, which was due", "err", err)
		return
	}
	a.aside(func() { a.record(a.sourcesCtx, "key", keyEvent{Key: lightchain.FormatPublicKey(key), Height: at}) })
}
