package store

import (
	"errors"
	"fmt"

	"edgechain.example/lightchain"
)

// Receipts were checked under their aggregator's key before they were stored. One that does not check any more would take
// every proof that shows it away from whoever trusts that aggregator, so a scrub looks at each again, as far as it is
// given the keys; the owner of the tail lets go of those that do not.

// receiptsPerPace is after how many receipts a scrub waits: some ten milliseconds of a small board's time.
const receiptsPerPace = 32

// receipts checks the signatures of all receipts whose aggregator's key is known.
func (c *scrub) receipts() error {
	if len(c.o.Aggregators) == 0 {
		return nil
	}
	from := key(spaceReceipts, 0)
	for from != nil {
		var err error
		if from, err = c.receiptsFrom(from); err != nil {
			return err
		}
	}
	return nil
}

// receiptsFrom checks some of the receipts from a key on and returns where the next ones begin, nil at the end. No scan
// stays open while it waits.
func (c *scrub) receiptsFrom(from []byte) (next []byte, err error) {
	scan, err := c.s.scanSide(from, []byte{spaceReceipts + 1})
	if err != nil {
		return nil, err
	}
	read := 0
	for ok := scan.first(); ok; ok = scan.next() {
		k := append([]byte(nil), scan.key()...)
		if n := read / max(1, len(k)+len(scan.value())); n >= receiptsPerPace {
			next = k
			break
		}
		read += len(k) + len(scan.value())
		if err = c.receipt(heightOfReceipt(k), nameOfReceipt(k), scan.value()); err != nil {
			break
		}
	}
	if err == nil {
		err = scan.err
	}
	scan.close()
	if err != nil {
		return nil, err
	}
	return next, c.pace(read)
}

func (c *scrub) receipt(height uint64, name string, encoded []byte) error {
	r, err := lightchain.DecodeReceipt(encoded)
	if err != nil {
		return c.badReceipt(height, name, err)
	}
	for _, a := range c.o.Aggregators {
		if a.Name != r.Name || a.Key.KeyID() != r.KeyID {
			continue
		}
		h, err := c.s.Header(height)
		if errors.Is(err, ErrNotHeld) || errors.Is(err, ErrUnsigned) || errors.Is(err, ErrDamaged) {
			return nil // nothing can be said of it
		}
		if err != nil {
			return err
		}
		if err := h.CheckReceipt(&r, a.Key); err != nil {
			return c.badReceipt(height, name, err)
		}
	}
	return nil
}

// badReceipt tells of a receipt that is not what was stored, and has it go.
func (c *scrub) badReceipt(height uint64, name string, why error) error {
	first := c.s.Next()
	if h, err := c.s.HeaderAt(height); err == nil {
		first = h.First
	}
	c.s.refuse(named{height, name})
	return c.found(Damage{From: height, To: height, First: first, Holds: "the receipt of " + name, Why: fmt.Sprintf("it does not check: %v", why)})
}

// refuse has a receipt taken for one that is not held, and deleted by the owner of the tail.
func (r *Reader) refuse(n named) {
	r.sides.mu.Lock()
	defer r.sides.mu.Unlock()
	if r.sides.refused == nil {
		r.sides.refused = map[named]bool{}
	}
	r.sides.refused[n] = true
}

func (r *Reader) refuses(n named) bool {
	r.sides.mu.Lock()
	defer r.sides.mu.Unlock()
	return r.sides.refused[n]
}

// dropRefused deletes what was refused, so that it may come again.
func (s *Store) dropRefused() error {
	s.sides.mu.Lock()
	refused := s.sides.refused
	s.sides.mu.Unlock()
	if len(refused) == 0 {
		return nil
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for n := range refused {
		if err := errors.Join(batch.Delete(receiptKey(n.height, n.name), nil), batch.Delete(receivedKey(n.name, n.height), nil)); err != nil {
			return err
		}
	}
	if err := s.guard.commit(batch); err != nil {
		return err
	}
	s.sides.mu.Lock()
	s.sides.refused = nil
	s.sides.mu.Unlock()
	return nil
}
