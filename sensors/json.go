package sensors

import (
	"errors"
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
	if err := w.document(); err != nil {
		return nil, err
	}
	if err := w.end(); err != nil {
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
	clear(w.frames)
	*w = walk{
		scanner: scanner{keys: w.keys[:0]},
		Decoder: w.Decoder,
		out:     w.out[:0],
		about:   w.about[:0],
		path:    w.path[:0],
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

	path  []byte // the name, from the top of the payload, of the object or array that we are in
	level int    // how many objects and arrays that is below the top

	frames  []frame // all so far; the first is the payload, or a line of it
	frame   int     // the innermost that we are in
	matched int     // how many steps of messages_path lead to where we are; they match from the top without a gap
}

// about is what is kept of a reading until it is settled.
type about struct {
	frame   int
	value   bool   // it stands at value_path, or is a message by itself: something else names it
	escaped string // its name with the dots in members' names escaped; "" where there are none
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
	at, depth, keys := w.i, w.depth, len(w.keys)
	out, values, size, frames := len(w.out), w.values, w.size, len(w.frames)
	err := w.array()
	if err == nil || !errors.Is(err, errTooMany) || len(w.frames) > frames { // an array of messages is no array of samples
		return err
	}
	// SPEC: an array that brings a message above 1,024 values and does not hold numbers alone. One of numbers alone becomes five derived readings
	w.i, w.depth = at, depth
	w.forget(keys)
	clear(w.out[out:])
	w.out, w.about, w.values, w.size = w.out[:out], w.about[:out], values, size
	return w.samples()
}

func (w *walk) object() error {
	if err := w.open(); err != nil {
		return err
	}
	mark, first := len(w.keys), len(w.out)
	for n := 0; ; n++ {
		key, ok, err := w.member(mark, n)
		switch {
		case err != nil:
			return err
		case !ok && n == 0:
			return w.count() // an empty object or array counts as a value
		case !ok:
			for _, key := range w.repeated(mark) {
				if err := w.spoil(key, first); err != nil {
					return err
				}
			}
			return nil
		}
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
	step := w.stepInto(key, inArray, branch)
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
	path, frame, matched int
	whole                bool // what stands there is a value, and a message by itself
}

// stepInto goes to what stands under key; branch says that it is an object or array.
func (w *walk) stepInto(key string, inArray, branch bool) step {
	s := step{path: len(w.path), frame: w.frame, matched: w.matched}
	w.path = w.appendName(w.path, key)
	if w.matched == len(w.messages) || w.matched != w.depth-1 {
		return s
	}
	name, last := w.messages[w.matched], w.matched == len(w.messages)-1
	if (name == "*" || name == key) && (branch || last && w.valuePath != "") {
		w.matched++
		w.enter(key, name == "*" && !inArray, last)
		s.whole = !branch
	}
	return s
}

func (w *walk) stepOut(s step) { w.path, w.frame, w.matched = w.path[:s.path], s.frame, s.matched }

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
	name := w.path[min(f.nameStart(), len(w.path)):]
	a := about{frame: w.frame, value: whole || w.valuePath != "" && f.message && string(name) == w.valuePath}
	switch {
	case w.messagesOnly && !f.message,
		!a.value && w.valuePath != "" && len(w.fields) == 0,
		!a.value && !w.wants(name):
		return nil
	}
	// Names repeat what surrounds them, and so can grow far beyond the payload.
	if w.size += len(name); w.size > maxReadingsSize {
		return refuse(TooLarge, "names above %d bytes in all", maxReadingsSize)
	}
	if !a.value {
		if w.level == 0 && key != "" {
			r.Name = w.keep(key)
		} else {
			r.Name = string(name)
		}
		if strings.IndexByte(key, '.') >= 0 {
			a.escaped = string(name[:len(name)-len(key)]) + strings.ReplaceAll(key, ".", `\.`)
		}
	}
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

// spoil takes the values away that stand under a repeated key of the object in which we are, whose first reading is that of
// first: which of them was meant, nobody knows. It refuses the message where such a key may have named the device.
//
// SPEC: the values under a repeated key, once each
func (w *walk) spoil(key string, first int) error {
	mark := len(w.path)
	w.path = w.appendName(w.path, key)
	name := string(w.path)
	w.path = w.path[:mark]
	if w.named && w.decides(name) {
		return duplicate(w.i, key)
	}
	name = name[min(w.frames[w.frame].nameStart(), len(name)):]
	seen := map[string]bool{}
	at := first
	for i := first; i < len(w.out); i++ {
		r, a := w.out[i], w.about[i]
		if a.frame != w.frame {
			return duplicate(w.i, key) // of which message it is
		}
		if !a.value && (r.Name == name || strings.HasPrefix(r.Name, name+".")) {
			if seen[r.Name] {
				continue
			}
			seen[r.Name] = true
			r.Value, r.Quality, r.Derived = lightchain.Value{}, lightchain.Bad, false
		}
		w.out[at], w.about[at] = r, a
		at++
	}
	clear(w.out[at:])
	w.out, w.about = w.out[:at], w.about[:at]
	return nil
}

// settle gives the readings what is said about all of them, once all of it has been read: it may stand behind them.
func (w *walk) settle() ([]lightchain.Reading, error) {
	if len(w.out) == 0 {
		return nil, nil
	}
	var says said
	was, dotted := -1, false
	for i := range w.out {
		r, a := &w.out[i], &w.about[i]
		if a.frame != was {
			says, was = w.saidOf(a.frame), a.frame
		}
		prefix := w.in.place.prefix
		switch {
		case !a.value && says.name != "":
			prefix = join(prefix, ".", says.name)
		case !a.value:
		case says.name != "":
			r.Name = says.name
		default:
			r.Name, prefix = w.in.place.name, ""
		}
		w.measure(r, says.unit)
		if prefix != "" {
			r.Name = prefix + "." + r.Name
		}
		if a.escaped != "" {
			dotted = true
			if prefix != "" {
				a.escaped = prefix + "." + a.escaped
			}
		}
		r.Device = says.device
		says.time.on(r, w.in.received)
		r.Quality |= says.quality
	}
	if dotted {
		w.keepApart()
	}
	return slices.Clone(w.out), nil
}

// keepApart gives readings that would have one name theirs with the dots in members' names escaped.
func (w *walk) keepApart() {
	type named struct{ device, name string }
	times := make(map[named]int, len(w.out))
	for i := range w.out {
		times[named{w.out[i].Device, w.out[i].Name}]++
	}
	for i := range w.out {
		r := &w.out[i]
		if times[named{r.Device, r.Name}] > 1 && w.about[i].escaped != "" {
			r.Name = w.about[i].escaped
		}
	}
}
