package sensors

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// copyAbove is the payload size, in bytes, from which names and texts are copied out of it: a short name must not
// keep a long payload in memory.
const copyAbove = 4096

// decodeJSON reads the json dialect: any JSON text, in document order, each number, text, boolean and null a reading
// named by its path. A bare value is named as in the value dialect; empty objects and arrays give no reading.
func (d *Decoder) decodeJSON(in *arrival) ([]lightchain.Reading, error) {
	if len(in.payload) == 0 {
		return nil, refuse(Empty, "no payload")
	}
	// SPEC: invalid UTF-8 […] make the message not understood
	if !utf8.Valid(in.payload) {
		return nil, refuse(BadUTF8, "the payload is not UTF-8")
	}
	w, ok := d.walks.Get().(*walk)
	if !ok {
		w = &walk{Decoder: d}
	}
	defer w.release()
	w.s = string(in.payload)
	w.space()
	if c := w.peek(); c != '{' && c != '[' {
		return w.bareText(in)
	}
	if err := w.container(); err != nil {
		return nil, err
	}
	if err := w.end(); err != nil {
		return nil, err
	}
	if len(w.out) == 0 {
		return nil, nil
	}
	w.settle(in)
	return slices.Clone(w.out), nil
}

// release gives the walk back for the next payload, with the room it has and nothing of what it read.
func (w *walk) release() {
	if cap(w.path) > copyAbove {
		w.path = nil
	}
	clear(w.out)
	clear(w.keys)
	clear(w.spans)
	*w = walk{
		scanner: scanner{keys: w.keys[:0]},
		Decoder: w.Decoder,
		out:     w.out[:0],
		path:    w.path[:0],
		spans:   w.spans[:0],
	}
	w.walks.Put(w)
}

// walk is one pass over a payload of the json dialect. What it gathers is copied out at the end, to size.
type walk struct {
	scanner
	*Decoder
	out    []lightchain.Reading
	values int // seen so far
	size   int // bytes of the names made so far

	path  []byte // the name of the object or array that we are in, within its message
	level int    // how many objects and arrays that is below the message's own

	message message   // the one that we are in
	spans   []message // those that have ended
	matched int       // how many steps of messages_path lead to where we are; they match from the top without a gap
}

// message is what a message says about all of its readings, which are out[from:to].
type message struct {
	from, to     int
	device, unit string
	key          string // the member's name that it stands under
	time         stamp
	hasTime      bool
}

func (w *walk) bareText(in *arrival) ([]lightchain.Reading, error) {
	v, _, err := w.scalar()
	if err != nil {
		return nil, err
	}
	if err := w.end(); err != nil {
		return nil, err
	}
	return []lightchain.Reading{w.bare(in, v)}, nil
}

// container reads the object or array whose bracket is next.
func (w *walk) container() error {
	isArray := w.peek() == '['
	if err := w.open(); err != nil {
		return err
	}
	mark := len(w.keys)
	for n := 0; ; n++ {
		var key string
		var ok bool
		var err error
		if isArray {
			if ok, err = w.element(n); ok {
				key = strconv.Itoa(n)
			}
		} else {
			key, ok, err = w.member(mark, n)
		}
		if err != nil {
			return err
		}
		if !ok {
			if n == 0 {
				return w.count() // an empty object or array counts as a value
			}
			return nil
		}
		if c := w.peek(); c == '{' || c == '[' {
			err = w.child(key, isArray)
		} else {
			err = w.leaf(key)
		}
		if err != nil {
			return err
		}
	}
}

// child reads an object or array that stands in another under key.
func (w *walk) child(key string, inArray bool) error {
	matched := w.matched
	if matched < len(w.messages) && matched == w.depth-1 {
		if step := w.messages[matched]; step == "*" || step == key {
			w.matched++
			if w.matched == len(w.messages) {
				err := w.messageAt(key, step == "*" && !inArray)
				w.matched = matched
				return err
			}
		}
	}
	mark := len(w.path)
	w.path = w.appendName(w.path, key)
	w.level++
	err := w.container()
	w.level--
	w.path, w.matched = w.path[:mark], matched
	return err
}

