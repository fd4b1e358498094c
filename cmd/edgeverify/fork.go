package main

import (
	"fmt"
	"strings"

	"edgechain.example/lightchain"
)

// describeFork says whom evidence of a fork accuses, and of what.
func describeFork(b *strings.Builder, r *lightchain.ForkReport) {
	fmt.Fprintf(b, "  chain     %s\n", r.Chain)
	if r.Name != "" {
		fmt.Fprintf(b, "  gateway   %s\n", printable(r.Name))
	}
	if r.Conflict == nil {
		fmt.Fprintf(b, "  height    %d: two different headers stand there\n", r.Height)
	} else {
		fmt.Fprintf(b, "  heights   %d and %d: no one history holds both headers\n", r.Sides[0].Height, r.Sides[1].Height)
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
	list(b, "Proved", forkProved(r))
	list(b, "Not proved", forkNotProved(r))
}

func forkProved(r *lightchain.ForkReport) []string {
	all := []string{"Whoever holds this chain's key, or held it before a change, signed both. A gateway that runs as it should never does."}
	for _, name := range r.Both {
		all = append(all, name+" countersigned both, against its word that each extends all that it countersigned before.")
	}
	return all
}

func forkNotProved(r *lightchain.ForkReport) []string {
	return []string{"How it came about: a copied card, an old image put back, a stolen key or intent leave the same traces.",
		fmt.Sprintf("Which history is the true one, and that they are the same below height %d.", r.Height)}
}

// reversalNote says how an aggregator contradicts itself.
func reversalNote(r lightchain.Reversal) string {
	return fmt.Sprintf("%s contradicts itself: it countersigned header %d at %s, and header %d, which is later, at %s: its clock or its word is wrong",
		r.Lower.Name, r.Lower.Height, second(r.Lower.Time), r.Higher.Height, second(r.Higher.Time))
}
