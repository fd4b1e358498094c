package lightchain

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Note is what a person says of a chain, or a file that a person puts beside what was recorded. It is an entry of the
// gateway's, agent:note or agent:attach, and may be signed by the person, whose word no gateway can invent.
type Note struct {
	Who     string // who says it, by his own word
	When    string // "2026-11-28T20:41:48Z", by the clock of where it was written
	Entries []Span // numbers of the entries that it is about
	Heights []Span // heights of the blocks that it is about
	Head    *Head  // the newest header that its author had; nil: it names numbers alone
	Reason  string
	Meaning string // of the signature: "approved", "reviewed"
	Text    string // may have lines
	File    *File  // nil: a note without one
}

// Span is a stretch of numbers, both included.
type Span [2]uint64

// Head names a header, and with it all that was recorded up to it: a note that has one is about what its author saw, not
// about whatever may come to stand under the same numbers. In JSON it is [height, "hash"].
type Head struct {
	Height uint64
	Hash   Hash
}

// MarshalJSON returns the head as a note holds it.
func (h Head) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `[%d,"%s"]`, h.Height, h.Hash), nil
}

// UnmarshalJSON reads what MarshalJSON returned.
func (h *Head) UnmarshalJSON(b []byte) (err error) {
	*h, err = parseHead(b)
	return err
}

// File describes an attachment. Its bytes need not be there.
type File struct {
	Name      string
	MediaType string
	Size      uint64
	SHA256    Hash
}

// Sources of people's entries.
const (
	SourceNote   = "agent:note"
	SourceAttach = "agent:attach"
)

// Limits of a note. A number in it is one that every reader of JSON has.
const (
	maxNoteWords = 1024  // bytes of each part but the text
	maxNoteText  = 65536 // bytes
	maxSpans     = 64    // of entries, and of heights
	maxNoteNum   = 1<<53 - 1

	// MaxStatement is more bytes than the statement of any note has.
	MaxStatement = maxNoteText + 16*maxNoteWords
)

// Check refuses what no note can say.
func (n *Note) Check() error {
	words := []struct {
		name, text string
		needed     bool
	}{{"who", n.Who, true}, {"reason", n.Reason, false}, {"meaning", n.Meaning, false}}
	if n.File != nil {
		words = append(words, []struct {
			name, text string
			needed     bool
		}{{"name", n.File.Name, true}, {"media_type", n.File.MediaType, true}}...)
		if n.File.Size > maxNoteNum {
			return errors.New("size: above 2^53-1")
		}
	}
	for _, w := range words {
		switch {
		case w.text == "" && w.needed:
			return fmt.Errorf("%s: it is missing", w.name)
		case len(w.text) > maxNoteWords:
			return fmt.Errorf("%s: %d bytes are above the limit of %d", w.name, len(w.text), maxNoteWords)
		case !utf8.ValidString(w.text) || strings.ContainsFunc(w.text, unicode.IsControl):
			return fmt.Errorf("%s: one line of UTF-8 is expected", w.name)
		}
	}
	if len(n.Text) > maxNoteText {
		return fmt.Errorf("text: %d bytes are above the limit of %d", len(n.Text), maxNoteText)
	}
	if !utf8.ValidString(n.Text) || strings.ContainsFunc(n.Text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return errors.New("text: UTF-8 is expected, without control characters but tabs and ends of lines")
	}
	if !isInstant(n.When) {
		return fmt.Errorf("when %.40q: a time like 2026-11-28T20:41:48Z is expected", n.When)
	}
	if err := checkSpans("entries", n.Entries); err != nil {
		return err
	}
	if err := checkSpans("heights", n.Heights); err != nil {
		return err
	}
	return n.checkHead()
}

// SPEC: the number is not below the last of `heights`
func (n *Note) checkHead() error {
	switch {
	case n.Head == nil:
		return nil
	case n.Head.Height > maxNoteNum:
		return errors.New("head: its height is above 2^53-1")
	case len(n.Heights) > 0 && n.Head.Height < n.Heights[len(n.Heights)-1][1]:
		return fmt.Errorf("head: header %d is below block %d, which the note is about", n.Head.Height, n.Heights[len(n.Heights)-1][1])
	}
	return nil
}

