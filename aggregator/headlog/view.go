package headlog

import (
	"context"
	"errors"
	"fmt"

	"edgechain.example/lightchain"
)

// View reads a log. Its key is the one that the log's checkpoints are signed with.
type View struct {
	Store  Contents
	Key    *PublicKey
	Newest func(context.Context) (*Head, error) // where it stands, as far as that may be shown; [ErrEmpty]: nothing may
}

// AtRest returns how a log is read that no process here appends to: as the file mark says that it was published, and as the store
// has it where there is no such file. What a crash kept from being published stays unseen until it is: the mark would not know
// of it, and a store without it would be gone on from.
func AtRest(s Store, key *PublicKey, mark string) *View {
	v := &View{Store: s, Key: key}
	v.Newest = func(ctx context.Context) (*Head, error) {
		published, err := readMark(mark, key)
		if err != nil {
			return nil, err
		}
		head, err := v.stands(ctx, s, published)
		switch {
		case errors.As(err, new(*SetBackError)):
			return nil, fmt.Errorf("%w that may be shown: %w", ErrEmpty, err)
		case err == nil && head == nil:
			return nil, fmt.Errorf("%w: %s was not begun, `edgeaggregator run` begins it", ErrEmpty, v.origin())
		case err == nil && published != nil && published.Size < head.Size:
			return v.as(ctx, published)
		}
		return head, err
	}
	return v
}

// as returns where the log stood when its checkpoint was the one of the mark, which it continues.
func (v *View) as(ctx context.Context, published *mark) (*Head, error) {
	tree, err := readTile(v.tile).tree(ctx, published.Size)
	if err != nil {
		return nil, err
	}
	head := &Head{Size: published.Size, Edge: tree.Edge(), Checkpoint: published.signed}
	kept, err := v.Store.LogCheckpoints(ctx, v.origin(), published.Size, 1)
	if err == nil && len(kept) > 0 && kept[0].Size == published.Size {
		head.Time = kept[0].Time
	}
	return head, err
}

func (v *View) origin() string { return v.Key.Name() }

// tile reads the hashes of a tile from the store.
func (v *View) tile(ctx context.Context, t tile) ([]lightchain.Hash, error) {
	hashes, err := v.Store.LogHashes(ctx, v.origin(), t.level, t.index*tileWidth, t.width)
	if err == nil && len(hashes) != t.width {
		err = fmt.Errorf("%w: the store has %d of the %d hashes of tile %s", ErrInvalid, len(hashes), t.width, t.path(false))
	}
	return hashes, err
}

// entries reads the leaves of a tile of level 0.
func (v *View) entries(ctx context.Context, t tile) ([]Leaf, error) {
	leaves, err := v.Store.LogLeaves(ctx, v.origin(), t.index*tileWidth, t.width)
	if err == nil && len(leaves) != t.width {
		err = fmt.Errorf("%w: the store has %d of the %d leaves of tile %s", ErrInvalid, len(leaves), t.width, t.path(true))
	}
	return leaves, err
}

// Prove returns the proof of the first head of a chain at that height or above, nil being its newest, in the tree of the newest
// checkpoint. The proof was checked.
func (v *View) Prove(ctx context.Context, chain lightchain.ChainID, height *uint64) (*Proof, *Leaf, error) {
	head, err := v.Newest(ctx)
	if err != nil {
		return nil, nil, err
	}
	index, leaf, err := v.Store.LogFind(ctx, v.origin(), head.Size, chain, height)
	if err != nil {
		return nil, nil, err
	}
	path, err := lightchain.ProveInclusion(readTile(v.tile).nodes(ctx, head.Size), head.Size, index)
	if err != nil {
		return nil, nil, err
	}
	p := &Proof{Index: index, Hashes: path.Hashes, Checkpoint: head.Checkpoint}
	_, err = p.Check(leaf.Hash(), v.Key)
	return p, leaf, err
}

