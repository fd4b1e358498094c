package sensors

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// Dialects of serial lines, whose telegrams may end with a checksum: characters are misread there.

// matcher finds the named groups of a pattern in a text: of each that took part its name, and the text that it is. It reports false
// for a text that is not as the pattern has it.
type matcher func(text string) (groups [][2]string, ok bool)

// compilePattern reads the regular expression of the dialect "regexp".
func compilePattern(pattern string) (matcher, error) {
	if pattern == "" {
		return nil, fmt.Errorf(`pattern: missing, where the dialect is %s; expected a regular expression whose named groups are the values, such as '^(?P<status>\w+),(?P<weight>[+-]?[\d.]+) *kg'`, dialectNames[byPattern])
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	names := re.SubexpNames()
	if !slices.ContainsFunc(names, func(name string) bool { return name != "" }) {
		return nil, fmt.Errorf("pattern: %q names no group; expected one for each value, such as (?P<weight>[0-9.]+)", pattern)
	}
	return func(text string) (groups [][2]string, ok bool) {
		at := re.FindStringSubmatchIndex(text)
		if at == nil {
			return nil, false
		}
		for i, name := range names {
			if name != "" && at[2*i] >= 0 {
				groups = append(groups, [2]string{name, text[at[2*i]:at[2*i+1]]})
			}
		}
		return groups, true
	}, nil
}

// decodePattern reads the regexp dialect: each named group of the configured pattern that took part is a value.
func (d *Decoder) decodePattern(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	groups, ok := d.pattern(text)
	if !ok {
		return nil, refuse(Syntax, "%.40q is not as the pattern has it", text)
	}
	w := d.newWalk(in, text)
	defer w.release()
	w.begin()
	for _, g := range groups {
		if err := w.textCell(g[0], signed(g[1])); err != nil {
			return nil, err
		}
	}
	if err := w.close(0, 0); err != nil {
		return nil, err
	}
	return w.settle()
}

// signed brings a sign to its digits, from which scales part it: "+   12.345".
func signed(text string) string {
	text = strings.Trim(text, " \t")
	if text != "" && (text[0] == '+' || text[0] == '-') {
		return text[:1] + strings.TrimLeft(text[1:], " ")
	}
	return text
}

// decodeNMEA reads the nmea dialect (NMEA 0183): "$" or "!", an address, fields with "," before each, and a checksum. The fields of
// a sentence are numbered from 1, as the standard's tables have them.
func (d *Decoder) decodeNMEA(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return nil, refuse(Empty, "no sentence")
	}
	if text[0] != '$' && text[0] != '!' {
		return nil, refuse(Syntax, `%.40q begins with neither "$" nor "!"`, text)
	}
	body, said, summed := strings.Cut(text[1:], "*")
	if summed {
		var sum byte
		for i := range len(body) {
			sum ^= body[i]
		}
		if want, err := strconv.ParseUint(said, 16, 8); err != nil || len(said) != 2 || byte(want) != sum {
			return nil, refuse(BadChecksum, "the sentence has the checksum %02X, and says %.10q", sum, said)
		}
	}
	address, rest, more := strings.Cut(body, ",")
	if address == "" || !more {
		return nil, refuse(Syntax, "%.40q has no address or no field", text)
	}
	w := d.newWalk(in, text)
	defer w.release()
	w.begin()
	for n, field := range strings.Split(rest, ",") {
		name := address + "." + strconv.Itoa(n+1)
		if number, ok := digitsOf(field); ok {
			v, _, _ := NumberIn(number)
			err = w.cell(name, v, number)
		} else {
			err = w.textCell(name, field)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := w.close(0, 0); err != nil {
		return nil, err
	}
	return w.settle()
}

// digitsOf returns a field that is a number in plain digits as JSON writes it: zeros may stand before it, and a field that is a
// number in one sentence must not be a text in the next.
func digitsOf(field string) (number string, ok bool) {
	if strings.Trim(field, "+-.0123456789") != "" {
		return "", false
	}
	if number, ok = plainDigits(field); !ok {
		return "", false
	}
	_, unit, ok := NumberIn(number)
	return number, ok && unit == ""
}

// decodeP1 reads the p1 dialect: a telegram of a meter's P1 port (DSMR 5.0.2 P1 Companion Standard, section 5.2), which is that of
// IEC 62056-21 with a checksum. A value is named by its OBIS code.
func (d *Decoder) decodeP1(in *arrival) ([]lightchain.Reading, error) {
	text, err := textOf(in.payload)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, refuse(Empty, "no telegram")
	}
	end := strings.LastIndexByte(text, '!')
	if text[0] != '/' || end < 0 {
		return nil, refuse(Syntax, `%.40q does not begin with "/", or has no "!"`, text)
	}
	// SPEC (DSMR 5.0.2 P1, section 5.2): CRC is a CRC16 value calculated over the preceding characters in the data message (from
	// "/" to "!" using the polynomial: x^16+x^15+x^2+1).
	if said := strings.TrimRight(text[end+1:], "\r\n"); said != "" { // those before DSMR 4 had none
		sum := crc16([]byte(text[:end+1]))
		if want, err := strconv.ParseUint(said, 16, 16); err != nil || len(said) != 4 || uint16(want) != sum {
			return nil, refuse(BadChecksum, "the telegram has the checksum %04X, and says %.10q", sum, said)
		}
	}
	w := d.newWalk(in, text)
	defer w.release()
	w.begin()
	_, body, _ := strings.Cut(text[:end], "\n") // behind who made the meter, and which it is
	line := ""
	for next := range strings.SplitSeq(strings.ReplaceAll(body, "\r", ""), "\n") {
		if strings.HasPrefix(next, "(") { // meters before DSMR 4 broke a line so
			line += next
			continue
		}
		if err := w.obisLine(line); err != nil {
			return nil, err
		}
		line = next
	}
	if err := w.obisLine(line); err != nil {
		return nil, err
	}
	w.frame = 0
	if err := w.close(0, 0); err != nil {
		return nil, err
	}
	return w.settle()
}

// p1Clock is the OBIS code of when the telegram was made.
const p1Clock = "0-0:1.0.0"

// obisLine takes one line of a telegram: a code, and values in brackets.
func (w *walk) obisLine(line string) error {
	if line == "" {
		return nil
	}
	code, rest, _ := strings.Cut(line, "(")
	var values []string
	for more := rest != ""; more; {
		var value string
		var closed bool
		if value, rest, closed = strings.Cut(rest, ")"); !closed || strings.Contains(value, "(") {
			return refuse(Syntax, "%.60q: expected a code, and values in brackets", line)
		}
		values = append(values, value)
		if rest, more = strings.CutPrefix(rest, "("); !more && rest != "" {
			return refuse(Syntax, "%.60q goes on behind its values", line)
		}
	}
	if code == "" || len(values) == 0 {
		return refuse(Syntax, "%.60q: expected a code, and values in brackets", line)
	}
	w.frame = 0
	if len(values) == 1 {
		if t, isTime := w.p1Time(values[0]); isTime && code == p1Clock {
			w.frames[0].time, w.frames[0].hasTime = t, true
			return nil
		}
		return w.obisCell(code, values[0])
	}
	if t, isTime := w.p1Time(values[0]); isTime && len(values) == 2 { // what another meter said, and when
		w.frame = len(w.frames)
		w.frames = append(w.frames, frame{parent: 0, message: true, time: t, hasTime: true})
		return w.obisCell(code, values[1])
	}
	for i, value := range values {
		if err := w.obisCell(code+"."+strconv.Itoa(i), value); err != nil {
			return err
		}
	}
	return nil
}

// obisCell takes a value: a number where a unit stands with it, else text, for it may be a serial number, or one in hexadecimal.
func (w *walk) obisCell(name, text string) error {
	var v lightchain.Value
	unit, literal, number := "", "", false
	if digits, _, starred := strings.Cut(text, "*"); starred {
		v, unit, number = NumberIn(text)
		literal, _ = plainDigits(digits)
	}
	if !number && text != "" {
		v = lightchain.Text(text)
	}
	before := len(w.out)
	if err := w.cell(name, v, literal); err != nil {
		return err
	}
	if len(w.out) > before {
		w.about[before].unit = unit
	}
	return nil
}

// p1Time reads a time of a telegram, "YYMMDDhhmmssX". It says no zone, but X whether summer time is in force there.
func (d *Decoder) p1Time(text string) (t stamp, isTime bool) {
	const layout = "060102150405"
	if len(text) != len(layout)+1 || strings.Trim(text[:len(layout)], "0123456789") != "" {
		return t, false
	}
	season := text[len(layout)]
	if season != 'S' && season != 'W' {
		return t, false
	}
	at, err := time.Parse(layout, text[:len(layout)])
	if err != nil {
		return beyondBelief, true
	}
	if !d.zoned { // the standard is of the Netherlands
		offset := int64(3600)
		if season == 'S' {
			offset *= 2
		}
		t = stampOf(at.Unix()-offset, 0)
		t.quality |= lightchain.Zoneless
		return t, true
	}
	t = local(at.Unix(), 0, d.clock.place)
	if t.twice {
		t.twice = false
		if season == 'W' {
			t.ns = t.later
		}
	}
	return t, true
}

// crc16 is CRC-16/ARC: the polynomial x^16+x^15+x^2+1, the lowest bit first, from 0.
func crc16(b []byte) (sum uint16) {
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			low := sum & 1
			if sum >>= 1; low == 1 {
				sum ^= 0xa001
			}
		}
	}
	return sum
}
