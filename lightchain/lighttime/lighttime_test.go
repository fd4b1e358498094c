package lighttime_test

import (
	"fmt"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
)

func TestTimesOfTheEvidence(t *testing.T) {
	second := uint64(1_700_000_121)
	before, after := lighttime.Bracket(&lightchain.Report{NotAfter: &second})
	if want := time.Date(2023, 11, 14, 22, 15, 21, 0, time.UTC); !before.IsZero() || !after.Equal(want) || after.Location() != time.UTC {
		t.Errorf("%v to %v", before, after)
	}
	if at := lighttime.NotAfter(&lightchain.BundleReport{}); !at.IsZero() {
		t.Errorf("a bundle without a bound: %v", at)
	}
	for _, beyond := range []uint64{253402300800, 1<<64 - 1} {
		if at, ok := lighttime.Second(beyond); ok {
			t.Errorf("%d is %v", beyond, at)
		}
	}
	if at, ok := lighttime.Second(253402300799); !ok || at.Year() != 9999 {
		t.Errorf("the last second is %v", at)
	}
	if _, ok := lighttime.Measured(&lightchain.Reading{Time: 7}); ok {
		t.Error("a device that said nothing has a time")
	}
	if at, ok := lighttime.Measured(&lightchain.Reading{Time: -1, Timed: true}); !ok || at.UnixNano() != -1 {
		t.Errorf("%v", at)
	}
}

func ExampleBracket() {
	second := uint64(1_700_000_121)
	notBefore, notAfter := lighttime.Bracket(&lightchain.Report{NotAfter: &second})
	fmt.Println(notBefore.IsZero(), notAfter.Format(time.RFC3339))
	// Output: true 2023-11-14T22:15:21Z
}
