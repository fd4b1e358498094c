package sensors

import (
	"fmt"
	"slices"
	"strings"

	"edgechain.example/lightchain"
)

// maxParts is of how many fields a device's or a reading's name may be joined.
const maxParts = 4

// frame is an object or array that may say something about all readings in it: the payload as a whole, what stands on the
// way to a message, and a message itself.
type frame struct {
	parent  int
	start   int  // where in a name from the top one begins that is told from here
	message bool // what is in it are readings of a message
	between bool // it has a name of its own in messages_path, so that a path from around it can lead into it
	array   bool // the message is an array, and what is in it is its value

	valued, passed bool // a value at value_path was taken; others were passed over
	judged, coded  bool // what stands at quality_path is an object; it has a code
	series         string

	key          string // the member's name that it stands under, where that says something
	device, name [maxParts]string
	unit         string
	time         stamp
	hasTime      bool
	quality      lightchain.Quality
}

// nameStart is where in a name from the top the name of a reading begins: in a message, else there.
func (f *frame) nameStart() int {
	if f.message {
		return f.start
	}
	return 0
}

// enter begins the frame of what stands at w.path, under key; named says that the key tells something.
func (w *walk) enter(key string, named, message bool) {
	f := frame{parent: w.frame, start: len(w.path) + 1, message: message} // behind the dot
	if named {
		f.key = w.keep(key)
	}
	w.frame = len(w.frames)
	w.frames = append(w.frames, f)
}

// field takes the value at w.path if a path of the configuration leads there, from the message or from what is around it.
func (w *walk) field(v lightchain.Value, literal string) (taken bool, err error) {
	for i := w.frame; i >= 0; i = w.frames[i].parent {
		f := &w.frames[i]
		if f.start > len(w.path) {
			continue // a message by itself has no fields
		}
		name := w.path[f.start:]
		if at := indexOf(w.devicePath, name); at >= 0 {
			return true, w.word(&f.device[at], name, v, literal)
		}
		if at := indexOf(w.namePath, name); at >= 0 {
			return true, w.word(&f.name[at], name, v, literal)
		}
		switch string(name) {
		case "":
		case w.timePath:
			w.timeOf(f, v, literal)
			return true, nil
		case w.unitPath:
			err := w.word(&f.unit, name, v, literal)
			f.unit = unitSymbol(f.unit)
			return true, err
		case w.qualityPath:
			f.quality |= w.quality(v, literal)
			return true, nil
		}
		if w.qualityPath != "" && len(name) > len(w.qualityPath) && name[len(w.qualityPath)] == '.' && string(name[:len(w.qualityPath)]) == w.qualityPath {
			f.judged = true // {"Code":2150891520,"Symbol":"Bad…"}
			if strings.EqualFold(string(name[len(w.qualityPath)+1:]), "code") {
				f.coded = true
				f.quality |= w.quality(v, literal)
			}
			return true, nil
		}
	}
	return false, nil
}

// timeOf takes the time of a frame. Of two that may be meant, "a.b" and "a":{"b"}, none is.
func (w *walk) timeOf(f *frame, v lightchain.Value, literal string) {
	switch {
	case v.Kind() == lightchain.KindNull:
		return
	case f.hasTime:
		f.time = beyondBelief
		w.doubt("the time at %.40s stands there more than once", w.timePath)
		return
	}
	f.time, f.hasTime = w.clock.read(v, literal), true
	if !f.time.timed {
		w.doubt("the time %.40q at %s is not one that can be kept, or not in the configured format", v.String(), w.timePath)
	}
}

// decides returns the path of the configuration that leads to a name from the top, or below it, and the frame that it begins in; ""
// if none does. Of several it is one that more than time and quality hang on.
func (w *walk) decides(name string) (where *frame, found string) {
	for i := w.frame; i >= 0; i = w.frames[i].parent {
		f := &w.frames[i]
		if f.start > len(name) {
			continue
		}
		here := name[f.start:]
		for _, path := range slices.Concat(w.devicePath, w.namePath, []string{w.timePath, w.unitPath, w.qualityPath, w.valuePath}) {
			if path != "" && (path == here || strings.HasPrefix(path, here+".")) && (found == "" || path != w.timePath && path != w.qualityPath) {
				where, found = f, path
			}
		}
	}
	return where, found
}

