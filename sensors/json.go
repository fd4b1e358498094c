package sensors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edgechain.example/lightchain"
)

// copyAbove is the payload size, in bytes, from which names and texts are copied out of it: a short name must not
// keep a long payload in memory.
const copyAbove = 4096

// decodeJSON reads the json dialect: any JSON text, in document order, each number, text, boolean and null a reading
// named by its path. A bare value is named as in the value dialect; empty objects and arrays give no reading.
func (d *Decoder) decodeJSON(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, refuse(Empty, "no payload")
	}
	w := d.newWalk(in, text)
	defer w.release()
	w.space()
	if c := w.peek(); c != '{' && c != '[' {
		return w.bareText()
	}
	if err := w.documents(false); err != nil {
		return nil, err
	}
	return w.settle()
}

// newWalk takes a walk whose room was used before.
func (d *Decoder) newWalk(in *arrival, text string) *walk {
	w, ok := d.walks.Get().(*walk)
	if !ok {
		w = &walk{Decoder: d}
	}
	w.in, w.s, w.lenient = in, text, true
	return w
}

// release gives the walk back for the next payload, with the room it has and nothing of what it read.
func (w *walk) release() {
	if cap(w.path) > copyAbove {
		w.path = nil
	}
	clear(w.out)
	clear(w.about)
	clear(w.keys)
	clear(w.members)
	clear(w.frames)
	*w = walk{
		scanner: scanner{keys: w.keys[:0]},
		Decoder: w.Decoder,
		out:     w.out[:0],
		about:   w.about[:0],
		path:    w.path[:0],
		odd:     w.odd[:0],
		members: w.members[:0],
		frames:  w.frames[:0],
	}
	w.walks.Put(w)
}

// walk is one pass over a payload of the json dialect. What it gathers is copied out at the end, to size.
type walk struct {
	scanner
	*Decoder
	in     *arrival
	out    []lightchain.Reading
	about  []about // of each reading
	values int     // seen so far
	size   int     // bytes of the names made so far

	path    []byte   // the name, from the top of the payload, of the object or array that we are in
	odd     []span   // the members' names in it that have a dot or a backslash
	level   int      // how many objects and arrays that is below the top
	members []member // of all open objects, innermost last
	summing bool     // every array of more than fewSamples numbers is summed up
	sampled bool     // what is taken now is computed of samples

	frames  []frame // all so far; the first is the payload, or a line of it
	frame   int     // the innermost that we are in
	matched int     // how many steps of messages_path lead to where we are; they match from the top without a gap
}

// about is what is kept of a reading until it is settled.
type about struct {
	frame   int
	value   bool   // it stands at value_path or below, or is a message by itself: something else names it, and its name goes behind
	escaped string // its name with the dots in members' names escaped; "" where there are none
	unit    string // that stands with the value; "" where none does
}

// span is a part of walk.path.
type span struct{ start, end int }

// member is one of an object, and how many readings there were before it.
type member struct {
	key   string
	first int
}

func (w *walk) bareText() ([]lightchain.Reading, error) {
	w.lenient = false // a payload that is nothing but NaN is not understood
	v, _, err := w.scalar()
	if err != nil {
		return nil, err
	}
	if err := w.end(); err != nil {
		return nil, err
	}
	return []lightchain.Reading{w.bare(w.in, v)}, nil
}

// documents reads the object or array that is the payload, or those of its lines. Where there are too many values, it begins
// again and sums up every array of many numbers.
func (w *walk) documents(lines bool) error {
	start := w.i
	err := w.documentsOnce(lines)
	if err == nil || !errors.Is(err, errTooMany) {
		return err
	}
	w.i, w.depth, w.level, w.matched, w.values, w.size, w.summing = start, 0, 0, 0, 0, 0, true
	w.forget(0)
	clear(w.out)
	w.out, w.about, w.frames, w.path, w.odd, w.members = w.out[:0], w.about[:0], w.frames[:0], w.path[:0], w.odd[:0], w.members[:0]
	return w.documentsOnce(lines)
}

func (w *walk) documentsOnce(lines bool) error {
	if !lines {
		if err := w.document(); err != nil {
			return err
		}
		return w.end()
	}
	for w.space(); w.i < len(w.s); w.space() {
		if c := w.peek(); c != '{' && c != '[' {
			return w.syntax("an object or array")
		}
		if err := w.document(); err != nil {
			return err
		}
	}
	return nil
}

// document reads the object or array at the top.
func (w *walk) document() error {
	w.begin()
	return w.container()
}

// begin begins a payload, or a line of one.
func (w *walk) begin() {
	w.frame = len(w.frames)
	w.frames = append(w.frames, frame{parent: -1, message: len(w.messages) == 0})
}

var errTooMany = refuse(TooMany, "more than %d values", maxValues)

