package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
)

// What package headersync asks of the gateway: to read the chain, to keep receipts, to put back what was lost.

// syncChain is the chain as the protocol reads it.
type syncChain struct{ r *store.Reader }

func (c syncChain) Head() (*lightchain.Tip, *lightchain.SignedHeader, error) {
	tip := c.r.Tip()
	h, err := c.r.Header(tip.Height)
	return tip, h, unavailable(err)
}

func (c syncChain) Header(height uint64) (*lightchain.Header, *lightchain.HeaderSignature, error) {
	signed, err := c.r.Header(height)
	if err == nil {
		return &signed.Header, &signed.HeaderSignature, nil
	}
	if !errors.Is(err, store.ErrUnsigned) {
		return nil, nil, unavailable(err)
	}
	h, err := c.r.HeaderAt(height)
	return &h, nil, unavailable(err)
}

func (c syncChain) Node(level int, index uint64) (lightchain.Hash, error) {
	h, err := c.r.Node(level, index)
	return h, unavailable(err)
}

func (c syncChain) KeyHeights(to uint64) ([]uint64, error) {
	heights, err := c.r.KeyHeights(to)
	return heights, unavailable(err)
}

// unavailable translates the store's word for what a sparse copy left out, or what is lost.
func unavailable(err error) error {
	if errors.Is(err, store.ErrNotHeld) || errors.Is(err, store.ErrDamaged) {
		return fmt.Errorf("%w: %w", headersync.ErrUnavailable, err)
	}
	return err
}

// syncReceipts stores receipts on the goroutine that owns the tail.
type syncReceipts struct {
	a *Agent
	u *upstream
}

func (r syncReceipts) NewestReceipt(aggregator string) (uint64, bool, error) {
	return r.a.store.NewestReceipt(aggregator)
}

func (r syncReceipts) Countersigned(aggregator string) (height uint64, found bool, err error) {
	err = r.a.committer.Do(r.a.sourcesCtx, func() { height, found = r.a.store.MarkedReceipt(aggregator) })
	return height, found, err
}

func (r syncReceipts) HasReceipt(height uint64, aggregator string) (bool, error) {
	receipts, err := r.a.store.Receipts(height)
	return slices.ContainsFunc(receipts, func(r lightchain.Receipt) bool { return r.Name == aggregator }), err
}

func (r syncReceipts) PutReceipt(height uint64, receipt lightchain.Receipt) (err error) {
	doErr := r.a.committer.Do(r.a.sourcesCtx, func() {
		if err = r.inOrder(height, receipt); err != nil {
			return
		}
		err = r.a.store.PutReceipt(height, receipt, func() uint64 {
			inFlight, _ := r.a.queue.Pending()
			return uint64(inFlight)
		})
		// An aggregator countersigns one history of a chain. Its receipt on a header that was sealed since the start agrees
		// with the head that this was sealed upon, also where nobody knew the chain then, or nobody answered.
		if at, ever := r.a.gate.Released(); err == nil && ever && height > at && !r.a.gate.HeadInDoubt() {
			err = r.a.store.SetSealedUnconfirmed(false)
			r.a.agreed(r.u)
		}
	})
	return errors.Join(doErr, err)
}

// agreed notes that an aggregator countersigned the head where nobody had known it, or nobody had answered.
func (a *Agent) agreed(u *upstream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u.standing == gateway.Unknown || u.standing == gateway.Unreachable {
		u.standing = gateway.Agreed
	}
}

// inOrder refuses a receipt that contradicts the aggregator's others: in a proof it would be found out, and would take the
// proof away from everybody who trusts that aggregator alone.
func (r syncReceipts) inOrder(height uint64, receipt lightchain.Receipt) error {
	below, above, err := r.a.store.ReceiptsAround(receipt.Name, height)
	if err != nil {
		return err
	}
	for _, other := range []*store.ReceiptAt{below, above} {
		// A new key is how an aggregator gets past a time that it should never have signed.
		if other == nil || other.KeyID != receipt.KeyID {
			continue
		}
		if other == below && other.Time > receipt.Time || other == above && other.Time < receipt.Time {
			return fmt.Errorf("%w: it countersigned header %d at %s and header %d at %s; the second is not taken",
				gateway.ErrReversed, other.Height, second(other.Time), height, second(receipt.Time))
		}
	}
	return nil
}

// second formats a receipt's time.
func second(s uint64) string { return time.Unix(int64(s), 0).UTC().Format(time.RFC3339) }

// syncRestorer puts back what the chain lost, on the goroutine that owns the tail.
type syncRestorer struct{ a *Agent }

func (r syncRestorer) RestoreRun(run *lightchain.Run) error {
	var adopted []store.Adopted
	_, err := r.a.store.Tip().Follow(run, func(d lightchain.Derived) error {
		adopted = append(adopted, store.Adopted{Header: *d.Header, Signature: d.Signature})
		return nil
	})
	if err != nil {
		return err
	}
	return r.onTail(func() error { return r.a.store.Adopt(adopted) })
}

func (r syncRestorer) RestoreHead(_ *lightchain.Tip, copied *headersync.SparseCopy, keys []*lightchain.SignedHeader) error {
	return r.onTail(func() error {
		head := copied.Head
		if head.Header.Height == r.a.store.Tip().Height+1 {
			return r.a.store.Adopt([]store.Adopted{{Header: head.Header, Signature: &head.HeaderSignature}})
		}
		return r.a.store.AdoptHead(store.AdoptedHead{Head: head, Edge: copied.Edge, Compared: true, Keys: keys})
	})
}

func (r syncRestorer) SealedUnconfirmed() (bool, error) { return r.a.store.SealedUnconfirmed() }

func (r syncRestorer) onTail(job func() error) (err error) {
	doErr := r.a.committer.Do(r.a.sourcesCtx, func() {
		if _, ever := r.a.gate.Released(); ever {
			err = errors.New("blocks were sealed since")
			return
		}
		if err = job(); err == nil && r.a.store.Signer() != nil {
			r.a.keyIsBack("the headers that set it came back")
		}
	})
	return errors.Join(doErr, err)
}
