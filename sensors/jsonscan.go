package sensors

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// Limits on what a payload may hold before it counts as not understood.
const (
	maxDepth  = 32   // objects and arrays inside one another
	maxValues = 1024 // values; of SenML, readings
)

// scanner reads one JSON text in a single pass, as RFC 8259 has it: no comments, no trailing commas, no byte order mark.
// It is our own because encoding/json shows neither repeated keys nor whether a number had a fraction.
//
// Strings without escapes are parts of s, and are not copied.
type scanner struct {
	s     string // valid UTF-8: whoever makes a scanner has checked it
	i     int    // the next byte
	depth int    // objects and arrays open

	// A lenient scanner takes what many devices write, and says that the value is not to be had: NaN and infinities, a number
	// beyond a float. It leaves repeated keys to whoever closes an object.
	lenient bool
	spoilt  bool // the value read last was such a one; set, and reset by nobody but its reader

	// keys holds the member names of all open objects, innermost last. An object's own begin where keys ended when
	// it was opened.
	keys []string
}

// fewKeys is how many members of an object are compared with one another. More are sorted first.
const fewKeys = 24

func (s *scanner) syntax(expected string) error {
	if s.i >= len(s.s) {
		return refuse(Syntax, "cut short at byte %d, where %s was expected", s.i, expected)
	}
	return refuse(Syntax, "byte %d is %q, where %s was expected", s.i, s.s[s.i], expected)
}