func checkSpans(name string, all []Span) error {
	if len(all) > maxSpans {
		return fmt.Errorf("%s: %d stretches are above the limit of %d", name, len(all), maxSpans)
	}
	for i, s := range all {
		// SPEC: each begins above the end of the one before
		if s[0] > s[1] || s[1] > maxNoteNum || i > 0 && s[0] <= all[i-1][1] {
			return fmt.Errorf("%s: %d-%d does not follow in ascending order", name, s[0], s[1])
		}
	}
	return nil
}

// isInstant reports whether text has the form of a time in UTC, to the second. Which times there are is no matter here.
func isInstant(text string) bool {
	const form = "0000-00-00T00:00:00Z"
	if len(text) != len(form) {
		return false
	}
	for i := range len(form) {
		if c := text[i]; c != form[i] && (form[i] != '0' || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// The first lines of statements.
const (
	noteBegin   = "edgechain note 1"
	attachBegin = "edgechain attachment 1"
)

// Statement returns the text that a person signs, which says all that the note says, and of which chain.
//
// SPEC: What is signed is the statement, this text in UTF-8, each line ended by LF, lines left out whose member is
func (n *Note) Statement(chain ChainID) []byte {
	var b strings.Builder
	line := func(word, text string) {
		if text != "" {
			b.WriteString(word + " " + text + "\n")
		}
	}
	if n.File == nil {
		b.WriteString(noteBegin + "\n")
	} else {
		b.WriteString(attachBegin + "\n")
	}
	line("chain", chain.String())
	line("when", n.When)
	line("who", n.Who)
	line("entries", formatSpans(n.Entries))
	line("heights", formatSpans(n.Heights))
	if n.Head != nil {
		line("head", fmt.Sprintf("%d %s", n.Head.Height, n.Head.Hash))
	}
	if f := n.File; f != nil {
		line("name", f.Name)
		line("media_type", f.MediaType)
		line("size", strconv.FormatUint(f.Size, 10))
		line("sha256", f.SHA256.String())
	}
	line("reason", n.Reason)
	line("meaning", n.Meaning)
	if n.Text != "" {
		b.WriteString("text\n" + n.Text + "\n")
	}
	return []byte(b.String())
}

func formatSpans(all []Span) string {
	var words []string
	for _, s := range all {
		words = append(words, fmt.Sprintf("%d-%d", s[0], s[1]))
	}
	return strings.Join(words, " ")
}

// ParseStatement reads back what [Note.Statement] returned, and nothing else.
func ParseStatement(b []byte) (n *Note, chain ChainID, err error) {
	wrong := func(err error) (*Note, ChainID, error) {
		return nil, ChainID{}, fmt.Errorf("not the statement of a note: %w", err)
	}
	if len(b) > MaxStatement {
		return wrong(errors.New("it is too long"))
	}
	n = new(Note)
	rest := string(b)
	next := func(word string) (text string) {
		line, more, _ := strings.Cut(rest, "\n")
		text, found := strings.CutPrefix(line, word+" ")
		if !found {
			return ""
		}
		rest = more
		return text
	}
	first, more, _ := strings.Cut(rest, "\n")
	if rest = more; first == attachBegin {
		n.File = new(File)
	} else if first != noteBegin {
		return wrong(fmt.Errorf("%q or %q is expected first", noteBegin, attachBegin))
	}
	if chain, err = ParseChainID(next("chain")); err != nil {
		return wrong(err)
	}
	n.When, n.Who = next("when"), next("who")
	if n.Entries, err = ParseSpans(next("entries")); err == nil {
		n.Heights, err = ParseSpans(next("heights"))
	}
	if head := next("head"); head != "" && err == nil {
		height, hash, _ := strings.Cut(head, " ")
		n.Head = new(Head)
		if n.Head.Height, err = strconv.ParseUint(height, 10, 53); err == nil {
			n.Head.Hash, err = ParseHash(hash)
		}
	}
	if f := n.File; f != nil && err == nil {
		f.Name, f.MediaType = next("name"), next("media_type")
		if f.Size, err = strconv.ParseUint(next("size"), 10, 53); err == nil {
			f.SHA256, err = ParseHash(next("sha256"))
		}
	}
	if err != nil {
		return wrong(err)
	}
	n.Reason, n.Meaning = next("reason"), next("meaning")
	if text, found := strings.CutPrefix(rest, "text\n"); found {
		n.Text, rest = strings.TrimSuffix(text, "\n"), ""
	}
	if err := n.Check(); err != nil {
		return wrong(err)
	}
	if rest != "" || string(n.Statement(chain)) != string(b) {
		return wrong(errors.New("a line is out of place, or not as it is written"))
	}
	return n, chain, nil
}

// ParseSpans reads stretches parted by spaces: "1042-1047 1050-1050". A single number stands for itself.
func ParseSpans(text string) (all []Span, err error) {
	for _, word := range strings.Fields(text) {
		first, last, found := strings.Cut(word, "-")
		if !found {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 53)
		b, errB := strconv.ParseUint(last, 10, 53)
		if err := errors.Join(errA, errB); err != nil {
			return nil, fmt.Errorf("%s: a number, or two with a hyphen between, is expected", quoted(word))
		}
		all = append(all, Span{a, b})
	}
	return all, nil
}

// NoteStanding is what a signature on a note is worth to a verifier.
type NoteStanding string

// How a note may stand.
const (
	NoteUnsigned  NoteStanding = "unsigned"    // the gateway's word alone
	NoteSigned    NoteStanding = "signed"      // by a person that the trust file names
	NoteStranger  NoteStanding = "unknown key" // under a key that the trust file does not name: it would show nobody, and is not checked
	NoteUnchecked NoteStanding = "unchecked"   // under the key of a person, in a bundle of more signatures than are checked
	NoteBad       NoteStanding = "bad"         // the signature is wrong, or the entry is no note although its source says so
)

// NoteBinding is whether the header that a note names is the one that its chain has.
type NoteBinding string

// How the header that a note names, and the headers in sight, stand to each other.
const (
	BindingNone   NoteBinding = ""       // it names none, or stands bad
	BindingSame   NoteBinding = "same"   // its chain has this header, so the note is about what stands there
	BindingShort  NoteBinding = "short"  // its chain has this header, but the note is about entries above it, too
	BindingUnseen NoteBinding = "unseen" // no header in sight tells
	BindingOther  NoteBinding = "other"  // its chain has another header there: the note contradicts the file, or the file the note
)

// NoteReport is a note in an entry, and who signed it.
type NoteReport struct {
	Note     *Note // nil if the entry cannot be read as one
	Standing NoteStanding
	Signer   string    // the person's name in the trust file
	Key      PublicKey // that signed it; zero where none is known
	Bytes    bool      // the bytes of an attachment are there
	Err      error     // why it stands bad, or contradicts the file that it is in
	Binding  NoteBinding

	said Hash // of the statement and the signature, where that is under a person's key
}

// Contradicted reports whether a note is not what it says to be: it stands bad, or its chain has another header than the one
// that it names. Neither fails a check, and each must be told before all else.
func (r *NoteReport) Contradicted() bool { return r.Standing == NoteBad || r.Binding == BindingOther }

// placed is what is known of a height: the hash of the header there, and the number behind its last entry.
type placed struct {
	hash Hash
	next uint64
}

// at returns what a header in sight tells of a height, its own or the one right below it.
//
// SPEC: A header in sight tells two hashes: its own, and in key 4 that of the header right below it
func (s seen) at(height uint64) (placed, bool) {
	switch h := s.header; {
	case h.Height == height:
		return placed{s.hash, h.First + h.Count}, true
	case h.Height > 0 && h.Height-1 == height:
		return placed{h.Previous, h.First}, true
	}
	return placed{}, false
}

// HashAt returns the hash of the header at a height, as far as this one tells it: its own, or that of the one right below.
func (s *SignedHeader) HashAt(height uint64) (Hash, bool) {
	there, tells := s.seen().at(height)
	return there.hash, tells
}

// bind compares the header that a note names with what is known of its height. own is the height of the note's own block.
func (r *NoteReport) bind(own uint64, known func(height uint64) (placed, bool)) {
	if r.Note == nil || r.Note.Head == nil {
		return
	}
	head, all := r.Note.Head, r.Note.Entries
	there, inSight := placed{}, false
	if head.Height < own {
		there, inSight = known(head.Height)
	}
	switch {
	case head.Height >= own: // SPEC: whose hash no author can have had
		r.Binding, r.Err = BindingOther, fmt.Errorf("it names header %d, and stands in block %d itself: nobody can have had that header before", head.Height, own)
	case !inSight:
		r.Binding = BindingUnseen
	case there.hash != head.Hash:
		r.Binding, r.Err = BindingOther, fmt.Errorf("it names header %d with the hash %s, and the header there has the hash %s: what it is about was another history", head.Height, head.Hash, there.hash)
	case len(all) > 0 && all[len(all)-1][1] >= there.next:
		r.Binding = BindingShort
	default:
		r.Binding = BindingSame
	}
}

// NoteView is a person's entry as programs tell it in JSON.
type NoteView struct {
	Standing NoteStanding `json:"standing"`
	Signer   string       `json:"signer,omitempty"` // by the trust file
	Key      string       `json:"key,omitempty"`    // that signed it
	Error    string       `json:"error,omitempty"`
	Who      string       `json:"who,omitempty"`
	When     string       `json:"when,omitempty"`
	Entries  []Span       `json:"entries,omitempty"`
	Heights  []Span       `json:"heights,omitempty"`
	Head     *Head        `json:"head,omitempty"`    // that it names
	Binding  NoteBinding  `json:"binding,omitempty"` // of a file that was verified: whether its chain has that header
	Reason   string       `json:"reason,omitempty"`
	Meaning  string       `json:"meaning,omitempty"`
	Text     string       `json:"text,omitempty"`
	Attached *FileView    `json:"attached,omitempty"`
}

// FileView describes an attachment.
type FileView struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Size      uint64 `json:"size"`
	SHA256    Hash   `json:"sha256"`
	Here      bool   `json:"here"` // its bytes are in the payload
}

// View returns the report as it is told in JSON.
func (r *NoteReport) View() NoteView {
	v := NoteView{Standing: r.Standing, Signer: r.Signer, Binding: r.Binding}
	if r.Key != (PublicKey{}) {
		v.Key = FormatPublicKey(r.Key)
	}
	if r.Err != nil {
		v.Error = r.Err.Error()
	}
	if n := r.Note; n != nil {
		v.Who, v.When, v.Entries, v.Heights, v.Head, v.Reason, v.Meaning, v.Text = n.Who, n.When, n.Entries, n.Heights, n.Head, n.Reason, n.Meaning, n.Text
		if f := n.File; f != nil {
			v.Attached = &FileView{f.Name, f.MediaType, f.Size, f.SHA256, r.Bytes}
		}
	}
	return v
}

// IsNote reports whether an entry from this source is one of a person.
func IsNote(source string) bool { return source == SourceNote || source == SourceAttach }

// CheckNote refuses a person's entry of a chain that no verifier would take, whoever signed it.
func CheckNote(e *Entry, chain ChainID) error {
	_, signature, err := ReadNote(e)
	if err != nil || signature == "" {
		return err
	}
	s, err := ParseSSHSignature(signature)
	if err != nil {
		return err
	}
	return JudgeNote(e, chain, &Trust{Persons: []Person{{Key: s.Key}}}).Err
}

// JudgeNote reads a person's entry of a chain, and says who signed it. A signature under a key that t does not name is not
// checked.
//
// SPEC: Nothing that has a name among the checks fails for a note … a program says so first, and exits as if the file did
// not verify
func JudgeNote(e *Entry, chain ChainID, t *Trust) *NoteReport {
	return judgeNote(e, chain, t, func(_ Hash, verify func() bool) (good, checked bool) { return verify(), true })
}

// judgeNote asks check whether a signature is good, of which it gives the hash over statement and signature.
func judgeNote(e *Entry, chain ChainID, t *Trust, check func(said Hash, verify func() bool) (good, checked bool)) *NoteReport {
	n, signature, err := ReadNote(e)
	if err != nil {
		return &NoteReport{Standing: NoteBad, Err: err}
	}
	r := &NoteReport{Note: &n.Note, Standing: NoteUnsigned, Bytes: n.Data != nil}
	if signature == "" {
		return r
	}
	s, err := ParseSSHSignature(signature)
	if err != nil {
		r.Standing, r.Err = NoteBad, err
		return r
	}
	r.Key = s.Key
	i := slices.IndexFunc(t.Persons, func(p Person) bool { return p.Key == s.Key })
	if i < 0 {
		r.Standing = NoteStranger
		return r
	}
	statement := n.Statement(chain)
	r.said = Hash(sha256.Sum256(slices.Concat(statement, []byte(signature))))
	switch good, checked := check(r.said, func() bool { return s.Verify(statement) }); {
	case !checked:
		r.Standing = NoteUnchecked
	case good:
		r.Standing, r.Signer = NoteSigned, t.Persons[i].Name
	default:
		r.Standing, r.Err = NoteBad, errors.New("the signature is not one over what stands here, in this chain")
	}
	return r
}

// matches reports whether the bytes are the attachment's.
func (f *File) matches(size uint64, sum [sha256.Size]byte) bool {
	return size == f.Size && Hash(sum) == f.SHA256
}
