package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// machineTemperature returns n readings as a temperature sensor on a large machine sends them every five minutes: a
// slow random walk with ten significant digits, in a JSON message of about 80 bytes.
func machineTemperature(n int) []lightchain.Entry {
	rng := rand.New(rand.NewPCG(3, 4))
	at := time.Date(2013, 12, 2, 21, 15, 0, 0, time.UTC)
	received := int64(1700000000e9)
	value := 73.96732207
	entries := make([]lightchain.Entry, n)
	for i := range entries {
		text := strconv.FormatFloat(value, 'f', 8, 64)
		value, _ = strconv.ParseFloat(text, 64)
		entries[i] = lightchain.Entry{
			Received: received,
			Source:   "mqtt:hall:plant/machine-7/temperature",
			Payload:  fmt.Appendf(nil, `{"time":"%s","temperature":%s,"unit":"[degF]"}`, at.Format(time.RFC3339), text),
			Readings: []lightchain.Reading{{
				Device: "machine-7", Name: "temperature", Unit: "[degF]", Value: lightchain.Float(value), Time: at.UnixNano(), Timed: true,
			}},
		}
		at = at.Add(5 * time.Minute)
		received += int64(rng.ExpFloat64() * 20e6)
		value = math.Max(2, value+rng.NormFloat64())
	}
	return entries
}

// recordAll stages the entries in groups and seals a block whenever the next group does not fit.
func recordAll(t testing.TB, s *Store, entries []lightchain.Entry, group int) {
	var last *Staged
	for len(entries) > 0 {
		n := min(group, len(entries))
		if n > s.Room() {
			seal(t, s)
		}
		g, err := s.Stage(entries[:n])
		if err != nil {
			t.Fatal(err)
		}
		if last != nil {
			if err := last.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		last, entries = g, entries[n:]
	}
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
}

// compact brings all that is stored to where it stays, and returns the bytes of the tables.
func compact(t testing.TB, s *Store) uint64 {
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	total := s.db.Metrics().Total()
	return uint64(total.TablesSize)
}

func TestAReadingCostsFewBytesOnDisk(t *testing.T) {
	const n = 20000
	entries := machineTemperature(n)
	for _, c := range []struct {
		group int
		most  float64
	}{{1, 50}, {10, 50}, {25, 50}, {100, 50}, {1000, 42}} {
		o := testOptions(t, vfs.NewMem())
		s := newStore(t, o)
		recordAll(t, s, entries, c.group)
		before := s.Stats()
		each := float64(compact(t, s)) / n
		t.Logf("groups of %4d: %.1f bytes on disk a reading; written: log %.1f, tables %.1f", c.group, each, float64(before.WALBytes)/n, float64(before.TableBytes)/n)
		if each > c.most {
			t.Errorf("groups of %d cost %.1f bytes a reading, more than %v", c.group, each, c.most)
		}
		verify(t, &s.Reader)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