// Checked is what a check found whole.
type Checked struct {
	Origin      string
	Size        uint64
	Root        lightchain.Hash
	Checkpoints int // that are kept, and are of this tree
}

// pageSize is how many leaves, or checkpoints, are read at once.
const pageSize = 1024

// Check computes the tree of the log anew from its leaves, and compares all that is stored, served or signed of it. What does
// not fit is an [ErrInvalid].
func (v *View) Check(ctx context.Context) (*Checked, error) {
	head, err := v.Newest(ctx)
	if err != nil {
		return nil, err
	}
	c := &checking{View: v, ctx: ctx}
	if err := c.checkpoints(0); err != nil {
		return nil, err
	}
	for c.tree.Size() < head.Size {
		leaves, err := v.Store.LogLeaves(ctx, v.origin(), c.tree.Size(), int(min(pageSize, head.Size-c.tree.Size())))
		if err != nil {
			return nil, err
		}
		if len(leaves) == 0 {
			return nil, fmt.Errorf("%w: leaf %d of %d is gone", ErrInvalid, c.tree.Size(), head.Size)
		}
		for i := range leaves {
			if err := c.leaf(&leaves[i]); err != nil {
				return nil, err
			}
		}
	}
	if c.tree.Root() != head.Root() {
		return nil, fmt.Errorf("%w: the leaves make another root than the newest tree has", ErrInvalid)
	}
	newest, err := OpenCheckpoint(head.Checkpoint, v.Key)
	if err == nil {
		err = c.compare(newest)
	}
	return &Checked{v.origin(), head.Size, c.tree.Root(), c.checked}, err
}

// checking goes through a log from its first leaf on.
type checking struct {
	*View
	ctx     context.Context
	tree    lightchain.CompactRange
	next    []Kept // checkpoints of trees that are not computed yet
	checked int
}

// checkpoints fetches those from a size on, and checks the one of the tree as it is.
func (c *checking) checkpoints(from uint64) (err error) {
	if c.next, err = c.Store.LogCheckpoints(c.ctx, c.origin(), from, pageSize); err != nil {
		return err
	}
	return c.reached()
}

// reached compares the tree with the checkpoint of its size, if there is one.
func (c *checking) reached() error {
	if len(c.next) == 0 || c.next[0].Size != c.tree.Size() {
		return nil
	}
	said, err := OpenCheckpoint(c.next[0].Note, c.Key)
	if err != nil {
		return err
	}
	if err := c.compare(said); err != nil {
		return err
	}
	c.checked++
	if c.next = c.next[1:]; len(c.next) == 0 {
		return c.checkpoints(c.tree.Size() + 1)
	}
	return nil
}

func (c *checking) compare(said *Checkpoint) error {
	if said.Size != c.tree.Size() || said.Root != c.tree.Root() {
		return fmt.Errorf("%w: the checkpoint of %d leaves has another root than they make", ErrInvalid, said.Size)
	}
	return nil
}

func (c *checking) leaf(l *Leaf) error {
	header, err := lightchain.DecodeHeader(l.Header)
	if err != nil || header.Height != l.Height {
		return fmt.Errorf("%w: leaf %d is not header %d of chain %s", ErrInvalid, c.tree.Size(), l.Height, l.Chain)
	}
	err = nil
	c.tree.Append(l.Hash(), func(level int, index uint64, h lightchain.Hash) {
		if level == 0 || level%tileHeight != 0 || err != nil {
			return
		}
		var stored []lightchain.Hash
		if stored, err = c.Store.LogHashes(c.ctx, c.origin(), level/tileHeight, index, 1); err == nil && (len(stored) != 1 || stored[0] != h) {
			err = fmt.Errorf("%w: hash %d of the tiles of level %d is not that of the leaves below it", ErrInvalid, index, level/tileHeight)
		}
	})
	if err != nil {
		return err
	}
	return c.reached()
}
