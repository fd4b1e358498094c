package sensors

import (
	"strings"
	"time"
)

// parseTime reads a date and time in one of the forms that leave no choice: those of ISO 8601 that have a day and a time of
// day, RFC 3339 among them; those of RFC 1123 and of C's asctime; and "/Date(…)/" with milliseconds since the epoch. One
// without a zone is of place. Digits behind the ninth of a fraction are cut off; a leap second becomes the first of the next
// minute.
func parseTime(s string, place *time.Location) (stamp, bool) {
	if s == "" {
		return stamp{}, false
	}
	if c := s[0]; !isDigit(c) {
		return parseNamed(s, place)
	}
	return parseISO(s, place)
}

// parseISO reads 2013-12-02T21:15:00.123+01:00, with a space for the T, a comma for the point, without seconds, in the basic
// form 20131202T211500, and with the zone as Z, UTC, +01:00, +0100 or +01, behind a space or not.
func parseISO(s string, place *time.Location) (stamp, bool) {
	p := timeParser{rest: s, ok: true}
	year := p.digits(4)
	basic := !p.skip('-')
	month := p.digits(2)
	if !basic {
		p.need('-')
	}
	day := p.digits(2)
	if !p.skip('T') && !p.skip('t') {
		p.need(' ')
	}
	hour := p.digits(2)
	if !basic {
		p.need(':')
	}
	minute := p.digits(2)
	second, ns := 0, int64(0)
	if colon := !basic && p.skip(':'); colon || basic && p.nextIsDigit() {
		second = p.digits(2)
		ns = p.fraction()
	}
	offset, zoned := p.zone()
	if !p.ok || p.rest != "" || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 60 {
		return stamp{}, false
	}
	wall := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).Unix()
	if !zoned {
		return local(wall, ns, place), true
	}
	return stampOf(wall-offset, ns), true
}

// A timeParser takes a time apart from the left. ok turns false at what does not fit, and stays so.
type timeParser struct {
	rest string
	ok   bool
}

func (p *timeParser) digits(n int) (value int) {
	if len(p.rest) < n {
		p.ok = false
		return 0
	}
	for i := range n {
		c := p.rest[i]
		if !isDigit(c) {
			p.ok = false
			return 0
		}
		value = value*10 + int(c-'0')
	}
	p.rest = p.rest[n:]
	return value
}

func (p *timeParser) nextIsDigit() bool { return p.rest != "" && isDigit(p.rest[0]) }

func (p *timeParser) skip(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *timeParser) need(c byte) { p.ok = p.skip(c) && p.ok }

// fraction reads a fraction of a second, in nanoseconds.
func (p *timeParser) fraction() (ns int64) {
	if !p.skip('.') && !p.skip(',') {
		return 0
	}
	p.ok = p.ok && p.nextIsDigit()
	for unit := int64(1e8); p.nextIsDigit(); unit /= 10 {
		ns += int64(p.rest[0]-'0') * unit
		p.rest = p.rest[1:]
	}
	return ns
}

// zone reads the zone at the end: seconds east of Greenwich, and whether there is one.
func (p *timeParser) zone() (offset int64, zoned bool) {
	p.skip(' ')
	switch strings.ToUpper(p.rest) {
	case "":
		return 0, false
	case "Z", "UTC", "GMT":
		p.rest = ""
		return 0, true
	}
	west := p.skip('-')
	if !west {
		p.need('+')
	}
	hours, minutes := p.digits(2), 0
	if p.skip(':') || p.nextIsDigit() {
		minutes = p.digits(2)
	}
	p.ok = p.ok && hours <= 23 && minutes <= 59
	offset = int64(hours*3600 + minutes*60)
	if west {
		offset = -offset
	}
	return offset, true
}

// parseNamed reads the forms that begin with a word.
func parseNamed(s string, place *time.Location) (stamp, bool) {
	if ms, isDate := strings.CutPrefix(s, "/Date("); isDate {
		ms, isDate = strings.CutSuffix(ms, ")/")
		if at := strings.LastIndexAny(ms, "+-"); at > 0 { // for display alone
			ms = ms[:at]
		}
		if !isDate || !isNumber(ms) {
			return stamp{}, false
		}
		return unixStamp(ms, 6), true
	}
	if t, err := time.Parse(time.ANSIC, s); err == nil {
		return local(t.Unix(), 0, place), true
	}
	zone := s[strings.LastIndexByte(s, ' ')+1:]
	switch zone {
	case "GMT", "UTC", "Z":
		s = strings.TrimSuffix(s, zone) + "+0000"
	}
	for _, layout := range [...]string{time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return stampOf(t.Unix(), 0), true
		}
	}
	return stamp{}, false
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
