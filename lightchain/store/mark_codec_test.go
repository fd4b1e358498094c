package store

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// newerMark returns a mark as a newer program would write it.
func newerMark(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(markMagic)] = markVersion + 1
	size := markPrefix + int(b[len(markMagic)+3])<<8 + int(b[len(markMagic)+4])
	sum := sha256.Sum256(b[:size])
	copy(b[size:], sum[:])
	return b
}

func seedMarks(f *testing.F) (marks, keys [][]byte) {
	fs := vfs.NewMem()
	s := marked(f, testOptions(f, fs), 3, 2)
	for _, blocks := range []int{0, 1, 300} {
		grow(f, s, blocks)
		b, err := s.mark.append(nil)
		if err != nil {
			f.Fatal(err)
		}
		marks = append(marks, b)
	}
	b, err := salvage.ReadFile(fs, "chain/"+keysName)
	if err != nil {
		f.Fatal(err)
	}
	return marks, [][]byte{b}
}

// sealed adds the checksum that a decoder asks for first, so that what is behind it is tried, too.
func sealed(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b[:len(b):len(b)], sum[:]...)
}

func FuzzDecodeMark(f *testing.F) {
	marks, _ := seedMarks(f)
	for _, b := range marks {
		f.Add(b[markPrefix : len(b)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte(markMagic), markVersion, byte(len(body)>>24), byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
		b = sealed(append(b, body...))
		m, err := decodeMark(append(b, 1, 2, 3)) // a slot holds an older, longer one behind it
		if err != nil {
			return
		}
		again, err := m.append(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x: %v", b, again, err)
		}
		if len(again) > slotSize {
			t.Fatalf("a mark of %d bytes", len(again))
		}
	})
}

func FuzzDecodeKeys(f *testing.F) {
	_, keys := seedMarks(f)
	for _, b := range keys {
		f.Add(b[:len(b)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := sealed(body)
		headers, err := decodeKeys(b)
		if err != nil {
			return
		}
		if again := appendKeys(nil, headers); !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x", b, again)
		}
	})
}

// Each byte of a mark is under its checksum, and each place at which it may be cut off is noticed.
func TestNoByteOfAMarkIsFreeToChange(t *testing.T) {
	s := marked(t, testOptions(t, vfs.NewMem()), 3, 2)
	b, err := s.mark.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for _, changed := range [][]byte{b[:i], append(append(bytes.Clone(b[:i]), b[i]^1), b[i+1:]...)} {
			if _, err := decodeMark(changed); err == nil {
				t.Fatalf("byte %d", i)
			}
		}
	}
}
