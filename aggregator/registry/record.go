package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
	"edgechain.example/sync/pace"
)

// Record is what an aggregator knows of one chain, but for its headers: the stores write it whole, in one piece. All
// times in it are by the aggregator's clock, in seconds since the Unix epoch.
type Record struct {
	Chain    lightchain.ChainID `json:"chain"`
	Standing Standing           `json:"standing"`
	Name     string             `json:"name,omitempty"`   // the gateway's, from its genesis header
	Labels   map[string]string  `json:"labels,omitempty"` // the operator's words
	Mode     Mode               `json:"mode,omitempty"`   // "" is the configuration's
	Silence  int64              `json:"silence,omitempty"`
	Added    int64              `json:"added"`             // when it was first heard of
	Decided  int64              `json:"decided,omitempty"` // when it got its standing
	By       string             `json:"by,omitempty"`      // who gave it: "command of anna (uid 1000)", "pattern press-* of …", "token 5f0c…", "trust all"

	Head HeadNote `json:"head"`

	// Announced is the height of the head that a gateway announced while it waits. Nobody has checked it.
	Announced uint64 `json:"announced,omitempty"`

	Receipt  ReceiptNote       `json:"receipt"`
	Seen     int64             `json:"seen,omitempty"`   // when a head higher than the last was accepted
	Online   Presence          `json:"online,omitempty"` // what the gateway, or its last will, said last
	Report   *ReportNote       `json:"report,omitempty"` // what the gateway said of itself last
	Findings map[Kind]*Finding `json:"findings,omitempty"`
	Traffic  pace.Spent        `json:"traffic"`

	// State is where the chain stands: heads, keys, evidence. The stores keep it beside the record; [Chains.Records]
	// leaves it out. Nothing ever moves its head down, not even [Forgotten].
	State *collector.State `json:"-"`
}

// HeadNote is what a record repeats of the newest head.
type HeadNote struct {
	Known  bool             `json:"known,omitempty"` // there is one
	Height uint64           `json:"height"`
	Hash   lightchain.Hash  `json:"hash"`
	Next   uint64           `json:"next,omitempty"`   // number of the next entry
	Sealed int64            `json:"sealed,omitempty"` // nanoseconds since the Unix epoch, by the gateway's clock
	Clock  lightchain.Clock `json:"clock"`
	Every  uint64           `json:"every,omitempty"` // height up to which every header is held
}

// Standing says whether a gateway's heads are countersigned.
type Standing string

// The standings of a chain.
const (
	Waiting   Standing = "waiting"   // in the inbox: nobody has decided
	Approved  Standing = "approved"  // followed and countersigned
	Rejected  Standing = "rejected"  // ignored, and not shown in the inbox
	Forgotten Standing = "forgotten" // nothing but the last head is kept, so that the chain is never countersigned shorter
)

// Standings are all standings, as they are listed.
var Standings = []Standing{Waiting, Approved, Rejected, Forgotten}

// Mode says what is asked of a gateway.
type Mode string

// The modes of following a chain.
const (
	Dense  Mode = "headers" // every header
	Sparse Mode = "sparse"  // heads with a proof that each continues the one before
)

// Presence is what a gateway's status topic says of its connection.
type Presence string

// What a status topic can say.
const (
	Online  Presence = "online"
	Offline Presence = "offline"
)

// ReceiptNote is the newest receipt issued for a chain.
type ReceiptNote struct {
	Height uint64 `json:"height"`
	Time   uint64 `json:"time,omitempty"` // 0: none was issued
}

// Known reports whether the record stands for a chain that the store holds.
func (r *Record) Known() bool { return r.Standing != "" }

// Encode returns the record as the stores keep it.
func (r *Record) Encode() ([]byte, error) { return json.Marshal(r) }

// DecodeRecord reads what [Record.Encode] gave.
func DecodeRecord(b []byte) (*Record, error) {
	r := new(Record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("a stored record: %w", err)
	}
	return r, nil
}

// Kind names a finding.
type Kind string

// What is found out about a gateway. Silence, absence, a missing receipt and a clock that is not synchronised are not
// noted but follow from the record when somebody looks; see [Record.Ailments]. What is noted stays until an operator
// acknowledges it; a rollback and what was invalid also until the history has grown.
const (
	Forked    Kind = "fork"       // its keys signed two histories; nothing is countersigned any more
	SetBack   Kind = "set-back"   // the store knew less of it than was countersigned
	Restored  Kind = "restored"   // it says that it took its newest headers back from an aggregator, and lost their entries
	Rollback  Kind = "rollback"   // it stands below a head that it had shown, as after an old image was restored
	Invalid   Kind = "invalid"    // it sent what does not check
	ClockStep Kind = "clock-step" // its wall clock moved against its uptime within one boot
	Gap       Kind = "gap"        // it says that messages are missing
	Damage    Kind = "damage"     // it says that its store is damaged
	Unsigned  Kind = "no-receipt" // no receipt could be issued: our own clock is not fit for it
	Silent    Kind = "silent"     // its heartbeat is overdue
	Away      Kind = "offline"    // its last will says that it is not connected
	Clockless Kind = "clock"      // its newest header says that its clock is not synchronised
)

