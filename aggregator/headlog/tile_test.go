package headlog

import (
	"testing"
)

// The example of tlog-tiles: a tree of 70,000 leaves has 273 full tiles of level 0, one of 112, one full of level 1, one of 17, and
// one of 1 on level 2; one of 256 has a full tile and one of 1 above it.
func TestATreeHasTheTilesThatItsSizeSays(t *testing.T) {
	count := func(size uint64) map[tile]int {
		found := map[tile]int{}
		for _, one := range tiles(size) {
			if !one.in(size) {
				t.Errorf("tile %+v is not in the tree of %d leaves that it is of", one, size)
			}
			found[tile{level: one.level, width: one.width}]++
		}
		return found
	}
	for size, want := range map[uint64]map[tile]int{
		0:     {},
		1:     {{level: 0, width: 1}: 1},
		255:   {{level: 0, width: 255}: 1},
		256:   {{level: 0, width: 256}: 1, {level: 1, width: 1}: 1},
		257:   {{level: 0, width: 256}: 1, {level: 0, width: 1}: 1, {level: 1, width: 1}: 1},
		70000: {{level: 0, width: 256}: 273, {level: 0, width: 112}: 1, {level: 1, width: 256}: 1, {level: 1, width: 17}: 1, {level: 2, width: 1}: 1},
	} {
		found := count(size)
		for one, n := range want {
			if found[one] != n {
				t.Errorf("a tree of %d leaves has %d tiles of width %d on level %d, want %d", size, found[one], one.width, one.level, n)
			}
		}
		if len(found) != len(want) {
			t.Errorf("a tree of %d leaves has %v", size, found)
		}
	}
}

// A path has one form; whatever else somebody asks for is no tile.
func TestATileHasOnePath(t *testing.T) {
	for path, want := range map[string]tile{
		"0/000":            {0, 0, 256},
		"1/x001/x234/067":  {1, 1234067, 256},
		"0/x001/000":       {0, 1000, 256},
		"7/999.p/255":      {7, 999, 255},
		"entries/000.p/1":  {0, 0, 1},
		"entries/x001/234": {0, 1234, 256},
	} {
		got, entries, ok := parseTile(path)
		if !ok || got != want || got.path(entries) != path {
			t.Errorf("%s reads as %+v, %t, and is written %s", path, got, ok, got.path(entries))
		}
	}
	for _, path := range []string{
		"", "0", "0/", "0/0", "0/00", "00/000", "8/000", "64/000", "-1/000", "0/x000/000", "0/001/234", "0/x001/x234", "0/000.p/0", "0/000.p/256",
		"0/000.p/01", "0/000.p/", "0/000.p/1/", "0/000/", "0//000", "0/x00/1000", "0/+01", "entries", "entries/", "leaves/000", "0/x018446744/x073709551/616",
	} {
		if got, _, ok := parseTile(path); ok {
			t.Errorf("%q reads as %+v", path, got)
		}
	}
}
