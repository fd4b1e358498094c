package store

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whoever reads a database that has lost its end is told so of each entry and block beyond it, and not that they are to be
// sealed yet. Block 6 is the newest, of entries 15 to 17, and 18 and 19 are staged above.
func TestAReaderTellsThatTheChainsEndIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		lost   [][]byte
		of     map[uint64]error
		says   map[uint64]string
		blocks map[uint64]error
	}{
		"headers": {
			[][]byte{headerKey(4), headerKey(5), headerKey(6)},
			map[uint64]error{8: nil, 9: ErrNotHeld, 17: ErrNotHeld, 18: ErrNotFound, 99: ErrNotFound},
			map[uint64]string{17: "header 6 has left", 18: "is not known", 99: "is not known"},
			map[uint64]error{3: nil, 4: ErrNotHeld, 6: ErrNotHeld, 7: ErrNotFound},
		},
		"nothing": {
			nil,
			map[uint64]error{17: nil, 18: ErrNotSealed, 20: ErrNotFound}, nil,
			map[uint64]error{6: nil, 7: ErrNotFound},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			o := testOptions(t, fs)
			s := marked(t, o, 6)
			closeStore(t, s)
			if c.lost != nil {
				drop(t, o, c.lost...)
			}
			r, err := OpenReader("chain", o)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for number, want := range c.of {
				if _, err := r.Prove(number, 0); !errors.Is(err, want) || want == nil && err != nil {
					t.Errorf("entry %d: %v, want %v", number, err, want)
				} else if c.lost != nil && want != nil && (errors.Is(err, ErrNotSealed) || !strings.Contains(err.Error(), c.says[number]) || !strings.Contains(err.Error(), "take a newer one")) {
					t.Errorf("entry %d: %v", number, err)
				}
			}
			for height, want := range c.blocks {
				if err := r.Bundle(t.Context(), io.Discard, height, height, 0, nil); !errors.Is(err, want) || want == nil && err != nil {
					t.Errorf("block %d: %v, want %v", height, err, want)
				} else if c.lost != nil && want != nil && !strings.Contains(err.Error(), "header 6 has left") {
					t.Errorf("block %d: %v", height, err)
				}
			}
		})
	}
}
