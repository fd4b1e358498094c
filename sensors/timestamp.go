package sensors

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// stamp is when the device says it measured.
type stamp struct {
	ns      int64
	timed   bool
	quality lightchain.Quality
}

// beyondBelief is a time that no int64 holds: there is no number to keep, and that is said.
var beyondBelief = stamp{quality: lightchain.Bad}

// on puts the stamp on a reading that arrived at received, in nanoseconds since the Unix epoch.
//
// SPEC: 1 bad, stale, or a time beyond belief … (outside 64 bits, or more than a day after `received`)
func (t stamp) on(r *lightchain.Reading, received int64) {
	r.Time, r.Timed = t.ns, t.timed
	r.Quality |= t.quality
	if t.timed && t.ns > received && uint64(t.ns)-uint64(received) > uint64(24*time.Hour) {
		r.Quality |= lightchain.Bad
	}
}

// clock reads the configured timestamp field.
type clock struct {
	unix   int            // a count since the epoch in units of 10^-unix seconds; -1: not a count
	text   bool           // RFC 3339
	layout string         // else a layout of package time
	zoned  bool           // the layout has a zone
	place  *time.Location // of times without a zone
}

const timeForms = `rfc3339, unix, unix_ms, unix_us, unix_ns, rfc3339_or_unix_ms, or a Go layout such as "2006-01-02 15:04:05"`

// newClock compiles timestamp_format and timestamp_timezone. It reads the time-zone database for a zone's name.
func newClock(format, zone string) (clock, error) {
	c := clock{unix: -1, place: time.UTC}
	switch format {
	case "", "rfc3339":
		c.text = true
	case "unix":
		c.unix = 0
	case "unix_ms":
		c.unix = 3
	case "unix_us":
		c.unix = 6
	case "unix_ns":
		c.unix = 9
	case "rfc3339_or_unix_ms":
		c.text, c.unix = true, 3
	default:
		if err := c.useLayout(format); err != nil {
			return c, err
		}
	}
	if zone == "" {
		return c, nil
	}
	if !c.text && c.layout == "" {
		return c, fmt.Errorf("timestamp_timezone: %q has no use, since times in the format %s are UTC", zone, format)
	}
	place, err := location(zone)
	if err != nil {
		return c, err
	}
	c.place = place
	return c, nil
}

// useLayout tries the layout on a known time: what comes back says what the layout holds.
func (c *clock) useLayout(layout string) error {
	probe := time.Date(2021, time.November, 22, 13, 14, 15, 0, time.UTC)
	east := time.FixedZone("", 5*3600)
	again, err := time.Parse(layout, probe.Format(layout))
	y, m, d := again.Date()
	if err != nil || y != 2021 || m != time.November || d != 22 {
		return fmt.Errorf("timestamp_format: %q does not give a date; expected %s", layout, timeForms)
	}
	if strings.Contains(layout, "MST") {
		return fmt.Errorf("timestamp_format: %q has a zone's abbreviation, which does not tell its offset; expected -0700, "+
			"-07:00 or Z07:00, or no zone and timestamp_timezone", layout)
	}
	c.layout = layout
	c.zoned = probe.Format(layout) != time.Date(2021, time.November, 22, 13, 14, 15, 0, east).Format(layout)
	return nil
}

// location finds a zone by its name in the database, by "Local", or as an offset.
func location(zone string) (*time.Location, error) {
	if t, err := time.Parse("-07:00", zone); err == nil {
		_, offset := t.Zone()
		return time.FixedZone(zone, offset), nil
	}
	place, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf(`timestamp_timezone: %q is not known here; expected a name such as "Europe/Berlin", "UTC", "Local", `+
			`or an offset such as "+02:00"`, zone)
	}
	return place, nil
}

// read takes the timestamp field's value; literal is a number's text. A null says nothing.
func (c *clock) read(v lightchain.Value, literal string) (stamp, error) {
	switch v.Kind() {
	case lightchain.KindNull:
		return stamp{}, nil
	case lightchain.KindInt, lightchain.KindFloat:
		if c.unix >= 0 {
			return unixStamp(literal, 9-c.unix), nil
		}
	case lightchain.KindText:
		literal, _ = v.Text()
		if t, ok := c.readText(literal); ok {
			return t, nil
		}
	}
	return stamp{}, refuse(BadTime, "the time %.40q is not in the configured format", v.String())
}

func (c *clock) readText(s string) (stamp, bool) {
	switch {
	case c.text:
		if t, ok := parseRFC3339(s, c.place); ok {
			return t, true
		}
	case c.layout != "":
		t, err := time.ParseInLocation(c.layout, s, c.place)
		if err != nil {
			return stamp{}, false
		}
		st := stampOf(t.Unix(), int64(t.Nanosecond()))
		if !c.zoned {
			st.quality |= lightchain.Zoneless
		}
		return st, true
	}
	if c.unix < 0 || !isNumber(s) {
		return stamp{}, false
	}
	return unixStamp(s, 9-c.unix), true
}

