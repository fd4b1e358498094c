package main

import (
	"fmt"
	"io"
	"strings"

	"edgechain.example/lightchain"
)

// checkFork verifies evidence that a gateway's keys signed two histories.
func (o *outcome) checkFork(r io.Reader, expected int64, trust *lightchain.Trust) error {
	b, err := readAtMost(r, lightchain.MaxProof+1, expected)
	if err == nil {
		o.fork, err = lightchain.VerifyFork(b, trust)
	}
	return err
}

// describeFork says whom evidence of a fork accuses, and of what.
func describeFork(b *strings.Builder, r *lightchain.ForkReport) {
	fmt.Fprintf(b, "  chain     %s\n", r.Chain)
	if r.Name != "" {
		fmt.Fprintf(b, "  gateway   %s\n", printable(r.Name))
	}
	if r.Conflict == nil {
		fmt.Fprintf(b, "  height    %d: two different headers stand there\n", r.Height)
	} else {
		fmt.Fprintf(b, "  heights   %d and %d: no one history holds both headers\n", r.Sides[0].Head.Height, r.Sides[1].Head.Height)
		fmt.Fprintf(b, "  because   %v\n", r.Conflict)
	}
	for i := range r.Sides {
		s := &r.Sides[i]
		fmt.Fprintf(b, "\n  history %c\n", 'A'+i)
		fmt.Fprintf(b, "  header    %s at height %d\n", s.Hash, s.Height)
		if s.HeadHash != s.Hash {
			fmt.Fprintf(b, "  shown by  header %d, %s\n", s.Head.Height, s.HeadHash)
		}
		fmt.Fprintf(b, "  sealed    %s by the gateway's clock, then %s, in its boot %d\n", instant(s.Head.Sealed), s.Head.Clock.State, s.Head.Clock.Boot)
		fmt.Fprintf(b, "  signed    by %s\n", lightchain.FormatPublicKey(s.Key))
		if len(s.ReceiptedBy) > 0 {
			fmt.Fprintf(b, "  receipts  %s\n", countersigners(s.ReceiptedBy))
		}
	}
	b.WriteString("\n  Proved:\n")
	b.WriteString("  - Whoever holds this chain's key, or held it before a change, signed both. A gateway that runs as it should never does.\n")
	for _, name := range r.Both {
		fmt.Fprintf(b, "  - %s countersigned both, against its word that each extends all that it countersigned before.\n", name)
	}
	b.WriteString("\n  Not proved:\n")
	b.WriteString("  - How it came about: a copied card, an old image put back, a stolen key or intent leave the same traces.\n")
	fmt.Fprintf(b, "  - Which history is the true one, and that they are the same below height %d.\n", r.Height)
}

// reversalNote says how an aggregator contradicts itself.
func reversalNote(r lightchain.Reversal) string {
	return fmt.Sprintf("%s contradicts itself: it countersigned header %d at %s, and header %d, which is later, at %s: its clock or its word is wrong",
		r.Lower.Name, r.Lower.Height, second(r.Lower.Time), r.Higher.Height, second(r.Higher.Time))
}

// forkJSON is what evidence of a fork shows.
type forkJSON struct {
	Height uint64      `json:"height"`             // the lower one, where the sides' heights differ
	Why    string      `json:"conflict,omitempty"` // why no one history holds both, where their heights differ
	Sides  [2]sideJSON `json:"sides"`
	Both   []string    `json:"receipted_both"` // aggregators that countersigned both sides
}

type sideJSON struct {
	Hash        lightchain.Hash          `json:"hash"`        // of this side's header at the height, or of its head
	HeadHeight  uint64                   `json:"head_height"` // of the signed header that shows it
	HeadHash    lightchain.Hash          `json:"head_hash"`
	Sealed      int64                    `json:"sealed"` // when the head was, nanoseconds since the Unix epoch, by the gateway's clock
	Clock       string                   `json:"clock"`
	Boot        uint64                   `json:"boot"`
	Key         string                   `json:"key"` // "ssh-ed25519 …", which signed it
	ReceiptedBy []lightchain.ReceiptedBy `json:"receipted_by,omitempty"`
}

func newForkJSON(r *lightchain.ForkReport) *forkJSON {
	out := &forkJSON{Height: r.Height, Both: append([]string{}, r.Both...)}
	if r.Conflict != nil {
		out.Why = r.Conflict.Error()
	}
	for i := range r.Sides {
		s := &r.Sides[i]
		out.Sides[i] = sideJSON{
			Hash: s.Hash, HeadHeight: s.Head.Height, HeadHash: s.HeadHash, Sealed: s.Head.Sealed, Clock: s.Head.Clock.State.String(),
			Boot: s.Head.Clock.Boot, Key: lightchain.FormatPublicKey(s.Key), ReceiptedBy: s.ReceiptedBy,
		}
	}
	return out
}