// container reads the object or array whose bracket is next.
func (w *walk) container() error {
	if w.peek() == '{' {
		return w.object()
	}
	if w.summing {
		if done, err := w.manySamples(); done {
			return err
		}
	}
	at, depth, keys, members, odd := w.i, w.depth, len(w.keys), len(w.members), len(w.odd)
	out, values, size, frames := len(w.out), w.values, w.size, len(w.frames)
	err := w.array()
	switch {
	case err == nil || !errors.Is(err, errTooMany):
		return err
	case len(w.frames) > frames, // an array of messages is no array of samples
		values == maxValues: // there is no room for what it would become
		return err
	}
	// SPEC: an array that brings a message above 1,024 values and does not hold numbers alone. One of numbers alone becomes five derived readings
	w.i, w.depth = at, depth
	w.forget(keys)
	clear(w.out[out:])
	w.out, w.about, w.values, w.size = w.out[:out], w.about[:out], values, size
	w.members, w.odd = w.members[:members], w.odd[:odd]
	return w.samples()
}

func (w *walk) object() error {
	if err := w.open(); err != nil {
		return err
	}
	mark, own := len(w.keys), len(w.members)
	for n := 0; ; n++ {
		key, ok, err := w.member(mark, n)
		switch {
		case err != nil:
			return err
		case !ok && n == 0:
			return w.count() // an empty object or array counts as a value
		case !ok:
			return w.close(mark, own)
		}
		w.members = append(w.members, member{key, len(w.out)})
		if err := w.child(key, false); err != nil {
			return err
		}
	}
}

func (w *walk) array() error {
	if err := w.open(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		ok, err := w.element(n)
		switch {
		case err != nil:
			return err
		case !ok && n == 0:
			return w.count()
		case !ok:
			return nil
		}
		if err := w.child(strconv.Itoa(n), true); err != nil {
			return err
		}
	}
}

// child reads what stands under key in an object or array.
func (w *walk) child(key string, inArray bool) (err error) {
	c := w.peek()
	branch := c == '{' || c == '['
	step := w.stepInto(key, inArray, branch, c == '[')
	if branch {
		w.level++
		err = w.container()
		w.level--
	} else {
		err = w.leaf(key, step.whole)
	}
	w.stepOut(step)
	return err
}

// A step is where we were before we went to what stands under a key.
type step struct {
	path, odd, frame, matched int
	whole                     bool // what stands there is a value, and a message by itself
}

// stepInto goes to what stands under key; branch says that it is an object or array, isArray which.
func (w *walk) stepInto(key string, inArray, branch, isArray bool) step {
	s := step{path: len(w.path), odd: len(w.odd), frame: w.frame, matched: w.matched}
	w.path = w.appendName(w.path, key)
	if !inArray && (strings.IndexByte(key, '.') >= 0 || strings.IndexByte(key, '\\') >= 0) {
		w.odd = append(w.odd, span{len(w.path) - len(key), len(w.path)})
	}
	if w.matched == len(w.messages) || w.matched != w.depth-1 {
		return s
	}
	name, last := w.messages[w.matched], w.matched == len(w.messages)-1
	if (name == "*" || name == key) && (branch || last && w.valuePath != "") {
		w.matched++
		w.enter(key, name == "*" && !inArray, last)
		f := &w.frames[w.frame]
		f.between = name != "*" && !last
		f.array = last && w.valuePath != "" && isArray
		s.whole = !branch
	}
	return s
}

func (w *walk) stepOut(s step) {
	w.path, w.odd, w.frame, w.matched = w.path[:s.path], w.odd[:s.odd], s.frame, s.matched
}

// appendName appends the name of what stands here under key.
func (w *walk) appendName(b []byte, key string) []byte {
	if w.level > 0 {
		b = append(b, '.')
	}
	return append(b, key...)
}

// leaf reads a value that is neither object nor array; whole says that it is a message by itself.
func (w *walk) leaf(key string, whole bool) error {
	if err := w.count(); err != nil {
		return err
	}
	w.spoilt = false
	v, literal, err := w.scalar()
	if err != nil {
		return err
	}
	r := lightchain.Reading{Value: v}
	if w.spoilt {
		r.Quality = lightchain.Bad
	}
	return w.take(key, literal, r, whole)
}

