package collector

import (
	"math"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// How a chain is followed is a machine without a clock, a store or a connection: [step] takes what is remembered, what is
// known of the chain, and what happened, and gives what is remembered then and what is to be done. The shard does it, and
// tells the machine what came of that as another event.
//
//	          something is missing:                the same number again, twice, and when connected or
//	┌──────┐  head, hello, doubt       ┌───────┐   greeted; then a new one, for half a page
//	│      │ ────────────────────────▶ │       │ ─┐
//	│ idle │                           │ asked │  │
//	│      │ ◀──────────────────────── │       │ ◀┘ proved, and more is missing: the next
//	└──────┘  proved, nothing missing  └───────┘
//	                                    │ ▲ │ ▲
//	      answered, and nothing proved  │ │ │ │  looked at again, or another day
//	                                    │ │ │ │
//	                          a newer   │ │ │ │  no bytes are left
//	                          head, or  ▼ │ ▼ │
//	                          over ┌─────────┐┌───────────────┐
//	                               │ resting ││ out of budget │
//	                               └─────────┘└───────────────┘
//
//	from each:  nothing is missing any more ─▶ idle
//	            the state has a fork ────────▶ forked, which asks for nothing and waits for nothing
//
// Which state it is in is not stored: it follows from the question that is open, from the times to wait for, and from what
// is missing, which is worked out of the chain's state each time. The newest head is countersigned in any state but the
// last; that waits for a clock of its own. There is a time for each purpose, and [follow.deadline] alone says which comes
// first: where something is missing there always is one, at most [pullRest] away.
//
// Two things move the machine: what the chain's keys vouch for, and the answer to an open question. Neither a copy nor
// anything that somebody made up does.
type follow struct {
	announced uint64 // the highest head that is believed to exist
	doubt     bool   // the gateway seems to have another history, or an older head, which nothing shows yet
	ask       bool   // the gateways are to be asked about the state's suspect
	cleared   bool   // an answer said that the suspect is an old head of the history known
	whole     bool   // a page as large as may be is wanted: a smaller one held nothing
	guessed   bool   // nothing vouched for the head that made it ask
	failures  int8   // answers in a row that proved nothing
	silent    int8   // questions in a row without an answer
	misses    int8   // questions without an answer, less those with one: pages are smaller by as many halves
	pace      uint32 // bytes a second that the last page took; 0: not known

	open *question // nil: none
	// Times to wait for. In the past they mean nothing.
	rest    time.Time // no question before, but for a newer head
	budget  time.Time // no question before
	clock   time.Time // no receipt before
	trouble time.Time // something could not be read or sent, and is tried again then
}

// question is a pull that was sent and not answered.
type question struct {
	sequence uint64
	payload  []byte // as it was sent, to be repeated
	most     uint64 // bytes that the page may have
	sent     time.Time
	until    time.Time
	tries    int8 // how often it was sent
	suspect  bool // it is about the state's suspect
}

// again returns the question as one that was sent once, and whose time is over then.
func (q *question) again(at time.Time) *question {
	if q == nil {
		return nil
	}
	again := *q
	again.until, again.tries = at, 1
	return &again
}

// view is what is known of a chain when something happens.
type view struct {
	now      time.Time
	chain    lightchain.ChainID
	state    *State // only read
	policy   Policy
	followed bool // it falls to this aggregator, as far as can be read
}

// The events.
type (
	announced struct { // a head above the one known
		height uint64
		proved bool // the key that is known signed it
	}
	doubted struct { // a head that is behind, or of another history
		doubt   bool // the gateway's answer shows where it stands
		suspect bool // the gateways are to be asked about the state's suspect
	}
	greeted   struct{ height uint64 } // the gateway said hello: it may have dropped what was asked; 0: its height is not known
	continued struct{ height uint64 } // a head that directly continued the one known, and was taken
	looked    struct{}                // somebody looks: a deadline, a head that is known already, a decision
	connected struct{}                // the connection was made: what was under way may be lost
	answered  struct {                // a page
		sequence uint64
		verdict  Verdict
		head     uint64 // of the gateway, it says
		suspect  bool   // it brought a new suspect
		clears   bool   // it says that the suspect is of the history known
		bytes    int
	}
	// What came of an action.
	sent      struct{ question }
	unsent    struct{} // or not repeated
	broke     struct{} // the day's budget is used up
	clockless struct{} // no receipt: the clock is wrong, or the store refuses it
	troubled  struct{} // the store cannot be read
)

// actions are what a step asks for; the zero value is nothing.
type actions struct {
	countersign bool
	pull        *headersync.Pull // a new question
	repeat      bool             // the open one
}

const (
	pullPatience = 10 * time.Second // for a page, the first time; doubled at each try
	pullRest     = 15 * time.Minute // at most this long nothing is tried where something is missing
	unsentWait   = 30 * time.Second // to try again what did not leave this machine
	clockWait    = 10 * time.Second
	mostMisses   = 5
	spreadBudget = 10 * time.Minute
)

// step tells the machine what happened.
func step(f follow, v view, e any) (follow, actions) {
	f = f.after(v, e)
	if !v.followed || v.state == nil || v.state.Fork != nil {
		return f, actions{}
	}
	var a actions
	a.countersign = v.unsigned() && !v.now.Before(f.clock)
	pull, missing := f.missing(v)
	switch q := f.open; {
	case !missing:
		f.open = nil // its page is welcome nevertheless
	case q != nil && v.now.Before(q.until):
		_, a.repeat = e.(greeted)
	case q != nil && !f.worn():
		a.repeat = true
	case v.now.Before(f.rest), v.now.Before(f.budget):
	default:
		if q != nil {
			f.misses, f.silent = min(f.misses+1, mostMisses), min(f.silent+1, 20)
		}
		a.pull = &pull
	}
	return f, a
}

// after notes what happened.
func (f follow) after(v view, e any) follow {
	switch e := e.(type) {
	case announced:
		if !e.proved || e.height > f.announced {
			f.rest = time.Time{} // what nothing vouches for is rare enough; see [shard.guess]
		}
		f.announced, f.guessed = max(f.announced, e.height), f.guessed || !e.proved
	case doubted:
		f.doubt, f.ask, f.rest = f.doubt || e.doubt, f.ask || e.suspect, time.Time{}
	case greeted:
		f.announced, f.rest = max(f.announced, e.height), time.Time{}
	case continued:
		f.announced, f.failures, f.rest, f.guessed = max(f.announced, e.height), 0, time.Time{}, false
		f.ask = f.ask || v.state.Suspect != nil && !f.cleared
	case connected:
		f.trouble = v.now.Add(pace.Spread(v.chain, uint64(v.now.Unix()), pace.AfterConnect))
		f.open = f.open.again(f.trouble)
	case answered:
		f = f.learn(v, e)
	case sent:
		q := e.question
		f.open, f.trouble = &q, time.Time{}
	case unsent:
		f.trouble = v.now.Add(unsentWait)
	case broke:
		until := pace.Tomorrow(v.now).Add(pace.Spread(v.chain, uint64(v.now.Unix()/86400), spreadBudget))
		f.budget = pace.Earliest(until, v.now.Add(pullRest))
	case clockless:
		f.clock = v.now.Add(clockWait)
	case troubled:
		f.trouble = v.now.Add(pullPatience)
	}
	return f
}

// learn notes what a page turned out to be: proved, or the answer to the open question.
func (f follow) learn(v view, e answered) follow {
	proved, about := e.verdict == Extended || e.verdict == Split, false
	if q := f.open; q != nil && q.sequence == e.sequence {
		about, f.silent = q.suspect, 0
		if took := v.now.Sub(q.sent); q.tries == 1 && took > 0 {
			// A small page takes what the way takes, whatever the link could carry.
			if pace := uint32(min(max(1, float64(e.bytes)/took.Seconds()), math.MaxUint32)); e.bytes >= 4<<10 || f.pace > 0 && pace > f.pace {
				f.pace = pace
			}
		}
	}
	f.open, f.doubt = nil, false
	f.whole = e.verdict == Lacking && !f.whole
	switch {
	case e.verdict == Extended:
		f.announced = max(f.announced, min(e.head, headersync.NoCeiling))
	case e.verdict == Overtaken: // what is missing is there, and is asked for from where the chain stands now
	case !f.whole:
		// What was announced is not there, or not for us: what will be announced next is believed again.
		f.announced = 0
	}
	if e.suspect {
		f.cleared = false
	}
	f.cleared = f.cleared || e.clears
	// Whoever has just continued the head has the history to answer about a suspect.
	f.ask = v.state.Suspect != nil && !f.cleared && (f.ask && !about || e.suspect || e.verdict == Extended)
	f.failures = min(f.failures+1, 20)
	if proved {
		f.failures, f.silent, f.misses, f.guessed = 0, 0, max(0, f.misses-1), false
		f.rest = time.Time{}
	} else if e.verdict == Overtaken && f.failures == 1 {
		f.rest = time.Time{}
	} else if !f.whole && !f.ask {
		// What is still missing is not there, or somebody says so: no reason to ask at once again.
		f.rest = v.now.Add(wait(v.chain, pullPatience, f.failures))
	}
	return f
}

// missing returns what to ask the gateway for; ok is false if nothing is missing.
func (f *follow) missing(v view) (pull headersync.Pull, ok bool) {
	s := v.state
	pull, ok = s.next(v.policy, f.announced)
	if s.Fork != nil || s.Head == nil {
		return pull, ok
	}
	if f.doubt && (!ok || pull.First <= s.Head.Height()) {
		// Nothing newer is missing, but the gateway seems to have another history, or less of this one: its answer shows
		// that. What a backlog lacks, it might have in either case.
		pull.First, pull.Last, pull.Below, ok = s.Head.Height()+1, headersync.NoCeiling, s.Head.Head.Hash(), true
	}
	if !ok && f.ask && s.Suspect != nil {
		pull, ok = s.suspicion(), true
	}
	return pull, ok
}

// unsigned reports whether the newest head is to be countersigned.
func (v *view) unsigned() bool {
	return v.state.Head != nil && v.state.Receipt == nil && v.state.Fork == nil && !v.policy.Introduce
}

// deadline returns when to look again; zero: not of itself.
func (f *follow) deadline(v view) (at time.Time) {
	latest := v.now.Add(pullRest)
	if !v.followed || v.state == nil {
		// Whether it is followed, or what is known of it, could not be read, perhaps.
		return pace.Earliest(after(f.trouble, v.now), latest)
	}
	if v.state.Fork != nil {
		return time.Time{}
	}
	if v.unsigned() {
		at = pace.Earliest(pace.Later(f.clock, v.now.Add(time.Second)), latest)
	}
	if _, missing := f.missing(v); missing {
		next := pace.Later(f.rest, f.budget)
		if f.open != nil {
			next = f.open.until
			if f.worn() {
				next = pace.Later(next, pace.Later(f.rest, f.budget))
			}
		}
		at = pace.Earliest(at, after(next, v.now), after(f.trouble, v.now), latest)
	}
	return at
}

// after returns t if it is after now, and zero else.
func after(t, now time.Time) time.Time {
	if t.After(now) {
		return t
	}
	return time.Time{}
}

// worn reports whether the open question has been sent often enough. A gateway answers each number once, so a copy costs no
// page; but where the page was lost, only another number brings one. How long a page takes is known after the first.
func (f *follow) worn() bool {
	return f.open.tries >= 3 || f.open.tries == 2 && f.pace > 0
}

// repeated returns the open question as it is when it was sent once more. One that is repeated before its time, since the
// gateway may have dropped it, is waited for no longer than before.
func (f *follow) repeated(v view) question {
	q := *f.open
	if !v.now.Before(q.until) {
		q.tries++
		q.until = v.now.Add(f.patience(v.chain, q.most, q.tries))
	}
	return q
}

// patience returns how long a question is waited for: twice as long at each try, and longer where pages are known to take
// long.
func (f *follow) patience(chain lightchain.ChainID, most uint64, tries int8) time.Duration {
	d := wait(chain, pullPatience, tries-1+2*f.silent)
	if f.pace > 0 {
		d += time.Duration(3 * float64(most) / float64(f.pace) * float64(time.Second))
	}
	return min(d, pullRest)
}

// wait grows from least to pullRest, doubling with each failure, and differs from chain to chain, lest all that failed at
// once try again at once.
func wait(chain lightchain.ChainID, least time.Duration, failures int8) time.Duration {
	d := min(least<<min(max(failures, 0), 10), pullRest)
	return d - pace.Spread(chain, uint64(failures), d/4)
}
