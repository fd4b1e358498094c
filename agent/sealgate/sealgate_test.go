package sealgate

import (
	"slices"
	"testing"
)

func kinds(g *Gate) (all []Kind) {
	for _, r := range g.Reasons() {
		all = append(all, r.Kind)
	}
	return all
}

func TestReasonsComeAndGo(t *testing.T) {
	type step struct {
		add     *Reason
		lift    *Reason
		release bool
		result  bool // of Add and Lift
		closed  bool
		doubt   bool
		want    []Kind
	}
	add := func(k Kind, of, why string) *Reason { return &Reason{Kind: k, Of: of, Why: why} }
	for name, steps := range map[string][]step{
		"one": {
			{add: add(Key, "", "a"), result: true, closed: true, want: []Kind{Key}},
			{add: add(Key, "", "a"), closed: true, want: []Kind{Key}},
			{add: add(Key, "", "b"), result: true, closed: true, want: []Kind{Key}},
			{lift: add(Key, "", ""), result: true},
			{lift: add(Key, "", "")},
		},
		"the gravest first": {
			{add: add(Unsettled, "", ""), result: true, closed: true, doubt: true, want: []Kind{Unsettled}},
			{add: add(NoSpace, "", ""), result: true, closed: true, doubt: true, want: []Kind{NoSpace, Unsettled}},
			{add: add(Elsewhere, "b", ""), result: true, closed: true, doubt: true, want: []Kind{Elsewhere, NoSpace, Unsettled}},
			{add: add(Elsewhere, "a", ""), result: true, closed: true, doubt: true, want: []Kind{Elsewhere, Elsewhere, NoSpace, Unsettled}},
			{lift: add(Elsewhere, "c", ""), closed: true, doubt: true, want: []Kind{Elsewhere, Elsewhere, NoSpace, Unsettled}},
			{lift: add(Elsewhere, "a", ""), result: true, closed: true, doubt: true, want: []Kind{Elsewhere, NoSpace, Unsettled}},
		},
		"want of room keeps nobody from trying": {
			{add: add(NoSpace, "", ""), result: true, want: []Kind{NoSpace}},
			{add: add(Key, "", ""), result: true, closed: true, want: []Kind{Key, NoSpace}},
			{lift: add(Key, "", ""), result: true, want: []Kind{NoSpace}},
			{lift: add(NoSpace, "", ""), result: true},
		},
		"a settled head lifts what is about the head": {
			{add: add(Unsettled, "", ""), result: true, closed: true, doubt: true, want: []Kind{Unsettled}},
			{add: add(Restored, "", ""), result: true, closed: true, doubt: true, want: []Kind{Restored, Unsettled}},
			{add: add(SetBack, "", ""), result: true, closed: true, doubt: true, want: []Kind{Restored, SetBack, Unsettled}},
			{add: add(Elsewhere, "u", ""), result: true, closed: true, doubt: true, want: []Kind{Elsewhere, Restored, SetBack, Unsettled}},
			{add: add(Key, "", ""), result: true, closed: true, doubt: true, want: []Kind{Elsewhere, Restored, SetBack, Key, Unsettled}},
			{release: true, closed: true, want: []Kind{Key}},
			{add: add(Elsewhere, "u", ""), result: true, closed: true, doubt: true, want: []Kind{Elsewhere, Key}},
			{lift: add(Key, "", ""), result: true, closed: true, doubt: true, want: []Kind{Elsewhere}},
			{release: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var g Gate
			if g.Closed() || g.HeadInDoubt() || g.Worst() != "" {
				t.Fatal("there is a reason before there is one")
			}
			for i, s := range steps {
				result := s.result
				switch {
				case s.add != nil:
					result = g.Add(*s.add)
				case s.lift != nil:
					result = g.Lift(s.lift.Kind, s.lift.Of)
				case s.release:
					g.Release(uint64(i))
					if at, ever := g.Released(); !ever || at != uint64(i) {
						t.Errorf("step %d: released at %d, %t", i, at, ever)
					}
				}
				if result != s.result || g.Closed() != s.closed || g.HeadInDoubt() != s.doubt || !slices.Equal(kinds(&g), s.want) {
					t.Errorf("step %d: %t, closed %t, head in doubt %t, %v", i, result, g.Closed(), g.HeadInDoubt(), kinds(&g))
				}
				for _, k := range Kinds() {
					if g.Has(k) != slices.Contains(s.want, k) {
						t.Errorf("step %d: it has %s: %t", i, k, g.Has(k))
					}
				}
			}
		})
	}
}

func TestAReasonSaysWhatToDo(t *testing.T) {
	var g Gate
	if _, ever := g.Released(); ever {
		t.Error("released by nobody")
	}
	g.Add(Reason{Kind: Unsettled, Why: "nobody has answered"})
	if got := g.Worst(); got != "nobody has answered" {
		t.Error(got)
	}
	g.Add(Reason{Kind: Key, Why: "the key is gone", Do: "bring it back"})
	if got := g.Worst(); got != "the key is gone. Bring it back" {
		t.Error(got)
	}
}
