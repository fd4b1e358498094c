package main

import (
	"testing"

	"edgechain.example/lightchain"
)

// What a configuration can leave out of a payload is no difference; a value that is not in it is.
func TestValuesAreAmongThoseOfThePayload(t *testing.T) {
	values := func(all ...int64) (readings []lightchain.Reading) {
		for _, v := range all {
			readings = append(readings, lightchain.Reading{Value: lightchain.Int(v)})
		}
		return readings
	}
	for _, c := range []struct {
		some []int64
		want bool
	}{{[]int64{1, 2, 3}, true}, {[]int64{2, 3}, true}, {[]int64{1, 3}, true}, {[]int64{3, 2}, false}, {[]int64{1, 4}, false}, {[]int64{1, 1}, false}, {[]int64{1, 2, 3, 3}, false}} {
		if got := among(values(c.some...), values(1, 2, 3)); got != c.want {
			t.Errorf("%v among 1, 2, 3: %t", c.some, got)
		}
	}
}