func (s *scanner) space() {
	for s.i < len(s.s) {
		switch s.s[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end; a zero byte is nowhere allowed outside a string, so that nobody needs
// to tell the two apart.
func (s *scanner) peek() byte {
	if s.i < len(s.s) {
		return s.s[s.i]
	}
	return 0
}

// end checks that nothing but white space follows.
func (s *scanner) end() error {
	s.space()
	if s.i < len(s.s) {
		return s.syntax("the end")
	}
	return nil
}

// open enters the object or array whose bracket is next.
func (s *scanner) open() error {
	// SPEC: depth above 32 […] make the message not understood
	if s.depth == maxDepth {
		return refuse(TooDeep, "byte %d opens level %d, above the limit of %d", s.i, maxDepth+1, maxDepth)
	}
	s.depth++
	s.i++
	return nil
}

// member steps to the n-th member of an open object, counted from 0, and stands before its value; ok is false when
// the object has ended instead. mark is len(s.keys) as it was when the object was opened. Whoever reads leniently calls
// [scanner.repeated] then, before anything else.
func (s *scanner) member(mark, n int) (key string, ok bool, err error) {
	s.space()
	switch c := s.peek(); {
	case c == '}':
		s.i++
		s.depth--
		if s.lenient {
			return "", false, nil
		}
		return "", false, s.closeObject(mark)
	case n > 0 && c == ',':
		s.i++
		s.space()
	case n > 0:
		return "", false, s.syntax(`"," or "}"`)
	}
	if s.peek() != '"' {
		return "", false, s.syntax("a member's name")
	}
	if key, err = s.text(); err != nil {
		return "", false, err
	}
	s.keys = append(s.keys, key)
	s.space()
	if s.peek() != ':' {
		return "", false, s.syntax(`":"`)
	}
	s.i++
	s.space()
	return key, true, nil
}

func (s *scanner) closeObject(mark int) error {
	if key, repeats := s.firstRepeated(mark); repeats {
		return duplicate(s.i, key)
	}
	s.forget(mark)
	return nil
}

// firstRepeated looks for a key that the object just read, whose keys begin at mark, has more than once.
func (s *scanner) firstRepeated(mark int) (string, bool) {
	own := s.keys[mark:]
	if len(own) <= fewKeys {
		for i, key := range own {
			if slices.Contains(own[:i], key) {
				return key, true
			}
		}
		return "", false
	}
	slices.Sort(own)
	for i, key := range own[1:] {
		if key == own[i] {
			return key, true
		}
	}
	return "", false
}

// repeated returns the keys that the object just read, whose keys begin at mark, has more than once.
func (s *scanner) repeated(mark int) (keys []string) {
	if _, any := s.firstRepeated(mark); any {
		own := s.keys[mark:]
		slices.Sort(own)
		for i, key := range own[1:] {
			if key == own[i] && (len(keys) == 0 || keys[len(keys)-1] != key) {
				keys = append(keys, key)
			}
		}
	}
	s.forget(mark)
	return keys
}

// forget makes room for the keys of other objects. It is used again, and must not keep a payload in memory.
func (s *scanner) forget(mark int) {
	clear(s.keys[mark:])
	s.keys = s.keys[:mark]
}

func duplicate(at int, key string) error {
	// SPEC: repeated key […] so does each of these in SenML
	return refuse(DuplicateKey, "byte %d: %.40q is repeated in one object", at, key)
}

// element steps to the n-th element of an open array, counted from 0; ok is false when the array has ended instead.
func (s *scanner) element(n int) (ok bool, err error) {
	s.space()
	switch c := s.peek(); {
	case c == ']':
		s.i++
		s.depth--
		return false, nil
	case n > 0 && c == ',':
		s.i++
		s.space()
	case n > 0:
		return false, s.syntax(`"," or "]"`)
	}
	return true, nil
}

// scalar reads a string, number, boolean or null. For a number, literal is its text.
func (s *scanner) scalar() (v lightchain.Value, literal string, err error) {
	switch c := s.peek(); {
	case c == '"':
		text, err := s.text()
		return lightchain.Text(text), "", err
	case isDigit(c), c == '-' && (s.i+1 == len(s.s) || s.s[s.i+1]|0x20 != 'i' && s.s[s.i+1]|0x20 != 'n'):
		return s.number()
	case c == 't' && strings.HasPrefix(s.s[s.i:], "true"):
		s.i += len("true")
		return lightchain.Bool(true), "", nil
	case c == 'f' && strings.HasPrefix(s.s[s.i:], "false"):
		s.i += len("false")
		return lightchain.Bool(false), "", nil
	case c == 'n' && strings.HasPrefix(s.s[s.i:], "null"):
		s.i += len("null")
		return lightchain.Value{}, "", nil
	}
	if s.lenient && s.notFinite() {
		s.spoilt = true
		return lightchain.Value{}, "", nil
	}
	return v, "", s.syntax("a value")
}

// notFinite steps over NaN or an infinity, as languages print them.
func (s *scanner) notFinite() bool {
	rest := strings.TrimPrefix(s.s[s.i:], "-")
	for _, word := range [...]string{"infinity", "inf", "nan"} {
		if len(rest) >= len(word) && strings.EqualFold(rest[:len(word)], word) {
			s.i = len(s.s) - len(rest) + len(word)
			return true
		}
	}
	return false
}

// number reads a number and its kind.
//
// SPEC: a JSON number without fraction or exponent that fits an int is one (−0 is 0), one that fits 64 bits without a sign
// is the text of its digits, any other a float (−0.0 stays)
func (s *scanner) number() (v lightchain.Value, literal string, err error) {
	start := s.i
	negative := s.peek() == '-'
	if negative {
		s.i++
	}
	var n uint64 // the integer so far; whole says that it is exact
	whole := true
	switch c := s.peek(); {
	case c == '0':
		s.i++
	case '1' <= c && c <= '9':
		for ; s.i < len(s.s) && isDigit(s.s[s.i]); s.i++ {
			d := uint64(s.s[s.i] - '0')
			whole = whole && n <= (math.MaxUint64-d)/10
			n = n*10 + d
		}
	default:
		return v, "", s.syntax("a digit")
	}
	if s.peek() == '.' {
		whole = false
		s.i++
		if err := s.digits(); err != nil {
			return v, "", err
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		whole = false
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if err := s.digits(); err != nil {
			return v, "", err
		}
	}
	literal = s.s[start:s.i]
	switch {
	case whole && !negative && n <= math.MaxInt64:
		return lightchain.Int(int64(n)), literal, nil
	case whole && negative && n <= 1<<63:
		return lightchain.Int(-int64(n)), literal, nil
	case whole && !negative && s.lenient:
		return lightchain.Text(literal), literal, nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil && s.lenient {
		s.spoilt = true
		return lightchain.Value{}, literal, nil
	}
	if err != nil {
		// SPEC: a number beyond a 64-bit float […] so does each of these in SenML
		return v, "", refuse(Overflow, "byte %d: the number %.40q is beyond a 64-bit float", start, literal)
	}
	return lightchain.Float(f), literal, nil
}

func (s *scanner) digits() error {
	if !isDigit(s.peek()) {
		return s.syntax("a digit")
	}
	for isDigit(s.peek()) {
		s.i++
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// text reads the string whose quotation mark is next.
func (s *scanner) text() (string, error) {
	s.i++
	start := s.i
	for ; s.i < len(s.s); s.i++ {
		switch c := s.s[s.i]; {
		case c == '"':
			s.i++
			return s.s[start : s.i-1], nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return "", s.syntax("a character of a string")
		}
	}
	return "", s.syntax("the end of a string")
}

// escaped reads on in the string that began at start, from its first escape.
func (s *scanner) escaped(start int) (string, error) {
	b := append(make([]byte, 0, 2*(s.i-start)+16), s.s[start:s.i]...)
	for s.i < len(s.s) {
		c := s.s[s.i]
		switch {
		case c == '"':
			s.i++
			return string(b), nil
		case c < 0x20:
			return "", s.syntax("a character of a string")
		case c != '\\':
			b = append(b, c)
			s.i++
			continue
		}
		s.i++
		switch c := s.peek(); c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, err := s.unicode()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
			continue
		default:
			return "", s.syntax("an escape")
		}
		s.i++
	}
	return "", s.syntax("the end of a string")
}

// unicode reads a \u escape, or the pair of them that makes one character, from its "u" on.
func (s *scanner) unicode() (rune, error) {
	at := s.i - 1
	r, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if strings.HasPrefix(s.s[s.i:], `\u`) {
		s.i++
		low, err := s.hex4()
		if err != nil {
			return 0, err
		}
		r = utf16.DecodeRune(r, low)
	} else {
		r = utf8.RuneError
	}
	if r == utf8.RuneError {
		// Half a pair has no UTF-8; a replacement character would put words into the device's mouth.
		return 0, refuse(BadUTF8, "byte %d: a surrogate without its other half", at)
	}
	return r, nil
}

// hex4 reads "u" and four hexadecimal digits.
func (s *scanner) hex4() (r rune, err error) {
	s.i++
	for end := s.i + 4; s.i < end; s.i++ {
		switch c := s.peek(); {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, s.syntax("a hexadecimal digit")
		}
	}
	return r, nil
}

// skip reads a value of any kind and forgets it.
func (s *scanner) skip() error {
	switch s.peek() {
	case '{':
		if err := s.open(); err != nil {
			return err
		}
		mark := len(s.keys)
		for n := 0; ; n++ {
			_, ok, err := s.member(mark, n)
			if !ok && err == nil && s.lenient {
				s.forget(mark)
			}
			if err != nil || !ok {
				return err
			}
			if err := s.skip(); err != nil {
				return err
			}
		}
	case '[':
		if err := s.open(); err != nil {
			return err
		}
		for n := 0; ; n++ {
			ok, err := s.element(n)
			if err != nil || !ok {
				return err
			}
			if err := s.skip(); err != nil {
				return err
			}
		}
	}
	_, _, err := s.scalar()
	return err
}
