package replicas

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// Replicas of one aggregator divide the chains among them: each chain has one owner, and the others drop what comes of it.
//
// Each replica writes a beat into the database, over and over. It lives as long as its beat is younger than the lease, by the
// database's clock; of those that live the one owns a chain whose hash with the chain is the highest, so that only the chains
// of one that comes or goes change hands. Two do not own one chain at the same time, whatever their clocks say, as long as
// time passes equally fast for all:
//
//   - A replica counts its lease from before its beat was sent, and somewhat shorter. So it has stopped before anybody finds its
//     beat too old.
//   - One that joins owns nothing until everybody who owns anything must have seen that it is there: until the lease and the
//     longest time that a beat may take are over. The others leave it its chains counting from before they asked, and it takes
//     them counting from after it was answered. Who was found dead, and was not, joins anew.
//   - Where no other lives there is nobody to wait for: of two who begin at once at least one sees the other, since both read
//     after they have written.
//
// A database's clock that is set, or a database that loses beats in a failover, can bring two owners of one chain about for some
// seconds. They cost each other work: the store's compare-and-set keeps what is countersigned right even so.

// terms are the times of a lease.
type terms struct {
	every time.Duration // between two beats
	call  time.Duration // a beat takes no longer, or counts as not answered
	lease time.Duration // so old a beat of one that lives may be
	drift time.Duration // by how much a replica stops sooner
}

var leaseTerms = terms{every: 2 * time.Second, call: 4 * time.Second, lease: 10 * time.Second, drift: time.Second}

// join is how long one that joins owns nothing.
func (t terms) join() time.Duration { return t.lease + t.call }

// Beat is what a replica writes to say that it lives.
type Beat struct {
	Replica string // its name
	Run     string // random: this process, so that two under one name notice each other
	Number  int64  // of the beat: one that comes late changes nothing
	Links   int    // brokers that it is connected to
	Aside   bool   // it owns nothing, for others are connected better

	Lease time.Duration
	Join  bool          // it joins by this beat; it does too where its last is older than the lease
	Ago   time.Duration // and counts as one that joined so long ago, unless its last is older
	// Another process under this name, and its beat, which stands still; "": there is none.
	Over       string
	OverNumber int64
}

// Beating is a beat as it stands in the database.
type Beating struct {
	Replica, Run string
	Number       int64
	Links        int
	Aside        bool
	Since, At    int64         // marks of when it joined and of the beat: microseconds, by the database's clock
	Joined, Age  time.Duration // the same before now, by the database's clock
}

// Beats is a store that several processes share.
type Beats interface {
	// Beat writes a beat, unless another process of that name lives, and returns all as they stand after that, and decisions
	// of about the last minute. It is called by one goroutine, and gives up when ctx ends.
	Beat(ctx context.Context, b *Beat) (*Beaten, error)
	// Leave takes the replica's beat away.
	Leave(ctx context.Context, b *Beat) error
}

// Beaten is what a beat was answered with.
type Beaten struct {
	Beats   []Beating
	Clock   int64 // the database's: microseconds since the Unix epoch
	Decided []Decided
}

// Decided says that somebody decided about a chain.
type Decided struct {
	Chain lightchain.ChainID
	At    int64 // a mark
}

// tenure is what one replica makes of the beats. It is changed by one goroutine.
type tenure struct {
	terms
	self, run string

	number int64 // of the last beat
	view   view
	since  int64 // of the own beat, as it counts; 0: it does not
	others map[string]other
	rival  other // another process under this name; its run is "" where there is none
	links  int   // connected brokers, as was said last
	aside  bool
	worse  time.Time     // since when others are connected better; zero: none is
	shared time.Duration // the database's clock less this one's
}

// other is what is remembered of another replica.
type other struct {
	run    string
	since  int64
	number int64
	moved  time.Time // when this beat was seen first
	from   time.Time // it counts from then on
}

// view is who owns what, from one beat to the next. It is never changed.
type view struct {
	self    string
	until   time.Time // the replica's own lease
	from    time.Time // it counts from then on; zero: it does not
	members []member  // who lives besides, sorted
	why     string    // why it owns nothing
}

type member struct {
	name string
	from time.Time
}

// holds reports whether the replica may own anything. A machine that was suspended shows by its wall clock alone.
func (v *view) holds(now time.Time) bool {
	return !v.from.IsZero() && !now.Before(v.from) && now.Before(v.until) && now.Round(0).Before(v.until.Round(0))
}

// owners returns among whom the chains are divided, nil where this replica owns nothing.
func (v *view) owners(now time.Time) (names []string) {
	if !v.holds(now) {
		return nil
	}
	names = append(make([]string, 0, 1+len(v.members)), v.self)
	for _, m := range v.members {
		if !now.Before(m.from) {
			names = append(names, m.name)
		}
	}
	slices.Sort(names)
	return names
}

