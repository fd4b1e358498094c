package collector

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/synctest"
)

// stages returns a chain's state at several stages of being followed, forked last.
func stages(t *testing.T) (states []*State) {
	t.Helper()
	c := synctest.Offline(60)
	g, err := gateway.New(gateway.Config{Chain: c, Receipts: c, Signer: c.Signer})
	if err != nil {
		t.Fatal(err)
	}
	s := &State{Chain: c.Tip.Chain}
	keep := func() {
		copied := *s
		states = append(states, &copied)
	}
	none := func(Held) error { return nil }
	keep()
	for _, p := range []headersync.Pull{{Want: headersync.Sparse, Last: 20}, {Want: headersync.EveryHeader, First: 1, Below: c.Nodes[synctest.NodeAt{Index: 0}], Last: 10}} {
		p.Chain, p.Name, p.Sequence = c.Tip.Chain, "north", 1
		if v, err := Judge(s, synctest.Must(g.Page(&p, headersync.DefaultPage)), true, nil, none); v != Extended {
			t.Fatal(v, err)
		}
		keep()
	}
	r, err := s.Head.Head.Countersign(synctest.Signer("north"), "north", synctest.Time)
	if err != nil {
		t.Fatal(err)
	}
	s.Receipt = &r
	keep()
	side := headersync.HeadSide(c.Headers[5])
	s.Suspect = &side
	keep()
	twin := synctest.NewChain(11)
	one, other := twin.Image(), twin.Image()
	a, b := headersync.HeadSide(one.Seal(1, synctest.Time*1e9, nil)), headersync.HeadSide(other.Seal(2, synctest.Time*1e9, nil))
	s = &State{Chain: twin.Tip.Chain, Keys: nil, Head: &Mark{Head: twin.Headers[0]}}
	s.Keys = append(s.Keys, twin.Headers[0])
	if s.Fork = headersync.Accuse(s.Chain, s.Keys, a, b); s.Fork == nil {
		t.Fatal("no fork")
	}
	keep()
	return states
}

// Whatever happens, in whichever order: where something is missing there is a time to look again, at most a quarter of an
// hour away; where a chain was forked there is none; and no question is sent while another is open.
func TestWhateverIsMissingIsWaitedFor(t *testing.T) {
	states := stages(t)
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 5))
		var f follow
		v := view{now: time.Unix(synctest.Time, 0), followed: true, policy: Policy{Mode: headersync.EveryHeader, LeapOver: 20}, state: states[0]}
		sequence := uint64(0)
		var course []any
		for range 60 {
			v.now = v.now.Add([]time.Duration{0, time.Second, 20 * time.Second, 16 * time.Minute, 26 * time.Hour}[rng.IntN(5)])
			if rng.IntN(4) == 0 {
				v.state = states[rng.IntN(len(states))]
			}
			v.followed = rng.IntN(10) > 0
			answers := answered{sequence: sequence, verdict: []Verdict{Extended, Known, Lagging, Split, Lacking}[rng.IntN(5)], head: uint64(rng.IntN(80)),
				suspect: rng.IntN(4) == 0, clears: rng.IntN(4) == 0, bytes: 100}
			if rng.IntN(3) == 0 {
				answers.sequence++
			}
			e := []any{announced{uint64(rng.IntN(80)), rng.IntN(2) == 0}, doubted{rng.IntN(2) == 0, rng.IntN(2) == 0}, greeted{uint64(rng.IntN(80))}, looked{},
				looked{}, connected{}, continued{uint64(rng.IntN(80))}, answers, answers, clockless{}, troubled{}}[rng.IntN(11)]
			course = append(course, e)
			open := f.open
			var a actions
			f, a = step(f, v, e)
			if a.countersign {
				course = append(course, clockless{})
				f = f.after(v, clockless{})
			}
			if a.pull != nil || a.repeat {
				if a.pull != nil && open != nil && f.open == open && v.now.Before(open.until) {
					t.Fatalf("seed %d: another question while one is open: %+v", seed, course)
				}
				var came any
				switch rng.IntN(4) {
				case 0:
					came = unsent{}
				case 1:
					came = broke{}
				default:
					q := question{sequence: sequence + 1, most: headersync.DefaultPage, sent: v.now, tries: 1}
					q.until = v.now.Add(f.patience(v.chain, q.most, q.tries))
					if a.repeat {
						q = f.repeated(v)
					}
					sequence = q.sequence
					came = sent{q}
				}
				course = append(course, came)
				f = f.after(v, came)
			}
			at := f.deadline(v)
			_, missing := f.missing(v)
			switch {
			case v.followed && v.state.Fork != nil:
				if !at.IsZero() {
					t.Fatalf("seed %d: a forked chain is looked at again: %+v", seed, course)
				}
			case v.followed && (missing || v.unsigned()) && (!at.After(v.now) || at.Sub(v.now) > pullRest):
				t.Fatalf("seed %d: something is missing, and looked at again at %s, now %s: %+v", seed, at, v.now, course)
			}
		}
	}
}

// A gateway that says hello may have dropped the question: it is repeated, however often, and waited for no longer.
func TestAHelloRepeatsTheQuestionAndNothingElse(t *testing.T) {
	v := view{now: time.Unix(synctest.Time, 0), followed: true, policy: Policy{Mode: headersync.EveryHeader}, state: &State{}}
	f, _ := step(follow{}, v, announced{5, true})
	f = f.after(v, sent{question{sequence: 1, most: 1000, sent: v.now, until: v.now.Add(f.patience(v.chain, 1000, 1)), tries: 1}})
	asked := *f.open
	for range 10 {
		v.now = v.now.Add(100 * time.Millisecond)
		var a actions
		if f, a = step(f, v, greeted{5}); !a.repeat || a.pull != nil {
			t.Fatalf("at a hello: %+v", a)
		}
		f = f.after(v, sent{f.repeated(v)})
	}
	if !reflect.DeepEqual(*f.open, asked) || f.misses != 0 || f.silent != 0 {
		t.Errorf("after ten hellos in a second: %+v, %+v", *f.open, f)
	}
}

// A question is repeated under its number before another is asked, and ever more rarely.
func TestOneNumberIsRepeatedBeforeTheNext(t *testing.T) {
	v := view{now: time.Unix(synctest.Time, 0), followed: true, policy: Policy{Mode: headersync.EveryHeader}, state: &State{}}
	f, a := step(follow{}, v, announced{5, true})
	numbers, began := []uint64{}, v.now
	for number := uint64(0); v.now.Sub(began) < 8*time.Hour; {
		if a.pull != nil {
			number++
			f = f.after(v, sent{question{sequence: number, most: 1000, sent: v.now, until: v.now.Add(f.patience(v.chain, 1000, 1)), tries: 1}})
			numbers = append(numbers, number)
		} else if a.repeat {
			f = f.after(v, sent{f.repeated(v)})
			numbers = append(numbers, number)
		}
		at := f.deadline(v)
		if !at.After(v.now) {
			t.Fatal("it does not wait")
		}
		v.now = at
		f, a = step(f, v, looked{})
	}
	if n := len(numbers); n > 100 || numbers[n-1]*3 > uint64(n)+3 {
		t.Errorf("in eight hours without an answer %d questions with %d numbers", n, numbers[len(numbers)-1])
	}
}