func isNumber(s string) bool {
	sc := scanner{s: s}
	_, _, err := sc.number()
	return err == nil && sc.i == len(s)
}

// stampOf joins seconds since the epoch and the nanoseconds, 0 to 999,999,999, after them.
func stampOf(seconds, ns int64) stamp {
	const unit = int64(time.Second)
	if seconds < 0 { // count from the next second back, so that the product alone never falls below −2^63
		seconds, ns = seconds+1, ns-unit
	}
	if seconds > math.MaxInt64/unit || seconds < math.MinInt64/unit {
		return beyondBelief
	}
	sum, ok := addInt(seconds*unit, ns)
	if !ok {
		return beyondBelief
	}
	return stamp{ns: sum, timed: true}
}

// unixStamp reads a decimal number of units since the epoch, each of 10^scale ns.
func unixStamp(literal string, scale int) stamp {
	ns, ok := scaledInt(literal, scale)
	if !ok {
		return beyondBelief
	}
	return stamp{ns: ns, timed: true}
}

// scaledInt returns the decimal number times 10^scale, exactly but for what stands behind the point, which is cut
// off; ok is false if that does not fit. A time of day as a float would be off by some 100 ns.
func scaledInt(literal string, scale int) (n int64, ok bool) {
	digits, negative := strings.CutPrefix(literal, "-")
	exponent := 0
	if at := strings.IndexAny(digits, "eE"); at >= 0 {
		// An exponent beyond int saturates, and is then beyond all bounds either way.
		exponent, _ = strconv.Atoi(digits[at+1:])
		exponent = min(max(exponent, -1<<30), 1<<30)
		digits = digits[:at]
	}
	point := strings.IndexByte(digits, '.')
	if point < 0 {
		point = len(digits)
	}
	places := point + exponent + scale // how many digits stand before the point of the result
	var u uint64
	for i := 0; i < len(digits) && places > 0; i++ {
		if digits[i] == '.' {
			continue
		}
		if u > math.MaxInt64/10 {
			return 0, false
		}
		u = u*10 + uint64(digits[i]-'0')
		places--
	}
	for ; places > 0 && u > 0; places-- {
		if u > math.MaxInt64/10 {
			return 0, false
		}
		u *= 10
	}
	switch {
	case negative && u <= 1<<63:
		return -int64(u), true
	case !negative && u <= math.MaxInt64:
		return int64(u), true
	}
	return 0, false
}

// parseRFC3339 reads a date and time as RFC 3339, section 5.6, has it, and takes one without a zone, as Tasmota and
// many scripts write it, to be of place. Digits behind the ninth of a fraction are cut off; a leap second becomes
// the first of the next minute.
func parseRFC3339(s string, place *time.Location) (stamp, bool) {
	// 2013-12-02T21:15:00
	if len(s) < 19 || s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' || s[10]|0x20 != 't' && s[10] != ' ' {
		return stamp{}, false
	}
	year, month, day := number(s[0:4]), number(s[5:7]), number(s[8:10])
	hour, minute, second := number(s[11:13]), number(s[14:16]), number(s[17:19])
	if year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return stamp{}, false
	}
	i, ns := 19, 0
	if i < len(s) && s[i] == '.' {
		i++
		first := i
		for unit := int(1e8); i < len(s) && isDigit(s[i]); i++ {
			ns += int(s[i]-'0') * unit
			unit /= 10
		}
		if i == first {
			return stamp{}, false
		}
	}
	switch zone := s[i:]; {
	case zone == "":
		t := time.Date(year, time.Month(month), day, hour, minute, second, 0, place)
		st := stampOf(t.Unix(), int64(ns))
		st.quality |= lightchain.Zoneless
		return st, true
	case zone == "Z" || zone == "z":
		t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
		return stampOf(t.Unix(), int64(ns)), true
	case len(zone) == 6 && (zone[0] == '+' || zone[0] == '-') && zone[3] == ':':
		h, m := number(zone[1:3]), number(zone[4:6])
		if h < 0 || h > 23 || m < 0 || m > 59 {
			return stamp{}, false
		}
		offset := int64(h*3600 + m*60)
		if zone[0] == '-' {
			offset = -offset
		}
		t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
		return stampOf(t.Unix()-offset, int64(ns)), true
	}
	return stamp{}, false
}

// number reads a few digits, and returns -1 if they are something else.
func number(s string) (n int) {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}
