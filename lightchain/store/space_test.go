package store

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// On a disk without room for more than the reserve a chain is not recorded for long, and somebody is to know.
func TestASmallDiskIsTold(t *testing.T) {
	for _, c := range []struct {
		total, reserve, memtable uint64
		percent                  int
		small                    bool
	}{
		{40 << 20, 64 << 20, 1 << 20, 0, true},
		{79 << 20, 64 << 20, 1 << 20, 0, true},
		{80 << 20, 64 << 20, 1 << 20, 0, false},
		{8 << 20, 4 << 20, 256 << 10, 0, false},
		{7 << 20, 4 << 20, 256 << 10, 0, true},
		{100 << 20, 4 << 20, 1 << 20, 90, true},
	} {
		o := testOptions(t, vfs.NewMem())
		o.Reserve, o.ReservePercent, o.MemTableSize, o.CacheSize = int64(c.reserve), c.percent, c.memtable, 8<<20
		o.DiskUsage = func() (free, total uint64, err error) { return 1 << 20, c.total, nil }
		if why := SmallDisk("chain", o); (why != "") != c.small || c.small && !strings.Contains(why, "store.reserve") {
			t.Errorf("%+v: %q", c, why)
		}
	}
}