// messageAt reads a container that is a message by itself.
func (w *walk) messageAt(key string, named bool) error {
	outer, path, level := w.message, w.path, w.level
	w.message, w.path, w.level = message{from: len(w.out)}, path[len(path):], 0
	if named {
		w.message.key = w.keep(key)
	}
	err := w.container()
	w.message.to = len(w.out)
	w.spans = append(w.spans, w.message)
	w.message, w.path, w.level = outer, path, level
	return err
}

// appendName appends the name of what stands here under key.
func (w *walk) appendName(b []byte, key string) []byte {
	if w.level > 0 {
		b = append(b, '.')
	}
	return append(b, key...)
}

// leaf reads a value that is neither object nor array.
func (w *walk) leaf(key string) error {
	if err := w.count(); err != nil {
		return err
	}
	v, literal, err := w.scalar()
	if err != nil {
		return err
	}
	name := key
	if w.level > 0 {
		mark := len(w.path)
		w.path = w.appendName(w.path, key)
		name = string(w.path)
		w.path = w.path[:mark]
	} else {
		name = w.keep(key)
	}
	switch {
	case name == "":
	case name == w.timePath:
		w.message.time, err = w.clock.read(v, literal)
		w.message.hasTime = err == nil && v.Kind() != lightchain.KindNull
		return err
	case name == w.devicePath:
		w.message.device, err = w.word(name, v, literal)
		return err
	case name == w.unitPath:
		w.message.unit, err = w.word(name, v, literal)
		w.message.unit = unitSymbol(w.message.unit)
		return err
	}
	// Names repeat what surrounds them, and so can grow far beyond the payload.
	if w.size += len(name); w.size > maxReadingsSize {
		return refuse(TooLarge, "names above %d bytes in all", maxReadingsSize)
	}
	if len(w.s) > copyAbove && v.Kind() == lightchain.KindText {
		text, _ := v.Text()
		v = lightchain.Text(w.keep(text))
	}
	w.out = append(w.out, lightchain.Reading{Name: name, Value: v})
	return nil
}

// word takes a device's name or a unit from a field: a text, or a number as it is written. A null says nothing.
func (w *walk) word(name string, v lightchain.Value, literal string) (string, error) {
	switch v.Kind() {
	case lightchain.KindNull:
		return "", nil
	case lightchain.KindInt, lightchain.KindFloat:
		return w.keep(literal), nil
	case lightchain.KindText:
		text, _ := v.Text()
		return w.keep(text), nil
	}
	return "", refuse(WrongType, "%.40q is a boolean, where text was expected", name)
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
		return refuse(TooMany, "more than %d values", maxValues)
	}
	w.values++
	return nil
}

// settle gives the readings what is said about all of them, once all of it has been read: it may stand behind them.
func (w *walk) settle(in *arrival) {
	rest := w.message // the payload as a whole
	if rest.device == "" {
		rest.device = in.place.device
	}
	if rest.unit == "" {
		rest.unit = in.place.unit
	}
	from := 0
	for _, m := range w.spans {
		rest.from, rest.to = from, m.from
		w.put(&rest, in)
		if m.device == "" {
			m.device = m.key
		}
		if m.device == "" {
			m.device = rest.device
		}
		if m.unit == "" {
			m.unit = rest.unit
		}
		if !m.hasTime {
			m.time = rest.time
		}
		w.put(&m, in)
		from = m.to
	}
	rest.from, rest.to = from, len(w.out)
	w.put(&rest, in)
}

func (w *walk) put(m *message, in *arrival) {
	for i := m.from; i < m.to; i++ {
		r := &w.out[i]
		r.Device = m.device
		r.Unit = w.unitOf(r, m.unit)
		m.time.on(r, in.received)
		if in.place.prefix != "" {
			r.Name = in.place.prefix + "." + r.Name
		}
	}
}
