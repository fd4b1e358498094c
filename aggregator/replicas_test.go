package aggregator_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/aggregator"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
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
	ended, end := context.WithCancel(t.Context())
	end()
	one.Run(ended)
	if documents, err := s.Documents(t.Context(), "replica"); err != nil || documents["one"] == nil {
		t.Errorf("who leaves takes the beat of who came after it: %v, %v", documents, err)
	}
	again.Run(ended)
	if documents, err := s.Documents(t.Context(), "replica"); err != nil || documents["one"] != nil {
		t.Errorf("who leaves stays alive: %v, %v", documents, err)
	}
}

func TestHeadsThatWerePassedOnAreKeptForAMomentAndWithinBounds(t *testing.T) {
	var p aggregator.PassedHeads
	now := time.Now()
	mine := func(lightchain.ChainID) bool { return true }
	chain := func(n int) (c lightchain.ChainID) {
		binary.BigEndian.PutUint64(c[:], uint64(n))
		return c
	}
	p.Keep(now, chain(1), headersync.Message{Payload: []byte("old")})
	p.Keep(now, chain(2), headersync.Message{Payload: []byte("other")})
	p.Keep(now.Add(11*time.Second), chain(1), headersync.Message{Payload: []byte("new")})
	if heads := p.Take(now.Add(12*time.Second), func(c lightchain.ChainID) bool { return c == chain(1) }); len(heads) != 1 || string(heads[0].Payload) != "new" {
		t.Errorf("taken over: %v", heads)
	}
	if heads := p.Take(now.Add(13*time.Second), mine); len(heads) != 1 || string(heads[0].Payload) != "other" {
		t.Errorf("taken over after that: %v", heads)
	}
	p.Keep(now.Add(13*time.Second), chain(3), headersync.Message{Payload: make([]byte, 100<<10)})
	if heads := p.Take(now.Add(13*time.Second), mine); len(heads) != 0 {
		t.Error("a message too long for a head is kept")
	}
	for i := range 1 << 17 {
		p.Keep(now.Add(13*time.Second), chain(i), headersync.Message{Payload: []byte("a stranger's")})
	}
	if heads := p.Take(now.Add(14*time.Second), mine); len(heads) == 0 || len(heads) > 1<<15 {
		t.Errorf("%d heads are kept", len(heads))
	}
	p.Keep(now.Add(14*time.Second), chain(1), headersync.Message{Payload: []byte("old")})
	if heads := p.Take(now.Add(40*time.Second), mine); len(heads) != 0 {
		t.Errorf("taken over long after: %v", heads)
	}
}
