package salvage

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
)

func FuzzLog(f *testing.F) {
	var log bytes.Buffer
	w := record.NewWriter(&log)
	for i, size := range []int{0, 40, 300, 32 << 10, 7} { // one spans two blocks
		if _, err := w.WriteRecord(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(log.Bytes(), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, number uint32) {
		s := ReadLog(b, number, func([]byte) bool { return true })
		// What was kept is a log that is whole.
		if again := ReadLog(s.Encode(), number, nil); again.Bad != 0 || len(again.Records) != len(s.Records) {
			t.Fatalf("%d records come back as %d", len(s.Records), len(again.Records))
		}
	})
}