func indexOf(paths []string, name []byte) int {
	for i, path := range paths {
		if path == string(name) {
			return i
		}
	}
	return -1
}

// word takes a name or a unit from a field: a text, or a number as it is written. A null says nothing. Of two, nobody knows which
// is meant.
func (w *walk) word(into *string, name []byte, v lightchain.Value, literal string) error {
	said := literal
	switch v.Kind() {
	case lightchain.KindNull:
		return nil
	case lightchain.KindInt, lightchain.KindFloat:
	case lightchain.KindText:
		said, _ = v.Text()
	default:
		return refuse(WrongType, "%.40q is a boolean, where text was expected", name)
	}
	if *into != "" {
		return refuse(DuplicateKey, "%.40q is said more than once of one message", name)
	}
	*into = w.keep(said)
	return nil
}

// quality reads the field that says how good a value is: of those configured as good, else true, a text that begins with
// "good", a status code of OPC UA whose two highest bits are 0. A null says nothing.
func (w *walk) quality(v lightchain.Value, literal string) lightchain.Quality {
	const uncertain = 1 << 30
	text, _ := v.Text()
	good := false
	switch v.Kind() {
	case lightchain.KindNull:
		return 0
	case lightchain.KindBool:
		good, _ = v.Bool()
		literal = fmt.Sprint(good)
	case lightchain.KindText:
		literal = text
		good = len(text) >= 4 && strings.EqualFold(text[:4], "good")
	case lightchain.KindInt:
		n, _ := v.Int()
		good = 0 <= n && n < uncertain
	}
	if len(w.qualityGood) > 0 {
		good = slices.Contains(w.qualityGood, literal)
	}
	if good {
		return 0
	}
	return lightchain.Bad
}

// said is what holds for the readings of a frame.
type said struct {
	device, name, unit string
	time               stamp
	quality            lightchain.Quality
}

// saidOf gathers what a frame says, and what it lacks from those around it, the nearest first; but those whose names stand in
// messages_path come last, since a path from the top can lead into them.
func (w *walk) saidOf(at int) (s said) {
	var device, name [maxParts]string
	var keys []string // outermost first
	series := ""
	timed := false
	for _, between := range [...]bool{false, true} {
		for i := at; i >= 0; i = w.frames[i].parent {
			f := &w.frames[i]
			if f.between != between {
				continue
			}
			for part := range maxParts {
				if device[part] == "" {
					device[part] = f.device[part]
				}
				if name[part] == "" {
					name[part] = f.name[part]
				}
			}
			if f.key != "" && w.frames[at].message {
				keys = slices.Insert(keys, 0, f.key)
			}
			if !timed && f.hasTime {
				s.time, timed = f.time, true
			}
			if s.unit == "" {
				s.unit = f.unit
			}
			if series == "" {
				series = f.series
			}
			s.quality |= f.quality
			if f.judged && !f.coded {
				s.quality |= lightchain.Bad // nobody knows what that object says
			}
		}
	}
	s.device, s.name = joined(device, "/"), joined(name, ".")
	// The keys of a message name what else nothing names: the last of them its value, where it has one, the others its device.
	if s.name == "" && w.valuePath != "" && len(keys) > 0 {
		s.name, keys = keys[len(keys)-1], keys[:len(keys)-1]
	}
	if s.device == "" {
		s.device = strings.Join(keys, "/")
	}
	if s.device == "" {
		s.device = w.in.place.device
		if series != "" && !w.in.place.named {
			s.device = join(s.device, "/", series)
		}
	}
	if s.unit == "" {
		s.unit = w.in.place.unit
	}
	return s
}

func joined(parts [maxParts]string, separator string) string {
	if parts[1] == "" && parts[2] == "" && parts[3] == "" {
		return parts[0]
	}
	return strings.Join(slices.DeleteFunc(parts[:], func(p string) bool { return p == "" }), separator)
}

