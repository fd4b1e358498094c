package main

import (
	"cmp"
	"fmt"
	"strings"

	"edgechain.example/lightchain"
)

// What a person signed is his own word, which no gateway can invent. It is told apart from the gateway's, and one that is
// not what it says to be is told first: the rest of the file verifies, and is worth less than it seems.

// badNotes says which notes of a file that verified are not what they say to be, or were about another history; "" if none is.
func (o *outcome) badNotes() string {
	var all []string
	together := uint64(0) // bad notes that are not in the list by themselves
	proof, bundle := cmp.Or(o.proof, o.soundProof), cmp.Or(o.bundle, o.soundBundle)
	if proof != nil && proof.Note != nil && proof.Note.Contradicted() {
		all = append(all, fmt.Sprintf("entry %d: %v", proof.Number, proof.Note.Err))
	}
	if bundle != nil {
		for _, n := range bundle.Notes {
			if n.Contradicted() {
				all = append(all, fmt.Sprintf("entry %d: %v", n.First, n.Err))
				together += n.Count - 1
			}
			if n.Standing == lightchain.NoteUnchecked {
				all = append(all, fmt.Sprintf("from entry %d on %d signed notes are not checked, since a bundle of this size has too many signatures: take several smaller bundles, or prove these notes one by one", n.First, n.Count))
			}
		}
	}
	if more := len(all) - mostShown; more > 0 {
		all, together = all[:mostShown], together+uint64(more)
	}
	if together > 0 {
		all = append(all, fmt.Sprintf("and %d more", together))
	}
	return strings.Join(all, "; ")
}

// headline is the first line of what is told of a file that verified.
func (o *outcome) headline(b *strings.Builder) {
	if bad := o.badNotes(); bad != "" {
		fmt.Fprintf(b, "%s: NOT VERIFIED\n  %s\n\n", nameOf(o.file), printable(badNotesText(bad)))
		return
	}
	fmt.Fprintf(b, "%s: VERIFIED\n\n", nameOf(o.file))
}

func badNotesText(bad string) string {
	return "What a person said does not hold here: " + bad + ". All else verifies: the gateway's key signed that this was recorded."
}

// noteLines says what a person said, and whose word that is.
func noteLines(b *strings.Builder, r *lightchain.NoteReport) {
	if n := r.Note; n != nil {
		what := "note"
		if n.File != nil {
			what = "attached"
			fmt.Fprintf(b, "  attached  %s, %s, %d bytes, SHA-256 %s\n", quoted(n.File.Name), quoted(n.File.MediaType), n.File.Size, n.File.SHA256)
			if !r.Bytes {
				b.WriteString("  note      the attachment's bytes are not here: whoever has the file compares its SHA-256\n")
			}
		}
		fmt.Fprintf(b, "  %-9s by %s, written %s\n", what, author(r), printable(n.When))
		for _, part := range [...]struct{ word, text string }{
			{"about", aboutText(n)}, {"reason", n.Reason}, {"meaning", n.Meaning},
		} {
			if part.text != "" {
				fmt.Fprintf(b, "  %-9s %s\n", part.word, printable(part.text))
			}
		}
		if n.Text != "" { // each line is marked: none of them may pass for one of this report
			for line := range strings.SplitSeq(n.Text, "\n") {
				fmt.Fprintf(b, "  text      | %s\n", printable(line))
			}
		}
	}
	fmt.Fprintf(b, "  signature %s\n", printable(signatureText(r)))
	if text := bindingText(r); text != "" {
		fmt.Fprintf(b, "  bound     %s\n", printable(text))
	}
}

// author says who a note is by: whoever signed it, and not whoever it names.
func author(r *lightchain.NoteReport) string {
	switch {
	case r.Standing != lightchain.NoteSigned:
		return quoted(r.Note.Who) + ", as the gateway says"
	case r.Signer == r.Note.Who:
		return r.Signer + ", by his own word"
	}
	return fmt.Sprintf("%s, who calls himself %s, by his own word", r.Signer, quoted(r.Note.Who))
}

// bindingText says whether what a note is about is bound by more than its numbers.
func bindingText(r *lightchain.NoteReport) string {
	if r.Note == nil {
		return ""
	}
	head := r.Note.Head
	switch r.Binding {
	case lightchain.BindingSame:
		return fmt.Sprintf("to header %d by its hash: it is about what this history has up to there", head.Height)
	case lightchain.BindingShort:
		return fmt.Sprintf("to header %d by its hash; what it says of later entries names their numbers alone", head.Height)
	case lightchain.BindingUnseen:
		return fmt.Sprintf("to header %d with the hash %s: it could not be compared, for no header here tells the hash at that height. A bundle or another proof may", head.Height, head.Hash)
	case lightchain.BindingOther:
		return fmt.Sprintf("CONTRADICTED: %v", r.Err)
	}
	if r.Standing == lightchain.NoteBad {
		return ""
	}
	return "to numbers alone: it names no header"
}

var inQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quoted is for text from elsewhere that shares its line with words of this report: it must not pass for one of them.
func quoted(s string) string {
	begins, more := cut(s)
	return `"` + printable(inQuotes.Replace(begins)) + `"` + more
}

func aboutText(n *lightchain.Note) string {
	var all []string
	for _, about := range [...]struct {
		what  string
		spans []lightchain.Span
	}{{"entry", n.Entries}, {"block", n.Heights}} {
		for _, s := range about.spans {
			if s[0] == s[1] {
				all = append(all, fmt.Sprintf("%s %d", about.what, s[0]))
			} else {
				all = append(all, fmt.Sprintf("%s %d to %d", about.what, s[0], s[1]))
			}
		}
	}
	return strings.Join(all, ", ")
}

// signatureText says whose word a note is.
func signatureText(r *lightchain.NoteReport) string {
	switch r.Standing {
	case lightchain.NoteSigned:
		return fmt.Sprintf("signed by %s, with %s", r.Signer, lightchain.FormatPublicKey(r.Key))
	case lightchain.NoteStranger:
		if r.Key == (lightchain.PublicKey{}) {
			return "of more keys that your trust file does not name, too many to be listed"
		}
		return "not checked, of a key that your trust file does not name, so that it would show nobody: " + lightchain.FormatPublicKey(r.Key)
	case lightchain.NoteUnchecked:
		return fmt.Sprintf("NOT CHECKED, under %s: too many stand before it", lightchain.FormatPublicKey(r.Key))
	case lightchain.NoteBad:
		return fmt.Sprintf("BAD: %v", r.Err)
	}
	return "none: it is the gateway's word alone that somebody said this"
}

// noteCautions says of a note that somebody else signed it than it names, and that it speaks of what was recorded after it: no agent takes one in, so its author did not
// see what it is about.
func noteCautions(r *lightchain.Report) (all []string) {
	if n := r.Note; n != nil && n.Note != nil && n.Standing == lightchain.NoteSigned && !strings.EqualFold(n.Signer, n.Note.Who) {
		all = append(all, fmt.Sprintf("What is said there is signed by %s, and names another author: %s. It is the word of %s", n.Signer, quoted(n.Note.Who), n.Signer))
	}
	if !noteAhead(r) {
		return all
	}
	return append(all, "The note is about entries or blocks that were recorded after it, so its author cannot have seen them. No agent takes such a note: ask whoever holds the gateway")
}

func noteAhead(r *lightchain.Report) bool {
	if r.Note == nil || r.Note.Note == nil {
		return false
	}
	beyond := func(all []lightchain.Span, own uint64) bool { return len(all) > 0 && all[len(all)-1][1] >= own }
	return beyond(r.Note.Note.Entries, r.Number) || beyond(r.Note.Note.Heights, r.Header.Height)
}

// noteNotProved says what does not follow from a note.
func noteNotProved(r *lightchain.NoteReport) []string {
	all := []string{"That what is said there is true."}
	if r.Standing != lightchain.NoteSigned { // a signature under a key that nobody knows is not checked, so that anybody can make one
		return append(all, "That anybody said it: whoever controls the gateway when it records can invent a note.")
	}
	all = append(all, "When it was signed: that is its author's own word; and the gateway can record the same signed note again.")
	switch {
	case len(r.Note.Entries)+len(r.Note.Heights) == 0:
	case r.Note.Head == nil:
		all = append(all, "That its author had the same entries before him: what is signed names them by their numbers, not by their contents.")
	case r.Binding == lightchain.BindingUnseen:
		all = append(all, "That its author had the same entries before him: what is signed names a header that this file does not show.")
	case r.Binding == lightchain.BindingShort:
		all = append(all, "That its author had the same entries before him, of those above the header that he named.")
	}
	return all
}

// bundleNoteLines says how many notes a bundle has, of whom, and how they are bound.
func bundleNoteLines(b *strings.Builder, all []lightchain.BundleNotes) {
	for i := range all {
		n := &all[i]
		fmt.Fprintf(b, "  notes     %d, the first is entry %d; signature %s", n.Count, n.First, printable(signatureText(&n.NoteReport)))
		if text := bundleBinding[n.Binding]; text != "" {
			b.WriteString("; " + text)
		}
		if n.Repeats > 0 {
			fmt.Fprintf(b, "; %d of them the gateway recorded again, the same note with the same signature: they say the same once", n.Repeats)
		}
		b.WriteByte('\n')
	}
}

var bundleBinding = map[lightchain.NoteBinding]string{
	lightchain.BindingSame:   "bound to a header that this history has",
	lightchain.BindingShort:  "bound to a header that this history has, and about later entries by their numbers alone",
	lightchain.BindingUnseen: "bound to a header that is not in this file, so that it could not be compared",
	lightchain.BindingOther:  "CONTRADICTED",
}
