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

	// A local time that comes twice, in the hour when summer time ends, is later or ns. Only the arrival tells which.
	twice bool
	later int64
}

// beyondBelief is a time that cannot be kept as a number: one that no int64 holds, or that could not be read.
var beyondBelief = stamp{quality: lightchain.Bad}

// year2000 is the beginning of that year: a clock that shows an earlier time was never set.
var year2000 = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// on puts the stamp on a reading that arrived at received, in nanoseconds since the Unix epoch.
//
// SPEC: 1 bad, stale, or a time beyond belief … (not to be read, outside 64 bits, before the year 2000, or more than a day after `received`)
func (t stamp) on(r *lightchain.Reading, received int64) {
	if t.twice {
		t.decide(received)
	}
	r.Time, r.Timed = t.ns, t.timed
	r.Quality |= t.quality
	if t.timed && (t.ns < year2000 || after(t.ns, received, 24*time.Hour)) {
		r.Quality |= lightchain.Bad
	}
}

// decide takes one of the two times that a local time may be. The later one has not come yet, or has just come; else
// nothing tells, and that is said.
func (t *stamp) decide(received int64) {
	const late = 10 * time.Minute // of clocks and messages
	switch {
	case after(t.later, received, late):
	case !after(received, t.later, late):
		t.ns = t.later
	default:
		t.quality |= lightchain.Bad
	}
}

// after reports whether a is later than b by more than d.
func after(a, b int64, d time.Duration) bool { return a > b && uint64(a)-uint64(b) > uint64(d) }

// Measured says on a reading when the device measured, in milliseconds since the Unix epoch. received is as in an entry.
func Measured(r *lightchain.Reading, ms uint64, received int64) {
	t := beyondBelief
	if most := uint64(math.MaxInt64 / int64(time.Millisecond)); ms <= most {
		t = stamp{ns: int64(ms) * int64(time.Millisecond), timed: true}
	}
	t.on(r, received)
}

// MeasuredAt is Measured for a time in nanoseconds since the Unix epoch.
func MeasuredAt(r *lightchain.Reading, ns, received int64) {
	stamp{ns: ns, timed: true}.on(r, received)
}

// clock reads the configured timestamp field.
type clock struct {
	unix   int            // a count since the epoch in units of 10^-unix seconds; -1: not a count
	text   bool           // a date and time, in one of the forms that say themselves which they are
	guess  bool           // a number is a count, and its size tells of what
	layout string         // else a layout of package time
	zoned  bool           // the layout has a zone
	place  *time.Location // of times without a zone
}

const timeForms = `rfc3339, unix, unix_ms, unix_us, unix_ns, rfc3339_or_unix_ms, or a Go layout such as "2006-01-02 15:04:05"`

// anyTime reads what a device sends where nobody said in which form.
var anyTime = clock{unix: -1, place: time.UTC, text: true, guess: true}

// newClock compiles timestamp_format and timestamp_timezone. It reads the time-zone database for a zone's name.
func newClock(format, zone string) (clock, error) {
	c := clock{unix: -1, place: time.UTC}
	switch format {
	case "":
		c = anyTime
	case "rfc3339":
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

// read takes the timestamp field's value; literal is a number's text. A null says nothing; what cannot be read costs the
// time alone.
func (c *clock) read(v lightchain.Value, literal string) stamp {
	switch v.Kind() {
	case lightchain.KindNull:
		return stamp{}
	case lightchain.KindInt, lightchain.KindFloat:
		return c.readCount(literal)
	case lightchain.KindText:
		text, _ := v.Text()
		return c.readText(strings.Trim(text, " "))
	}
	return beyondBelief
}

func (c *clock) readCount(literal string) stamp {
	switch {
	case c.unix >= 0:
		return unixStamp(literal, 9-c.unix)
	case c.guess:
		return countOfUnknownUnit(literal)
	}
	return beyondBelief
}

func (c *clock) readText(s string) stamp {
	switch {
	case c.layout != "":
		return c.readLayout(s)
	case isNumber(s):
		return c.readCount(s)
	case c.text:
		if t, ok := parseTime(s, c.place); ok {
			return t
		}
	}
	return beyondBelief
}

func (c *clock) readLayout(s string) stamp {
	t, err := time.Parse(c.layout, s)
	switch {
	case err != nil:
		return beyondBelief
	case c.zoned:
		return stampOf(t.Unix(), int64(t.Nanosecond()))
	}
	return local(t.Unix(), int64(t.Nanosecond()), c.place)
}

func isNumber(s string) bool {
	sc := scanner{s: s}
	_, _, err := sc.number()
	return err == nil && sc.i == len(s)
}

// countOfUnknownUnit reads a count of seconds, milliseconds, microseconds or nanoseconds since the epoch: of these at most
// one lies between the years 2000 and 2100.
func countOfUnknownUnit(literal string) stamp {
	const year2100 = 4_102_444_800 * int64(time.Second)
	for _, scale := range [...]int{9, 6, 3, 0} {
		if ns, ok := scaledInt(literal, scale); ok && year2000 <= ns && ns < year2100 {
			return stamp{ns: ns, timed: true}
		}
	}
	return beyondBelief
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

// local is the time at which the clocks of a place show what would be the second wall of UTC. Such a time is marked, and so
// is one that comes twice, or never.
func local(wall, ns int64, place *time.Location) stamp {
	const day = 24 * 60 * 60
	first := wall - offsetAt(wall-day, place)
	second := wall - offsetAt(wall+day, place)
	isFirst := first+offsetAt(first, place) == wall
	isSecond := second+offsetAt(second, place) == wall
	t := stampOf(first, ns)
	switch {
	case !isFirst && isSecond:
		t = stampOf(second, ns)
	case !isFirst:
		t.quality |= lightchain.Bad
	case isSecond && first != second:
		other := stampOf(second, ns)
		if other.timed && t.timed && other.ns > t.ns {
			t.twice, t.later = true, other.ns
		}
	}
	t.quality |= lightchain.Zoneless
	return t
}

// offsetAt is how many seconds a place's clocks are ahead of UTC.
func offsetAt(seconds int64, place *time.Location) int64 {
	_, offset := time.Unix(seconds, 0).In(place).Zone()
	return int64(offset)
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
