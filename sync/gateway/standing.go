package gateway

import (
	"edgechain.example/lightchain"
)

// Standing is how a gateway's head stands to what an aggregator knows.
type Standing string

// The standings. Sealing may go on in the first five.
const (
	Agreed      Standing = "agreed"      // an aggregator knows this head, or an earlier one of this history
	Unknown     Standing = "unknown"     // those who answered know nothing of the chain
	Unreachable Standing = "unreachable" // nobody answered
	Recovered   Standing = "restored"    // the chain's own newest headers were put back
	CutOff      Standing = "cut off"     // an aggregator knows an older header, and those from which it could follow are gone here
	Behind      Standing = "behind"      // an aggregator knows a newer head
	KeyChanged  Standing = "key changed" // an aggregator knows a newer head, under a key that this gateway lacks
	Unvouched   Standing = "unvouched"   // an aggregator signed that it knows another head, which no key known here vouches for
	Unprovable  Standing = "unprovable"  // the head known could be restored, but not whether it continues what was sealed here
	Forked      Standing = "forked"      // two histories of this chain are signed
)

// Settlement says what became of the head after a start.
type Settlement struct {
	Standing Standing
	By       []string // the aggregators that answered

	From, To   uint64                   // heights that were put back, where Recovered: what agent:restore records
	FirstEntry uint64                   // number of the first entry that is not held any more
	NextEntry  uint64                   // number of the next entry
	Sparse     bool                     // the headers between are not held either
	Head       *lightchain.SignedHeader // the head that an aggregator knows, where sealing must not go on
	Fork       *lightchain.Fork
}

// MaySeal reports whether the chain can go on.
func (s Standing) MaySeal() bool {
	return s == Agreed || s == Unknown || s == Unreachable || s == Recovered || s == CutOff
}

// Notice is something that happened after the head was settled, or that an operator wants to know.
type Notice struct {
	Aggregator string
	Standing   Standing // found out after the head was settled, or Forked; "" where the notice is another
	Receipt    uint64   // height of the header that was receipted; 0 where the notice is another
	Head       *lightchain.SignedHeader
	Fork       *lightchain.Fork
	Err        error // an aggregator's message that its key signed and that cannot be
}
