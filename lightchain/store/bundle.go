package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"edgechain.example/lightchain"
)

// Bundle writes all entries of the blocks from height from to height to, both included, as one bundle: their headers,
// one signature, the headers that set the key, and the earliest receipts that reach the quorum. It needs every one of
// these entries; its error is [ErrNotFound], [ErrPruned], [ErrNotHeld] or [ErrDamaged] where one cannot be had, and [ErrUnsigned]
// where they all are there and the last block is one of none that came back without its signature.
// progress, which may be nil, is told the height reached.
func (r *Reader) Bundle(ctx context.Context, w io.Writer, from, to uint64, quorum int, progress func(height uint64)) error {
	if err := r.bundle(ctx, w, from, to, max(1, quorum), progress); err != nil {
		r.meets(err)
		return fmt.Errorf("bundling blocks %d to %d: %w", from, to, err)
	}
	return nil
}

func (r *Reader) bundle(ctx context.Context, w io.Writer, from, to uint64, quorum int, progress func(uint64)) error {
	top := r.Tip().Height
	if from > to || to > top {
		return r.pastTop(to, fmt.Errorf("%w: the newest block is %d", ErrNotFound, top))
	}
	p := &lightchain.Proof{}
	var err error
	if p.Header, err = r.Header(to); errors.Is(err, ErrUnsigned) {
		return r.withoutEnd(from, to, err)
	} else if err != nil {
		return err
	}
	if err := r.addReceipts(p, quorum); err != nil {
		return err
	}
	if err := r.addKeys(p); err != nil {
		return err
	}
	if len(p.Keys) == 0 { // genesis vouches for the key of what is above it
		return fmt.Errorf("%w: nothing above block 0, which holds no entries, is in it; end the bundle with a block above", ErrNotFound)
	}
	out := bufio.NewWriterSize(w, 1<<16)
	edge, err := r.Edge(from)
	if err != nil {
		return err
	}
	item, err := lightchain.AppendBundleStart(nil, p.Keys, edge)
	if err != nil {
		return err
	}
	out.Write(item)
	for height := from; height <= to; height++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.headerBytes(height)
		if err != nil {
			return err
		}
		h, err := lightchain.DecodeHeader(b)
		if err != nil {
			return &DamageError{Height: height, Err: err}
		}
		out.Write(lightchain.AppendBundleBlock(item[:0], b))
		for rec, err := range r.Entries(h.First, h.First+h.Count) {
			if err != nil {
				return err
			}
			item = lightchain.AppendBundleEntry(item[:0], rec.Bytes)
			out.Write(item) // what fails once fails again when it is flushed
		}
		if progress != nil {
			progress(height)
		}
	}
	if item, err = lightchain.AppendBundleEnd(item[:0], p.Header, p.Later); err != nil {
		return err
	}
	out.Write(item)
	return out.Flush()
}

// withoutEnd says why no bundle of these blocks can be had whose last one has no signature of its own: the first entry that is
// not there, else that.
func (r *Reader) withoutEnd(from, to uint64, unsigned error) error {
	first, err := r.HeaderAt(from)
	if err != nil {
		return err
	}
	last, err := r.HeaderAt(to)
	if err != nil {
		return err
	}
	for _, err := range r.Entries(first.First, last.First+last.Count) {
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%w, and a bundle needs that of its last block: end it with another one", unsigned)
}
