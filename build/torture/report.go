package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// An outcome is what became of one trial.
type outcome struct {
	class, group, name string // the name says the fault, and with -match brings its kind back

	lost     int      // acknowledged entries that the chain does not hold any more
	untold   int      // of these, those that no entry of the chain tells of by number
	unknown  int      // lost together with all that could tell of them: on a disk that forgets what it synced, in a broker that was killed
	forks    []string // heights or numbers with two contents
	removed  int      // lost entries that an export of the damaged disk still held
	wiped    int      // of the others, those whose bytes lay there, and do no more: among damaged ones, for a person to look at
	blind    bool     // something sealed was lost, and verify said 0, before the start or after it
	unsealed string   // why it records and seals nothing, by its own word
	stuck    string   // why it did not come back by itself
	said     bool     // configuration alone: it does not start, and says where the mistake is
	back     time.Duration
	notes    []string
}

func (o *outcome) failed() bool {
	return o.untold > 0 || len(o.forks) > 0 || o.removed > 0 || o.blind || o.stuck != ""
}

// String names what is wrong, for whoever mends it.
func (o *outcome) String() string {
	var s []string
	add := func(so bool, format string, args ...any) {
		if so {
			s = append(s, fmt.Sprintf(format, args...))
		}
	}
	add(o.lost > 0, "lost %d", o.lost)
	add(o.untold > 0, "UNTOLD %d", o.untold)
	add(len(o.forks) > 0, "FORK %s", strings.Join(o.forks, "; "))
	add(o.removed > 0, "REMOVED %d that could be read", o.removed)
	add(o.wiped > 0, "the bytes of %d are gone", o.wiped)
	add(o.blind, "BLIND: verify said 0")
	add(o.stuck != "", "STUCK: %s", o.stuck)
	add(o.unsealed != "", "it seals nothing: %.100s", o.unsealed)
	s = append(s, o.notes...)
	return fmt.Sprintf("%s/%s/%s: %s", o.class, o.group, o.name, strings.Join(s, ", "))
}

// report adds up outcomes. Its methods may be called from any goroutine.
type report struct {
	mu     sync.Mutex
	rows   []*row
	failed []string
	left   []string // classes that this machine cannot have, and why
}

type row struct {
	class, group                                                                                string
	tried, survived, said, lost, untold, unknown, forks, removed, wiped, blind, stuck, unsealed int
	slowest                                                                                     time.Duration
}

func (r *report) leaveOut(class, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, class+": "+why)
}

func (r *report) add(o *outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.rows, func(w *row) bool { return w.class == o.class && w.group == o.group })
	if i < 0 {
		i = len(r.rows)
		r.rows = append(r.rows, &row{class: o.class, group: o.group})
	}
	w := r.rows[i]
	w.tried++
	if o.failed() {
		r.failed = append(r.failed, o.String())
	} else {
		w.survived++
	}
	w.lost, w.untold, w.unknown, w.forks, w.removed = w.lost+o.lost, w.untold+o.untold, w.unknown+o.unknown, w.forks+len(o.forks), w.removed+o.removed
	w.wiped += o.wiped
	w.slowest = max(w.slowest, o.back)
	for so, n := range map[*int]bool{&w.said: o.said, &w.blind: o.blind, &w.stuck: o.stuck != "", &w.unsealed: o.unsealed != ""} {
		if n {
			*so++
		}
	}
}

// print writes the table and returns whether anything failed.
func (r *report) print(out io.Writer) (failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, line := range r.failed {
		if i == 0 {
			fmt.Fprintln(out, "Failed:")
		}
		fmt.Fprintln(out, " ", line)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "class\twhere\ttried\tsurvived\tlost\tuntold\tunknown\tforks\tremoved\twiped\tblind\tstuck\tunsealed\trefused\tback in\t")
	var sum row
	for _, o := range append(slices.Clone(r.rows), &sum) {
		name := o.class
		if o == &sum {
			name = "all"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f s\t\n",
			name, o.group, o.tried, o.survived, o.lost, o.untold, o.unknown, o.forks, o.removed, o.wiped, o.blind, o.stuck, o.unsealed, o.said, o.slowest.Seconds())
		sum.add(o)
	}
	w.Flush()
	fmt.Fprint(out, `
tried: programs brought into the fault · survived: came back by themselves, and nothing of what follows but "lost" and "unknown"
lost: acknowledged entries that are gone · untold: of these, not named by number in agent:damage or agent:gap
unknown: lost with all that could tell of them: by a disk that forgets what it synced, by a broker that was killed
forks: heights or numbers with two contents
removed: an export of the damaged disk had them, the chain has not · wiped: of the others, those whose bytes lay there before
the start alone · blind: verify said 0 though something sealed was gone
stuck: did not record again by itself · unsealed: records, seals nothing, and says why · refused: did not start, and said why
back in: the slowest, on this machine; nothing is judged by it
`)
	for _, line := range r.left {
		fmt.Fprintln(out, "LEFT OUT:", line)
	}
	return len(r.failed) > 0
}

func (w *row) add(o *row) {
	w.tried += o.tried
	w.survived += o.survived
	w.said += o.said
	w.lost += o.lost
	w.untold += o.untold
	w.unknown += o.unknown
	w.forks += o.forks
	w.removed += o.removed
	w.wiped += o.wiped
	w.blind += o.blind
	w.stuck += o.stuck
	w.unsealed += o.unsealed
	w.slowest = max(w.slowest, o.slowest)
}
