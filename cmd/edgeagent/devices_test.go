package main

import (
	"testing"
	"time"
)

func TestAnAgeIsToldInItsTwoLargestUnits(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 999 * time.Millisecond, "59s": time.Minute - 1, "1m0s": time.Minute, "2h59m": 3*time.Hour - 1, "3d23h": 4*24*time.Hour - 1,
		"10d": 10*24*time.Hour + time.Hour, "5m0s ahead": -5 * time.Minute,
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v is told as %q, want %q", d, got, want)
		}
	}
}
