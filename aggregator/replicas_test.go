package aggregator_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain/aggregator"
	"edgechain/lightchain"
)

func testChains(n int) (chains []lightchain.ChainID) {
	for i := range n {
		chains = append(chains, sha256.Sum256([]byte(fmt.Sprint("chain ", i))))
	}
	return chains
}

func TestEachChainFallsToOneReplicaAndOnlyThoseOfOneThatGoesMove(t *testing.T) {
	all, fewer := []string{"one", "three", "two"}, []string{"one", "two"}
	shares := map[string]int{}
	for _, c := range testChains(3000) {
		before, after := aggregator.Highest(all, c), aggregator.Highest(fewer, c)
		shares[before]++
		if before != "three" && after != before {
			t.Fatalf("chain %s moves from %s to %s although only three went", c, before, after)
		}
	}
	for _, name := range all {
		if shares[name] < 800 || shares[name] > 1200 {
			t.Errorf("of 3,000 chains %d fall to %s", shares[name], name)
		}
	}
}

func replicasNotice(t *testing.T, s opened) {
	one, two := aggregator.NewReplicas(s, "one", 1), aggregator.NewReplicas(s, "two", 2)
	now := time.Now()
	beat := func(r aggregator.Replicas, count uint64, at time.Duration) {
		t.Helper()
		if err := r.Beat(t.Context(), count, now.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	alive := func(r aggregator.Replicas, want ...string) {
		t.Helper()
		if got := r.Alive(); !slices.Equal(got, want) {
			t.Errorf("alive are %v, want %v", got, want)
		}
	}
	alive(one, "one")
	beat(one, 1, 0)
	beat(two, 1, 30*time.Hour) // its clock is elsewhere
	alive(two, "one", "two")
	beat(one, 2, time.Second)
	alive(one, "one", "two")
	for i := range 6 {
		beat(one, uint64(3+i), time.Duration(2+i)*time.Second)
	}
	alive(one, "one") // the other's count stood still
	beat(two, 2, 30*time.Hour+time.Second)
	beat(one, 9, 8*time.Second)
	alive(one, "one", "two")
	chains := testChains(100)
	for _, c := range chains {
		if one.Mine(c) == two.Mine(c) {
			t.Errorf("chain %s falls to both or to none", c)
		}
	}
	again := aggregator.NewReplicas(s, "one", 9)
	beat(again, 1, 8*time.Second)
	if err := one.Beat(t.Context(), 10, now.Add(9*time.Second)); err == nil || !strings.Contains(err.Error(), "another process runs as replica") {
		t.Errorf("two of one name: %v", err)
	}
}