// take gives a value to the field that it is, or makes it a reading. Its name from the top is w.path.
func (w *walk) take(key, literal string, r lightchain.Reading, whole bool) error {
	if w.named {
		if taken, err := w.field(r.Value, literal); taken || err != nil {
			return err
		}
	}
	f := &w.frames[w.frame]
	start := min(f.nameStart(), len(w.path))
	name := w.path[start:]
	a := about{frame: w.frame}
	switch {
	case whole:
		a.value = true
	case f.message && f.array:
		a.value, start = true, f.start-1 // with what parts it from the name of the whole
	case f.message && w.valuePath != "" && w.isValue(name):
		a.value, start = true, start+len(w.valuePath)
	}
	switch {
	case w.messagesOnly && !f.message:
		return nil
	case a.value:
		f.valued = true
		name = w.path[start:]
	case w.valuePath != "" && len(w.fields) == 0:
		f.passed = true
		return nil
	case !w.wants(name):
		return nil
	}
	// Names repeat what surrounds them, and so can grow far beyond the payload.
	if w.size += len(name); w.size > maxReadingsSize {
		return refuse(TooLarge, "names above %d bytes in all", maxReadingsSize)
	}
	if w.level == 0 && key != "" && !a.value {
		r.Name = w.keep(key)
	} else {
		r.Name = string(name)
	}
	a.escaped = w.escapedName(start)
	if text, ok := r.Value.Text(); ok && r.Value.Kind() == lightchain.KindText && len(w.s) > copyAbove {
		r.Value = lightchain.Text(w.keep(text))
	}
	w.out, w.about = append(w.out, r), append(w.about, a)
	return nil
}

// keep returns a string that may outlive the message.
func (w *walk) keep(s string) string {
	if len(w.s) > copyAbove {
		return strings.Clone(s)
	}
	return s
}

func (w *walk) count() error {
	// SPEC: more than 1,024 values make the message not understood
	if w.values == maxValues {
		return errTooMany
	}
	w.values++
	return nil
}

// isValue reports whether a name in a message is value_path, or below it.
func (w *walk) isValue(name []byte) bool {
	n := len(w.valuePath)
	return len(name) >= n && string(name[:n]) == w.valuePath && (len(name) == n || name[n] == '.' || name[n] == '/' && w.sampled)
}

var nameEscape = strings.NewReplacer(".", `\.`, `\`, `\\`)

// escapedName is the name from start on with the dots and backslashes in members' names escaped, so that no other members have
// it; "" where there are none.
func (w *walk) escapedName(start int) string {
	if len(w.odd) == 0 || w.odd[len(w.odd)-1].end <= start {
		return ""
	}
	var b strings.Builder
	for _, odd := range w.odd {
		if odd.start >= start {
			b.Write(w.path[start:odd.start])
			b.WriteString(nameEscape.Replace(string(w.path[odd.start:odd.end])))
			start = odd.end
		}
	}
	b.Write(w.path[start:])
	return b.String()
}

// close takes the values away that stand under a repeated key of the object that ends, whose keys and members begin at mark
// and own: which of them was meant, nobody knows. It refuses the message where such a key may have named the device.
//
// SPEC: the values under a repeated key, once each
func (w *walk) close(mark, own int) error {
	repeated := w.repeated(mark)
	members := w.members[own:]
	defer func() {
		clear(members)
		w.members = w.members[:own]
	}()
	if len(repeated) == 0 {
		return nil
	}
	for _, key := range repeated {
		if err := w.repeatedField(key); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	at := members[0].first
	for n, m := range members {
		end := len(w.out)
		if n+1 < len(members) {
			end = members[n+1].first
		}
		_, spoil := slices.BinarySearch(repeated, m.key)
		for i := m.first; i < end; i++ {
			r, a := w.out[i], w.about[i]
			if spoil {
				if a.frame != w.frame {
					return duplicate(w.i, m.key) // of which message it is
				}
				name := cmp.Or(a.escaped, r.Name)
				if seen[name] {
					continue
				}
				seen[name] = true
				r.Value, r.Quality, r.Derived = lightchain.Value{}, lightchain.Bad, false
			}
			w.out[at], w.about[at] = r, a
			at++
		}
	}
	clear(w.out[at:])
	w.out, w.about = w.out[:at], w.about[:at]
	return nil
}

// repeatedField says what it costs that a key is repeated under which a field of the configuration may stand: time and quality
// are bad then, of anything else nobody would know whose the message is.
func (w *walk) repeatedField(key string) error {
	if !w.named {
		return nil
	}
	mark := len(w.path)
	w.path = w.appendName(w.path, key)
	name := string(w.path)
	w.path = w.path[:mark]
	f, path := w.decides(name)
	switch {
	case path == "":
	case path == w.timePath:
		f.time, f.hasTime = beyondBelief, true
		w.doubt("the time at %.40s stands there more than once", path)
	case path == w.qualityPath:
		f.quality = lightchain.Bad
	default:
		return duplicate(w.i, key)
	}
	return nil
}

// doubt notes what a payload that is read lacks; the first of it stays.
func (w *walk) doubt(format string, args ...any) {
	if w.in.doubt == "" {
		w.in.doubt = fmt.Sprintf(format, args...)
	}
}
