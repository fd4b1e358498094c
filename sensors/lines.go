package sensors

import (
	"bytes"
	"encoding/csv"
	"errors"
	"slices"
	"strconv"
	"strings"

	"edgechain.example/lightchain"
)

// Dialects of one message a line. Each line is a payload by itself: it has a time and a device of its own.

// decodeLines reads the ndjson dialect: JSON objects or arrays, one behind the other.
func (d *Decoder) decodeLines(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	w := d.newWalk(in, text)
	defer w.release()
	if err := w.documents(true); err != nil {
		return nil, err
	}
	if len(w.frames) == 0 {
		return nil, refuse(Empty, "no line")
	}
	return w.settle()
}

// cell takes one named value of a line.
func (w *walk) cell(name string, v lightchain.Value, literal string) error {
	if err := w.count(); err != nil {
		return err
	}
	w.keys = append(w.keys, name)
	w.members = append(w.members, member{name, len(w.out)})
	w.path = append(w.path[:0], name...)
	err := w.take(name, literal, lightchain.Reading{Value: v}, false)
	w.path = w.path[:0]
	return err
}

// textCell is cell for a value that is written as a bare one is; an empty one is null.
func (w *walk) textCell(name, text string) error {
	text = strings.Trim(text, " \t\r")
	v, err := bareValue(text)
	switch {
	case ReasonOf(err) == Empty:
		return w.cell(name, lightchain.Value{}, "")
	case err == nil:
		return w.cell(name, v, strings.TrimPrefix(text, "+"))
	}
	if err := w.cell(name, lightchain.Value{}, ""); err != nil { // NaN, or no text: the value alone is lost
		return err
	}
	if n := len(w.out); n > 0 && w.out[n-1].Name == name {
		w.out[n-1].Quality |= lightchain.Bad
	}
	return nil
}

// decodeCSV reads the csv dialect (RFC 4180), the names of whose columns are configured or stand in its first line.
func (d *Decoder) decodeCSV(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	w := d.newWalk(in, text)
	defer w.release()
	lines := csv.NewReader(strings.NewReader(text))
	lines.FieldsPerRecord = -1
	lines.TrimLeadingSpace = d.separator != " " && d.separator != "\t" // it would take those for an empty value
	if d.separator != "" {
		lines.Comma = rune(d.separator[0])
	}
	all, err := lines.ReadAll()
	if err != nil {
		return nil, refuse(Syntax, "%.120s", err)
	}
	columns := d.columns
	if len(columns) == 0 && len(all) > 0 {
		columns, all = all[0], all[1:]
	}
	if len(all) == 0 {
		return nil, refuse(Empty, "no line with values")
	}
	for n, values := range all {
		if len(values) != len(columns) {
			return nil, refuse(WrongColumns, "line %d has %d values, where %d columns are named", n+1, len(values), len(columns))
		}
		w.begin()
		for i, text := range values {
			if columns[i] == "_" || columns[i] == "" {
				continue
			}
			if err := w.textCell(columns[i], text); err != nil {
				return nil, err
			}
		}
		if err := w.close(0, 0); err != nil {
			return nil, err
		}
	}
	return w.settle()
}

// decodePairs reads the pairs dialect: name=value, several of them in a line. What is no pair is passed over.
func (d *Decoder) decodePairs(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	w := d.newWalk(in, text)
	defer w.release()
	w.begin()
	found := false
	for _, part := range pairParts(strings.TrimRight(text, "\r\n"), d.separator) {
		name, value, isPair := strings.Cut(strings.Trim(part, " \t\r\n"), "=")
		if name = strings.TrimRight(name, " \t"); !isPair || name == "" {
			continue
		}
		found = true
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			err = w.cell(name, lightchain.Text(value[1:n-1]), "")
		} else {
			err = w.textCell(name, value)
		}
		if err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, refuse(Syntax, "no name=value in %.40q", text)
	}
	if err := w.close(0, 0); err != nil {
		return nil, err
	}
	return w.settle()
}

// pairParts parts pairs at the separator, or at the first of a line's end, ";", "&", "," and a space that a text has.
func pairParts(text, separator string) []string {
	if separator != "" {
		return splitOutsideQuotes(text, separator[0])
	}
	for _, s := range [...]byte{'\n', ';', '&', ',', ' '} {
		if parts := splitOutsideQuotes(text, s); len(parts) > 1 && (s != ',' || !partNumbers(parts)) {
			return parts
		}
	}
	return []string{text}
}

// partNumbers reports whether commas that parted a text may be those of numbers, as in "t=21,5 h=45".
func partNumbers(parts []string) bool {
	for _, part := range parts[1:] {
		name, _, isPair := strings.Cut(strings.Trim(part, " \t"), "=")
		if name != "" && isDigit(name[0]) && (!isPair || strings.ContainsAny(strings.TrimRight(name, " \t"), " \t")) {
			return true
		}
	}
	return false
}

// splitOutsideQuotes splits a text, but not within a value that stands in quotation marks.
func splitOutsideQuotes(text string, separator byte) (parts []string) {
	first := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == separator:
			parts = append(parts, text[first:i])
			first = i + 1
		case c == '"' && i > 0 && text[i-1] == '=':
			if end := strings.IndexByte(text[i+1:], '"'); end >= 0 {
				i += 1 + end
			}
		}
	}
	return append(parts, text[first:])
}

// decodeInflux reads the line protocol of InfluxDB: the time stands in its place, fields are readings, and tags may name the
// device.
func (d *Decoder) decodeInflux(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	w := d.newWalk(in, text)
	defer w.release()
	for text := range strings.SplitSeq(text, "\n") {
		if text = strings.TrimRight(text, "\r"); text == "" || text[0] == '#' {
			continue
		}
		if err := w.influxLine(text); err != nil {
			return nil, err
		}
	}
	if len(w.frames) == 0 {
		return nil, refuse(Empty, "no line")
	}
	return w.settle()
}

