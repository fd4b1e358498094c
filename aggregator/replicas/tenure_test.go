package replicas_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/aggregator/replicas"
	"edgechain.example/lightchain"
)

func testChains(n int) (chains []lightchain.ChainID) {
	for i := range n {
		chains = append(chains, sha256.Sum256([]byte(fmt.Sprint("chain ", i))))
	}
	return chains
}

func TestEachChainFallsToOneReplicaAndOnlyThoseOfOneThatComesOrGoesMove(t *testing.T) {
	all, fewer := []string{"one", "three", "two"}, []string{"one", "two"}
	shares := map[string]int{}
	for _, c := range testChains(3000) {
		before, after := replicas.Owner(all, c), replicas.Owner(fewer, c)
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

// leases is a database as the beats see it, and replicas with clocks of their own, in virtual time.
type leases struct {
	t        *testing.T
	now      time.Duration // that has passed
	clock    time.Duration // of the database, beside that
	rows     map[string]replicas.Beating
	replicas []*leaser
	seed     uint64
}

// leaser is a process that beats.
type leaser struct {
	name   string
	tenure replicas.Tenure
	skew   time.Duration // of its clock
	links  int
	dead   bool
	due    time.Duration // of the next beat
	call   *leaseCall
}

// leaseCall is a beat under way.
type leaseCall struct {
	beat                      *replicas.Beat
	sent, read, commit, heard time.Duration // when it happens; heard after the call's time is never
	answer                    *replicas.Beaten
}

func newLeases(t *testing.T) *leases {
	return &leases{t: t, rows: map[string]replicas.Beating{}}
}

func (w *leases) at(skew time.Duration) time.Time {
	return time.Unix(1_790_000_000, 0).Add(w.now + skew)
}

func (w *leases) start(name string, skew time.Duration) *leaser {
	r := &leaser{name: name, tenure: replicas.NewTenure(name, fmt.Sprint(name, " since ", w.now)), skew: skew, links: 1, due: w.now}
	w.replicas = append(w.replicas, r)
	return r
}

// put does what the statement does, with the database's time when it began.
func (w *leases) put(b *replicas.Beat, micros int64) {
	row, there := w.rows[b.Replica]
	old := micros-row.At > b.Lease.Microseconds()
	if there && row.Run != b.Run && !old && (row.Run != b.Over || row.Number != b.OverNumber) || there && row.Run == b.Run && row.Number >= b.Number {
		return
	}
	switch {
	case !there || row.Run != b.Run || old:
		row.Since = micros
	case b.Join:
		row.Since = micros - b.Ago.Microseconds()
	}
	row.Replica, row.Run, row.Number, row.Links, row.Aside, row.At = b.Replica, b.Run, b.Number, b.Links, b.Aside, micros
	w.rows[b.Replica] = row
}

func (w *leases) micros() int64 { return w.at(w.clock).UnixMicro() }

func (w *leases) get() *replicas.Beaten {
	a := &replicas.Beaten{Clock: w.micros()}
	for _, r := range w.rows {
		r.Joined, r.Age = time.Duration(a.Clock-r.Since)*time.Microsecond, time.Duration(a.Clock-r.At)*time.Microsecond
		a.Beats = append(a.Beats, r)
	}
	return a
}

// pass has time pass in steps; delay says how long the parts of a beat take.
func (w *leases) pass(d time.Duration, delay func() (read, commit, heard time.Duration)) {
	const step = 50 * time.Millisecond
	for until := w.now + d; w.now < until; w.now += step {
		for _, r := range w.replicas {
			if c := r.call; c != nil {
				if c.answer == nil && w.now >= c.commit {
					w.put(c.beat, w.at(w.clock).Add(c.read-w.now).UnixMicro())
					c.answer = w.get()
				}
				late := c.heard > c.sent+replicas.LeaseCall
				switch {
				case c.answer == nil && !(late && w.now >= c.sent+replicas.LeaseCall):
				case late && w.now >= c.sent+replicas.LeaseCall: // given up; what was sent may be done later even so
					if c.answer == nil && !r.dead {
						orphan := *c
						w.replicas = append(w.replicas, &leaser{dead: true, call: &orphan})
					}
					r.call, r.due = nil, max(w.now, c.sent+replicas.LeaseEvery)
				case w.now >= c.heard:
					if r.call, r.due = nil, c.sent+replicas.LeaseEvery; !r.dead {
						r.tenure.Learn(w.at(r.skew).Add(c.sent-w.now), w.at(r.skew), c.beat, c.answer)
					}
				}
			}
			if r.call == nil && !r.dead && w.now >= r.due {
				read, commit, heard := delay()
				for _, o := range w.replicas { // whoever changes the row first has it locked
					if o.call != nil && o.call.answer == nil && o.call.beat.Replica == r.name && o.call.commit > w.now+commit && o.call.commit < o.call.sent+time.Hour {
						late := o.call.commit - w.now - commit
						commit, heard = commit+late, heard+late
					}
				}
				r.call = &leaseCall{beat: r.tenure.Next(w.at(r.skew), r.links), sent: w.now, read: w.now + read, commit: w.now + commit, heard: w.now + heard}
			}
		}
		if w.now%(4*step) == 0 {
			w.check()
		}
	}
}

// check claims that no chain has two owners.
func (w *leases) check() {
	w.t.Helper()
	for _, c := range leasedChains {
		var owners []string
		for _, r := range w.replicas {
			if !r.dead && r.tenure.Owns(w.at(r.skew), c) {
				owners = append(owners, r.name)
			}
		}
		if len(owners) > 1 {
			for _, r := range w.replicas {
				w.t.Logf("%s dead %t skew %s links %d: %s call %+v", r.name, r.dead, r.skew, r.links, r.tenure, r.call)
			}
			w.t.Logf("now %d rows %+v", w.micros(), w.rows)
			w.t.Fatalf("seed %d: after %s chain %s is owned by %v", w.seed, w.now, c, owners)
		}
	}
}

// owned returns how many of the chains somebody owns.
func (w *leases) owned(by ...*leaser) (n int) {
	for _, c := range leasedChains {
		if slices.ContainsFunc(by, func(r *leaser) bool { return !r.dead && r.tenure.Owns(w.at(r.skew), c) }) {
			n++
		}
	}
	return n
}

var leasedChains = testChains(12)

func quickly() (read, commit, heard time.Duration) {
	return 0, 50 * time.Millisecond, 100 * time.Millisecond
}

func TestLeases(t *testing.T) {
	all := len(leasedChains)
	join := replicas.Lease + replicas.LeaseCall + replicas.LeaseEvery
	w := newLeases(t)
	one := w.start("one", 0)
	w.pass(3*time.Second, quickly)
	if n := w.owned(one); n != all {
		t.Fatalf("one that is alone owns %d of %d", n, all)
	}
	two := w.start("two", 40*time.Second) // its clock is elsewhere
	w.pass(replicas.Lease, quickly)
	if n := w.owned(two); n != 0 {
		t.Errorf("who has just joined owns %d", n)
	}
	w.pass(join-replicas.Lease, quickly)
	mine, other := w.owned(one), w.owned(two)
	if mine+other != all || mine == 0 || other == 0 {
		t.Errorf("two own %d and %d of %d", mine, other, all)
	}
	two.dead = true
	w.pass(replicas.Lease-2*time.Second, quickly)
	if n := w.owned(one); n != mine {
		t.Errorf("of one that may live others own %d, before %d", n, mine)
	}
	w.pass(2*replicas.LeaseEvery+2*time.Second, quickly)
	if n := w.owned(one); n != all {
		t.Errorf("a dead one's chains are not taken over: %d of %d", n, all)
	}
	again := w.start("two", -time.Hour)
	w.pass(join, quickly)
	if n := w.owned(again); n != other {
		t.Errorf("who comes again owns %d, before %d", n, other)
	}
	rival := w.start("two", 0)
	w.pass(2*join, quickly)
	if n := w.owned(rival); n != 0 || !strings.Contains(rival.tenure.Why(), "another process runs") || w.owned(again) != other {
		t.Errorf("a second process of a name owns %d, the first %d: %s", n, w.owned(again), rival.tenure.Why())
	}
	again.dead = true
	w.pass(replicas.Lease+join+2*replicas.LeaseEvery, quickly)
	if n := w.owned(rival); n != other {
		t.Errorf("it owns %d when the first is dead, not %d", n, other)
	}
	// The database's clock is set back, and one dies.
	w.clock = -24 * time.Hour
	w.pass(5*time.Second, quickly)
	rival.dead = true
	w.pass(2*replicas.Lease, quickly)
	if n := w.owned(one); n != all {
		t.Errorf("after the database's clock was set back one that died keeps %d of %d", all-n, all)
	}
	third := w.start("three", 0)
	w.pass(join, quickly)
	if w.owned(third) == 0 || w.owned(one)+w.owned(third) != all {
		t.Errorf("three and one own %d and %d of %d", w.owned(third), w.owned(one), all)
	}
	// One that lost its broker leaves its chains to one that has it, and takes them again.
	third.links = 0
	w.pass(12*time.Second+2*replicas.LeaseEvery, quickly)
	if n := w.owned(one); n != all || !strings.Contains(third.tenure.Why(), "connected to more brokers") {
		t.Errorf("one without a broker keeps %d of %d: %s", all-n, all, third.tenure.Why())
	}
	one.links = 0 // now nobody is better
	w.pass(join+2*replicas.LeaseEvery, quickly)
	if w.owned(third) == 0 || w.owned(one)+w.owned(third) != all {
		t.Errorf("without brokers they own %d and %d of %d", w.owned(third), w.owned(one), all)
	}
	// The database is away for a while.
	w.pass(time.Minute, func() (read, commit, heard time.Duration) { return 0, time.Hour, time.Hour })
	if n := w.owned(w.replicas...); n != 0 {
		t.Errorf("without a database %d are owned", n)
	}
	w.pass(2*join+time.Minute, quickly)
	if n := w.owned(w.replicas...); n != all {
		t.Errorf("when it is back %d of %d are owned", n, all)
	}
}

// Whatever beats and processes do, nothing has two owners; and when they are calm again everything has one.
func TestNoChainHasTwoOwnersWhateverHappens(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newLeases(t)
		w.seed = seed
		w.clock = time.Duration(rng.Int64N(int64(time.Hour))) - 30*time.Minute
		bad := 0.0
		part := func(most time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(most))) }
		delay := func() (read, commit, heard time.Duration) {
			if rng.Float64() < bad {
				read = part(8 * time.Second)
				commit = read + part(8*time.Second)
				return read, commit, commit + part(4*time.Second)
			}
			return quickly()
		}
		for range 40 {
			name := string(rune('a' + rng.IntN(3)))
			switch rng.IntN(8) {
			case 0, 1:
				w.start(name, part(time.Hour)-30*time.Minute)
			case 2:
				for _, r := range w.replicas {
					r.dead = r.dead || r.name == name
				}
			case 3: // leaves in good order
				for _, r := range w.replicas {
					if r.name == name && !r.dead {
						r.dead = true
						if row := w.rows[name]; strings.HasPrefix(row.Run, name) {
							delete(w.rows, name)
						}
						r.call = nil
					}
				}
			case 4:
				bad = rng.Float64()
			case 5:
				bad = 0
			case 6:
				for _, r := range w.replicas {
					if r.name == name {
						r.links = rng.IntN(3)
					}
				}
			}
			w.pass(part(20*time.Second), delay)
		}
		bad = 0
		for _, r := range w.replicas {
			r.links = 1
		}
		w.start("z", 0)
		w.pass(3*time.Minute, delay)
		if n := w.owned(w.replicas...); n != len(leasedChains) {
			t.Errorf("seed %d: in the end %d of %d chains have an owner", seed, n, len(leasedChains))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}
