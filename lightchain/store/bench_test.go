package store

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func diskOptions(b *testing.B) (Options, string) {
	o := testOptions(b, vfs.Default)
	o.AllowVolatile = true
	return o, b.TempDir()
}

// BenchmarkStage stages and seals readings durably on a real disk, one group being prepared while another syncs.
func BenchmarkStage(b *testing.B) {
	entries := machineTemperature(10000)
	for _, group := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("groups=%d", group), func(b *testing.B) {
			o, dir := diskOptions(b)
			if _, err := Create(dir, o, Genesis{}); err != nil {
				b.Fatal(err)
			}
			s, err := Open(dir, o)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				from := n * group % (len(entries) - group + 1)
				if group > s.Room() {
					seal(b, s)
				}
				g, err := s.Stage(entries[from : from+group])
				if err != nil {
					b.Fatal(err)
				}
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*group), "ns/reading")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkVerify checks a chain of blocks of 4096 readings that were staged in groups of 1000.
func BenchmarkVerify(b *testing.B) {
	for _, group := range []int{1, 1000} {
		b.Run(fmt.Sprintf("groups=%d", group), func(b *testing.B) {
			s := newStore(b, testOptions(b, vfs.NewMem()))
			const n = 200000
			recordAll(b, s, machineTemperature(n), group)
			compact(b, s)
			for b.Loop() {
				if sum := verify(b, &s.Reader); sum.Entries != n {
					b.Fatalf("%+v", sum)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "readings/s")
		})
	}
}

// BenchmarkProve proves readings all over a chain.
func BenchmarkProve(b *testing.B) {
	s := newStore(b, testOptions(b, vfs.NewMem()))
	const n = 200000
	recordAll(b, s, machineTemperature(n), 1000)
	compact(b, s)
	i := uint64(0)
	for b.Loop() {
		i = (i + 77777) % n
		if _, err := s.Prove(i, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSeal seals empty blocks durably on a real disk; and writes as many head marks alone, which is what of
// that they take.
func BenchmarkSeal(b *testing.B) {
	open := func(b *testing.B) *Store {
		o, dir := diskOptions(b)
		if _, err := Create(dir, o, Genesis{}); err != nil {
			b.Fatal(err)
		}
		s, err := Open(dir, o)
		if err != nil {
			b.Fatal(err)
		}
		for range windowSize { // until then a mark is smaller
			seal(b, s)
		}
		b.ReportAllocs()
		return s
	}
	b.Run("whole", func(b *testing.B) {
		s := open(b)
		for i := 0; b.Loop(); i++ {
			seal(b, s)
		}
		closeStore(b, s)
	})
	b.Run("mark", func(b *testing.B) {
		s := open(b)
		h, err := s.Header(s.Tip().Height)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			m := s.mark.after(h)
			if err := s.slots.write(&m); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(s.slots.buffer)), "bytes/mark")
		closeStore(b, s)
	})
}