// Kinds are all findings, the worst first.
var Kinds = []Kind{Forked, SetBack, Rollback, Invalid, Damage, Restored, Gap, Unsigned, Silent, Away, ClockStep, Clockless}

// LossKinds are those of which a gateway says how much it lost.
var LossKinds = []Kind{Damage, Restored, Gap}

// Finding is something that an operator should know about a gateway.
type Finding struct {
	First  int64  `json:"first"` // seconds since the Unix epoch, by the aggregator's clock
	Last   int64  `json:"last"`
	Count  uint64 `json:"count"`
	Height uint64 `json:"height"`         // that it is about
	Lost   uint64 `json:"lost,omitempty"` // messages or entries, at most, where the gateway says how many
	Text   string `json:"text"`
}

// Note records a finding at the time now.
func (r *Record) Note(kind Kind, now int64, height uint64, text string) {
	if r.Findings == nil {
		r.Findings = map[Kind]*Finding{}
	}
	f := r.Findings[kind]
	if f == nil {
		f = &Finding{First: now}
		r.Findings[kind] = f
	}
	const most = 256
	if len(text) > most {
		text = text[:most]
	}
	f.Last, f.Height, f.Text = now, height, text
	f.Count++
}

// Acknowledge takes back what was noted, and reports whether there was anything. Two signed histories stay: nobody
// can make up for them.
func (r *Record) Acknowledge() bool {
	noted := len(r.Findings)
	maps.DeleteFunc(r.Findings, func(kind Kind, _ *Finding) bool { return kind != Forked })
	return len(r.Findings) < noted
}

// Clear takes a finding back, and reports whether there was one.
func (r *Record) Clear(kind Kind) bool {
	_, found := r.Findings[kind]
	delete(r.Findings, kind)
	return found
}

// receiptGrace is how many seconds a head may wait for its receipt before that is a finding.
const receiptGrace = 60

// Ailment is one finding as it stands now.
type Ailment struct {
	Kind Kind `json:"kind"`
	Finding
}

// Ailments returns what is wrong with an approved gateway at the time now, the worst first: what was noted, and what
// follows from how long it has been quiet. usual is how long a gateway may be quiet that has no bound of its own.
func (r *Record) Ailments(now time.Time, usual time.Duration) []Ailment {
	found := maps.Clone(r.Findings)
	if found == nil {
		found = map[Kind]*Finding{}
	}
	if r.Standing == Approved {
		bound := r.patience(usual)
		since := max(r.Seen, r.Decided)
		if quiet := now.Sub(time.Unix(since, 0)); bound > 0 && quiet > bound {
			found[Silent] = &Finding{First: since, Last: now.Unix(), Count: 1, Height: r.Head.Height,
				Text: fmt.Sprintf("no new head for %s, expected within %s", quiet.Round(time.Second), bound)}
		}
		// A fork has a finding of its own, and is never countersigned again.
		if late := now.Unix() - r.Seen; r.Head.Known && found[Forked] == nil && late > receiptGrace &&
			(r.Receipt.Time == 0 || r.Receipt.Height < r.Head.Height) {
			found[Unsigned] = &Finding{First: r.Seen, Last: now.Unix(), Count: 1, Height: r.Head.Height,
				Text: "its newest head is not countersigned: is this machine's clock synchronised, and its database fit?"}
		}
		if r.Online == Offline {
			found[Away] = &Finding{First: r.Seen, Last: now.Unix(), Count: 1, Height: r.Head.Height, Text: "it is not connected"}
		}
		if state := r.clock(); r.Head.Known && state != lightchain.ClockSynchronised {
			found[Clockless] = &Finding{First: r.Seen, Last: r.Seen, Count: 1, Height: r.Head.Height, Text: "its clock is " + state.String()}
		}
	}
	var ailments []Ailment
	for _, kind := range Kinds {
		if f := found[kind]; f != nil {
			ailments = append(ailments, Ailment{kind, *f})
		}
	}
	return ailments
}

// patience returns how long the gateway may be quiet: what the operator set for it, else what follows from what it
// promised, else what is usual. 0 is forever.
func (r *Record) patience(usual time.Duration) time.Duration {
	switch {
	case r.Silence > 0:
		return time.Duration(r.Silence) * time.Second
	case r.Report != nil && r.Report.Within > 0:
		return overdue(r.Report.Within)
	}
	return usual
}

// clock returns the state of the gateway's clock, by its newest word.
func (r *Record) clock() lightchain.ClockState {
	if r.Report != nil && r.Report.Height >= r.Head.Height {
		return r.Report.Clock.State
	}
	return r.Head.Clock.State
}

// LabelNames returns the names of the labels in order.
func (r *Record) LabelNames() []string { return slices.Sorted(maps.Keys(r.Labels)) }
