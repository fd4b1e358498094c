package main

import (
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
)

// 1 bar is more than 900 of a unit that is a thousandth of it.
func TestTheLargestOfNumbersWithDifferentUnitsIsRefused(t *testing.T) {
	series := []api.Series{
		{Unit: "bar", Count: 1, Max: &api.Point{Number: 3, Time: time.Unix(3, 0)}, Last: &api.Point{Number: 3, Time: time.Unix(3, 0)}},
		{Unit: "mbar", Count: 2, Bad: 1, Max: &api.Point{Number: 2, Time: time.Unix(2, 0)}, Last: &api.Point{Number: 2, Time: time.Unix(2, 0)}},
	}
	largest := extreme{kind: &kinds[0], Of: "max"}
	if p, err := largest.among(series); err == nil || !strings.Contains(err.Error(), `"bar" and "mbar"`) {
		t.Errorf("%+v, %v", p, err)
	}
	last := extreme{kind: &kinds[2], Of: "last"}
	if p, err := last.among(series); err != nil || p.Number != 3 || last.Count != 2 || last.Bad != 1 {
		t.Errorf("%+v, %v of %+v: which was the last does not depend on units", p, err, last)
	}
}
