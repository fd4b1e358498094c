package sensors

import (
	"iter"
	"math"

	"edgechain.example/lightchain"
)

// samples reads the array whose bracket is next once more, when it would bring the message above its limit: one of numbers
// becomes five readings that are computed; any other, where summing up others was not enough, one without a value. The numbers
// themselves are in the payload.
func (w *walk) samples() error {
	at, depth, keys := w.i, w.depth, len(w.keys)
	var sum Samples
	numbers, err := w.sum(&sum)
	if err != nil {
		return err
	}
	if !numbers && !w.summing {
		return errTooMany
	}
	if !numbers {
		w.i, w.depth = at, depth
		w.forget(keys)
		if err := w.skip(); err != nil {
			return err
		}
		return w.sample("", lightchain.Reading{Quality: lightchain.Bad})
	}
	for behind, r := range sum.Readings() {
		if err := w.sample(behind, r); err != nil {
			return err
		}
	}
	return nil
}

// fewSamples is how many numbers an array may have that is not summed up where it is not that array alone which brings the message
// above its limit.
const fewSamples = 64

// manySamples sums up the array whose bracket is next if it holds numbers alone, and more than fewSamples; done is false, and
// nothing read, if not.
func (w *walk) manySamples() (done bool, err error) {
	at, depth, keys := w.i, w.depth, len(w.keys)
	var sum Samples
	numbers, err := w.sum(&sum)
	w.i, w.depth = at, depth
	w.forget(keys)
	if err != nil || !numbers || sum.Count <= fewSamples {
		return false, nil
	}
	return true, w.samples()
}

// sample makes a reading that is named as the array is, with something behind.
func (w *walk) sample(behind string, r lightchain.Reading) error {
	if err := w.count(); err != nil {
		return err
	}
	w.sampled = true
	defer func() { w.sampled = false }()
	mark := len(w.path)
	if mark == 0 {
		w.path = append(w.path, w.in.place.name...)
	}
	w.path = append(w.path, behind...)
	err := w.take("", "", r, false)
	w.path = w.path[:mark]
	return err
}

// Samples is what is computed of an array of numbers: mean and root mean square in 64-bit floats, in the order in which the
// numbers stand.
type Samples struct {
	Count        int
	min, max     lightchain.Value
	sum, squares float64
}

// Add takes one more number; what is none is left out.
func (s *Samples) Add(v lightchain.Value) {
	f, is := v.Float()
	if !is {
		return
	}
	least, _ := s.min.Float()
	most, _ := s.max.Float()
	if s.Count == 0 || f < least {
		s.min = v
	}
	if s.Count == 0 || f > most {
		s.max = v
	}
	s.Count++
	s.sum += f
	s.squares += float64(f * f) // rounded on every processor: some would multiply and add in one step
}

// Readings returns the five that stand for the numbers, with what stands behind the array's name in theirs. There is one number
// at least.
func (s *Samples) Readings() iter.Seq2[string, lightchain.Reading] {
	return func(yield func(string, lightchain.Reading) bool) {
		n := float64(s.Count)
		for _, each := range [...]struct {
			behind string
			value  lightchain.Value
		}{
			{"/count", lightchain.Int(int64(s.Count))}, {"/min", s.min}, {"/max", s.max},
			{"/mean", lightchain.Float(s.sum / n)}, {"/rms", lightchain.Float(math.Sqrt(s.squares / n))},
		} {
			r := lightchain.Reading{Value: each.value, Derived: true}
			if f, ok := each.value.Float(); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
				r = lightchain.Reading{Quality: lightchain.Bad} // the sum is beyond a float, no number is
			}
			if !yield(each.behind, r) {
				return
			}
		}
	}
}

// sum reads an array, and reports whether it holds numbers alone.
func (w *walk) sum(sum *Samples) (bool, error) {
	if err := w.open(); err != nil {
		return false, err
	}
	for n := 0; ; n++ {
		ok, err := w.element(n)
		if err != nil || !ok {
			return true, err
		}
		if c := w.peek(); c != '-' && !isDigit(c) {
			return false, nil
		}
		w.spoilt = false
		v, _, err := w.scalar()
		if err != nil {
			return false, err
		}
		if k := v.Kind(); w.spoilt || k != lightchain.KindInt && k != lightchain.KindFloat {
			return false, nil
		}
		sum.Add(v)
	}
}
