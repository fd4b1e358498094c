package headlog

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"edgechain.example/lightchain"
)

// A tile is 2^tileHeight hashes, the width of a full one, or fewer at the end of a level.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileLevels = 8 // of trees that 64 bits count
)

// tile names one tile of hashes, or of entries, which are those of level 0.
type tile struct {
	level int
	index uint64
	width int // tileWidth: a full one
}

// path returns where the tile stands below tile/.
//
// SPEC: The number of a tile stands in groups of three digits, all but the last with an x before it; a tile that is not full has .p/ and its width behind it.
func (t tile) path(entries bool) string {
	path := fmt.Sprintf("%03d", t.index%1000)
	for n := t.index / 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/", n%1000) + path
	}
	if t.width < tileWidth {
		path += ".p/" + strconv.Itoa(t.width)
	}
	if entries {
		return "entries/" + path
	}
	return strconv.Itoa(t.level) + "/" + path
}

// parseTile reads what [tile.path] returned, and nothing else.
func parseTile(path string) (t tile, entries bool, ok bool) {
	level, rest, _ := strings.Cut(path, "/")
	if entries = level == "entries"; !entries {
		n, err := strconv.ParseUint(level, 10, 6)
		if err != nil || n >= tileLevels {
			return t, false, false
		}
		t.level = int(n)
	}
	number, width, partial := strings.Cut(rest, ".p/")
	t.width = tileWidth
	if partial {
		n, err := strconv.ParseUint(width, 10, tileHeight)
		if err != nil {
			return t, false, false
		}
		t.width = int(n)
	}
	index, err := strconv.ParseUint(strings.NewReplacer("x", "", "/", "").Replace(number), 10, 63)
	t.index = index
	return t, entries, err == nil && t.width > 0 && t.path(entries) == path
}

// hashesAt returns how many hashes stand at a level of tiles in a tree of that size.
func hashesAt(size uint64, level int) uint64 { return size >> (tileHeight * level) }

// in reports whether a tree of that size has all hashes of the tile.
func (t tile) in(size uint64) bool {
	whole := hashesAt(size, t.level)
	return t.index < (whole+tileWidth-1)/tileWidth && t.index*tileWidth+uint64(t.width) <= whole
}

// tileOf returns the tile in which a tree of that size has the hash with an index, as wide as it is there.
func tileOf(size uint64, level int, index uint64) tile {
	n := index / tileWidth
	return tile{level, n, int(min(tileWidth, hashesAt(size, level)-n*tileWidth))}
}

// tiles returns all tiles of a tree, those that are not full as wide as they are in it.
func tiles(size uint64) (all []tile) {
	for level := range tileLevels {
		for at := uint64(0); at < hashesAt(size, level); at += tileWidth {
			all = append(all, tileOf(size, level, at))
		}
	}
	return all
}

// readTile gets the hashes of a tile, from wherever they are.
type readTile func(ctx context.Context, t tile) ([]lightchain.Hash, error)

// nodes returns the nodes of the tree of a size, computed from its tiles. Each tile is read once.
func (read readTile) nodes(ctx context.Context, size uint64) lightchain.Nodes {
	known := map[tile][]lightchain.Hash{}
	return func(level int, index uint64) (lightchain.Hash, error) {
		up, within := level/tileHeight, level%tileHeight
		first := index << within
		t := tileOf(size, up, first)
		hashes, found := known[t]
		if !found {
			var err error
			if hashes, err = read(ctx, t); err != nil {
				return lightchain.Hash{}, err
			}
			known[t] = hashes
		}
		first %= tileWidth
		if first+1<<within > uint64(len(hashes)) {
			return lightchain.Hash{}, fmt.Errorf("%w: tile %s has %d hashes", ErrInvalid, t.path(false), len(hashes))
		}
		return rootOf(hashes[first : first+1<<within]), nil
	}
}

// rootOf returns the root of the tree over hashes.
func rootOf(hashes []lightchain.Hash) lightchain.Hash {
	var r lightchain.CompactRange
	for _, h := range hashes {
		r.Append(h, nil)
	}
	return r.Root()
}

// root returns the root of the tree of a size, from its tiles.
func (read readTile) root(ctx context.Context, size uint64) (lightchain.Hash, error) {
	tree, err := read.tree(ctx, size)
	return tree.Root(), err
}

// tree returns the tree of a size, from its tiles.
func (read readTile) tree(ctx context.Context, size uint64) (lightchain.CompactRange, error) {
	nodes := read.nodes(ctx, size)
	var edge []lightchain.Hash
	for level := bits.Len64(size) - 1; level >= 0; level-- {
		if size>>level&1 == 0 {
			continue
		}
		h, err := nodes(level, size>>(level+1)<<1)
		if err != nil {
			return lightchain.CompactRange{}, err
		}
		edge = append(edge, h)
	}
	return lightchain.NewCompactRange(size, edge)
}

// whole checks that every tile of the tree of a size is of the hashes in the tiles below it, from the leaves on.
func (read readTile) whole(ctx context.Context, size uint64) error {
	var below []lightchain.Hash // roots of the full tiles of the level before
	for level := range tileLevels {
		var roots []lightchain.Hash
		for at := uint64(0); at < hashesAt(size, level); at += tileWidth {
			t := tileOf(size, level, at)
			hashes, err := read(ctx, t)
			if err != nil {
				return err
			}
			if level > 0 && !slices.Equal(hashes, below[at:at+uint64(t.width)]) {
				return fmt.Errorf("%w: tile %s is not of the tiles below it", ErrInvalid, t.path(false))
			}
			if t.width == tileWidth {
				roots = append(roots, rootOf(hashes))
			}
		}
		below = roots
	}
	return nil
}

// continues checks that the tree of a later checkpoint begins with that of an earlier one.
func (read readTile) continues(ctx context.Context, earlier, later *Checkpoint) error {
	proof, err := lightchain.ProveConsistency(read.nodes(ctx, later.Size), earlier.Size, later.Size)
	if err != nil {
		return err
	}
	if err := lightchain.VerifyConsistency(earlier.Size, later.Size, earlier.Root, later.Root, proof); err != nil {
		return fmt.Errorf("%w: the tree of %d leaves does not begin with that of %d leaves that the log has signed as well: two histories", ErrInvalid, later.Size, earlier.Size)
	}
	return nil
}