// wants reports whether a field is to be a reading.
func (d *Decoder) wants(name []byte) bool {
	if len(d.fields) == 0 && len(d.ignore) == 0 {
		return true
	}
	s := string(name)
	return (len(d.fields) == 0 || matchesAny(d.fields, s)) && !matchesAny(d.ignore, s)
}

// matchesAny reports whether a name, or an object or array around it, is one of those that the patterns tell.
func matchesAny(patterns [][]string, name string) bool {
	return slices.ContainsFunc(patterns, func(p []string) bool { return matchesField(p, name) })
}

func matchesField(pattern []string, name string) bool {
	for _, step := range pattern {
		if name == "" {
			return false
		}
		level, rest, more := strings.Cut(name, ".")
		if step != "*" && step != level {
			return false
		}
		name = rest
		if !more {
			name = ""
		}
	}
	return true
}

// plainPath returns a path as it is compared: names joined by ".". It takes the spellings of JSONPath and of jq, too.
func plainPath(path string, stars bool) (string, error) {
	rest := strings.TrimPrefix(path, "$")
	if !strings.HasPrefix(rest, "..") {
		rest = strings.TrimPrefix(rest, ".")
	}
	if pointer := strings.TrimPrefix(rest, "#"); strings.HasPrefix(pointer, "/") {
		return "", fmt.Errorf("%q is a JSON Pointer; expected names joined by \".\", such as %q", path, strings.ReplaceAll(pointer[1:], "/", "."))
	}
	var plain strings.Builder
	for rest != "" {
		before, inside, bracket := strings.Cut(rest, "[")
		plain.WriteString(before)
		if !bracket {
			break
		}
		inside, after, closed := strings.Cut(inside, "]")
		step := strings.Trim(inside, `'"`)
		switch {
		case !closed:
			return "", fmt.Errorf("%q has no %q for its %q", path, "]", "[")
		case step == "":
			step = "*"
		case strings.ContainsAny(step, ":?@(,"):
			return "", fmt.Errorf("%q selects by %q; expected names joined by \".\", \"*\" for any", path, inside)
		}
		if plain.Len() > 0 {
			plain.WriteByte('.')
		}
		plain.WriteString(step)
		if after != "" && after[0] != '.' && after[0] != '[' {
			return "", fmt.Errorf("%q goes on with %q behind %q; expected \".\"", path, after, "]")
		}
		rest = after
	}
	s := plain.String()
	switch {
	case s == "" && path != "", strings.HasSuffix(s, "."):
		return "", fmt.Errorf("%q names no field; expected names joined by \".\"", path)
	case strings.Contains(s, ".."):
		return "", fmt.Errorf("%q looks at every depth; expected the names from the top", path)
	case !stars && slices.Contains(strings.Split(s, "."), "*"):
		return "", fmt.Errorf("%q has a \"*\", which only messages_path may; expected one field of a message, and messages_path = %q", path, beforeStar(s))
	}
	return s, nil
}

// beforeStar is the part of a path that leads to its last star.
func beforeStar(path string) string { return path[:strings.LastIndex(path, "*")+1] }

// plainPaths reads a list of paths, whose values are joined: "model,id".
func plainPaths(key, list string) (paths []string, err error) {
	if list == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		path, err := plainPath(strings.TrimSpace(part), false)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		paths = append(paths, path)
	}
	if len(paths) > maxParts {
		return nil, fmt.Errorf("%s: %d fields, above the limit of %d", key, len(paths), maxParts)
	}
	return paths, nil
}

// fieldPatterns reads a list of names of fields, in which "*" is any one level.
func fieldPatterns(key string, list []string) (patterns [][]string, err error) {
	for _, name := range list {
		path, err := plainPath(name, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if path == "" {
			return nil, fmt.Errorf("%s: expected names of fields, \"*\" for any", key)
		}
		patterns = append(patterns, strings.Split(path, "."))
	}
	return patterns, nil
}