// owns reports whether a chain is this replica's.
func (v *view) owns(now time.Time, chain lightchain.ChainID) bool {
	if !v.holds(now) {
		return false
	}
	own := weight(v.self, chain)
	for _, m := range v.members {
		if !now.Before(m.from) && outweighs(m.name, weight(m.name, chain), v.self, own) {
			return false
		}
	}
	return true
}

func weight(name string, chain lightchain.ChainID) uint64 {
	sum := sha256.Sum256(append(chain[:len(chain):len(chain)], name...))
	return binary.BigEndian.Uint64(sum[:])
}

func outweighs(a string, weightA uint64, b string, weightB uint64) bool {
	return weightA > weightB || weightA == weightB && a > b
}

// Owner returns to whom of the names a chain falls.
func Owner(names []string, chain lightchain.ChainID) (name string) {
	var most uint64
	for _, n := range names {
		if w := weight(n, chain); name == "" || outweighs(n, w, name, most) {
			name, most = n, w
		}
	}
	return name
}

func newTenure(t terms, self, run string) *tenure {
	return &tenure{terms: t, self: self, run: run, view: view{self: self, why: "it has not joined the others yet"}, others: map[string]other{}}
}

// asideAfter is for how long others must be connected to more brokers.
const asideAfter = 10 * time.Second

// next returns the beat to send. Where it says that the replica steps aside, it owns nothing from here on.
func (t *tenure) next(now time.Time, links int) *Beat {
	t.links = links
	t.number++
	b := &Beat{Replica: t.self, Run: t.run, Number: t.number, Links: links, Lease: t.lease}
	switch {
	case t.worse.IsZero():
		t.aside = false
	case now.Sub(t.worse) > asideAfter && !t.aside:
		t.aside, t.since = true, 0
		t.view = view{self: t.self, until: t.view.until, members: t.view.members, why: "other replicas are connected to more brokers"}
	}
	b.Aside = t.aside
	b.Join = t.since == 0
	if !b.Join && t.view.from.After(now) && len(t.view.members) == 0 {
		b.Join, b.Ago = true, t.join() // nobody lives who would have to learn of it
	}
	if t.rival.run != "" && now.Sub(t.rival.moved) > t.lease {
		b.Over, b.OverNumber = t.rival.run, t.rival.number
	}
	return b
}

// learn takes in the answer to a beat that was sent at one time and answered at another.
func (t *tenure) learn(sent, heard time.Time, b *Beat, a *Beaten) {
	seen := make(map[string]other, len(a.Beats))
	v := view{self: t.self}
	most := t.links
	var own *Beating
	rival := t.rival
	t.rival = other{}
	for i := range a.Beats {
		r := &a.Beats[i]
		if r.Replica == t.self {
			own = r
			continue
		}
		o, known := t.others[r.Replica]
		if !known || o.run != r.Run || o.number != r.Number {
			o.moved = heard
		}
		from := sent.Add(max(0, t.join()-max(0, r.Joined)))
		if !known || o.run != r.Run || o.since != r.Since || from.Before(o.from) {
			o.from = from
		}
		o.run, o.since, o.number = r.Run, r.Since, r.Number
		seen[r.Replica] = o
		if r.Age > t.lease || sent.Sub(o.moved) > t.lease {
			continue // the second where the database's clock was set back
		}
		if !r.Aside {
			most = max(most, r.Links)
			v.members = append(v.members, member{r.Replica, o.from})
		}
	}
	slices.SortFunc(v.members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	t.others = seen
	t.shared = time.Duration(a.Clock)*time.Microsecond - time.Duration(sent.Add(heard.Sub(sent)/2).UnixMicro())*time.Microsecond
	if most == t.links {
		t.worse = time.Time{}
	} else if t.worse.IsZero() {
		t.worse = heard
	}
	switch {
	case own == nil:
		t.since, v.why = 0, "its beat is gone"
	case own.Run != t.run:
		if t.rival = rival; rival.run != own.Run || rival.number != own.Number {
			t.rival = other{run: own.Run, number: own.Number, moved: heard}
		}
		t.since, v.why = 0, "another process runs, or ran a moment ago, as replica "+t.self+": each needs a name of its own (aggregator.replica)"
	default:
		v.until = sent.Add(t.lease - t.drift)
		// Answered later, somebody may have found it dead before this beat could be seen.
		lived := heard.Before(t.view.until)
		switch ago := own.At - own.Since; {
		case t.aside:
		case own.Since == t.since && lived: // as it was
			v.from = t.view.from
		case ago == 0 && own.Since != t.since, ago == b.Ago.Microseconds() && lived: // it joined by this beat
			t.since, v.from = own.Since, heard.Add(max(0, t.join()-time.Duration(ago)*time.Microsecond))
		default: // or it joined by one that was not answered in time
			t.since = 0
		}
		switch {
		case t.aside:
			v.from, v.why = time.Time{}, "other replicas are connected to more brokers"
		case v.from.IsZero() || v.from.After(heard):
			v.why = "it joins the others in a moment"
		}
	}
	t.view = v
}