// decodeInfluxWithTimes is decodeInflux for a payload that nobody said is of that dialect: each of its lines has a time that
// can be one, in nanoseconds.
func (d *Decoder) decodeInfluxWithTimes(in *arrival) ([]lightchain.Reading, error) {
	const digits = len("1000000000000000000")
	last := bytes.TrimRight(in.payload, "\r\n\x00")
	if at := bytes.LastIndexByte(last, ' '); at < 0 || len(last)-at-1 != digits || !bytes.Contains(last, []byte("=")) {
		return nil, errNotInflux
	}
	out, err := d.decodeInflux(in)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if !out[i].Timed || out[i].Quality&lightchain.Bad != 0 {
			return nil, errNotInflux
		}
	}
	return out, nil
}

var errNotInflux = refuse(Syntax, "not InfluxDB's line protocol with times")

var errInflux = errors.New("expected measurement[,tag=value…] field=value[,field=value…] [time]")

func (w *walk) influxLine(text string) error {
	rest, stop := influxToken(text, ", ")
	measurement := rest
	bad := func() error { return refuse(Syntax, "%.60q: %s", text, errInflux) }
	if measurement == "" || stop < 0 {
		return bad()
	}
	at := stop
	w.begin()
	tag := func(name, value string) error {
		w.path = append(w.path[:0], name...)
		taken, err := w.field(lightchain.Text(value), "")
		w.path = w.path[:0]
		if taken {
			w.keys = append(w.keys, name)
			w.members = append(w.members, member{name, len(w.out)})
		}
		return err
	}
	if err := tag("measurement", measurement); err != nil {
		return err
	}
	for text[at] == ',' {
		name, end := influxToken(text[at+1:], "=")
		if end < 0 || name == "" {
			return bad()
		}
		at += 1 + end
		value, end := influxToken(text[at+1:], ", ")
		if end < 0 {
			return bad()
		}
		at += 1 + end
		if err := tag(name, value); err != nil {
			return err
		}
	}
	w.frames[w.frame].series = w.keep(text[:at])
	for fields := 0; fields == 0 || at < len(text) && text[at] == ','; fields++ {
		name, end := influxToken(text[at+1:], "=")
		if end < 0 || name == "" {
			return bad()
		}
		at += 1 + end
		v, literal, size, ok := influxValue(text[at+1:])
		if !ok {
			return bad()
		}
		at += 1 + size
		if err := w.cell(name, v, literal); err != nil {
			return err
		}
	}
	if when := strings.Trim(text[at:], " "); when != "" {
		if text[at] != ' ' || !isNumber(when) {
			return bad()
		}
		f := &w.frames[w.frame]
		f.time, f.hasTime = w.influxTime(when), true
	}
	return w.close(0, 0)
}

// influxTime reads a time as the dialect has it: in nanoseconds, unless the configuration says otherwise.
func (w *walk) influxTime(when string) stamp {
	if w.dialect != influx {
		return unixStamp(when, 0)
	}
	return w.clock.readCount(when)
}

// influxToken reads up to one of the characters in stop that is not escaped. at is where that stands, -1 if none does.
func influxToken(s, stop string) (token string, at int) { return unescape(s, stop, `,= \`) }

// unescape is influxToken for text in which a backslash escapes one of some characters.
func unescape(s, stop, escaped string) (token string, at int) {
	var before []byte // of the token, without its backslashes
	begin := 0
	for at = 0; at < len(s) && strings.IndexByte(stop, s[at]) < 0; at++ {
		if s[at] == '\\' && at+1 < len(s) && strings.IndexByte(escaped, s[at+1]) >= 0 {
			before = append(before, s[begin:at]...)
			at++
			begin = at
		}
	}
	if token = s[begin:at]; before != nil {
		token = string(append(before, token...))
	}
	if at == len(s) {
		at = -1
	}
	return token, at
}

// influxValue reads a field's value and says how long it is.
func influxValue(s string) (v lightchain.Value, literal string, size int, ok bool) {
	if strings.HasPrefix(s, `"`) {
		text, end := unescape(s[1:], `"`, `"\`)
		return lightchain.Text(text), "", end + 2, end >= 0
	}
	size = strings.IndexAny(s, ", ")
	if size < 0 {
		size = len(s)
	}
	word := s[:size]
	switch word {
	case "t", "T", "true", "True", "TRUE":
		return lightchain.Bool(true), "", size, true
	case "f", "F", "false", "False", "FALSE":
		return lightchain.Bool(false), "", size, true
	}
	literal = strings.TrimRight(word, "iu")
	if whole := len(literal) < len(word); whole {
		if len(literal) < len(word)-1 || strings.ContainsAny(literal, ".eE") {
			return v, "", 0, false
		}
	} else if !strings.ContainsAny(literal, ".eE") && isNumber(literal) {
		literal += ".0" // without a letter behind it a number is a float there
	}
	sc := scanner{s: strings.TrimPrefix(literal, "+"), lenient: true}
	v, _, err := sc.number()
	if err != nil || sc.spoilt || sc.i != len(sc.s) {
		if f, err := strconv.ParseFloat(literal, 64); err == nil && !slices.Contains([]string{"", "nan", "inf"}, strings.ToLower(strings.TrimLeft(literal, "+-"))) {
			v, err := finite(f) // ".5", "5."
			return v, literal, size, err == nil
		}
		return v, "", 0, false
	}
	return v, literal, size, true
}
