package main

import (
	"testing"

	"edgechain.example/agent/api"
)

// How far apart groups are is said from the first moment on, when nobody knows yet what is written in a day.
func TestStatusSaysHowFarApartGroupsAre(t *testing.T) {
	for want, c := range map[string]api.Card{
		"not known yet how much is written in a day; budget 100.0 MB":                                 {Budget: 1e8},
		"not known yet how much is written in a day; budget 100.0 MB, groups are up to 0.033 s apart": {Budget: 1e8, Wait: 0.0329},
		"150.0 MB a day are written, budget 100.0 MB, groups are up to 1 s apart":                     {Budget: 1e8, Rate: 1.5e8, Wait: 1},
	} {
		if got := cardText(&c)[0]; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
