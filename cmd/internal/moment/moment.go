// Package moment reads the moments that people write on a command line: an age, a day, a time of day, or all of it. It knows no
// command and no flag; what now is, and which zone is the local one, comes from the caller.
package moment

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Forms says in one line what [Parse] takes.
const Forms = `2026-11-27, 2026-11-27 14:00, 14:00, today, yesterday, yesterday 14:00, an age such as 1h, 7d or "1h ago" (-1h is the same), ` +
	`or with a zone 2026-11-27T14:00:00+01:00; local time where no zone is written`

var (
	errForm = errors.New("expected " + Forms)
	errFar  = errors.New("too far from now: expected a moment of the years 1700 to 2200")
)

// Parse returns the moment that text names, in the zone of now. A day stands for its first moment. An age counts back from now
// whatever its sign, since nobody who reads records means what is yet to come; a day of an age has 24 hours.
//
// A time of day that the local clock skipped, or showed twice, is refused: a guess there is wrong by an hour.
func Parse(text string, now time.Time) (time.Time, error) {
	text = strings.Join(strings.Fields(text), " ")
	t, err := parse(text, now)
	if err != nil {
		return time.Time{}, err
	}
	if year := t.Year(); year < 1700 || year > 2200 { // nanoseconds since 1970 reach from 1677 to 2262
		return time.Time{}, errFar
	}
	return t.In(now.Location()), nil
}

func parse(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if ago, is, err := age(text); is {
		return now.Add(-ago), err
	}
	zoned := strings.ReplaceAll(strings.Replace(text, " ", "T", 1), " ", "")
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04Z07:00"} { // fractions of a second are read, too
		if t, err := time.Parse(layout, zoned); err == nil {
			return t, nil
		}
	}
	day, clock, err := split(text, now)
	if err != nil {
		return time.Time{}, err
	}
	if clock == "" {
		return beginning(day, now.Location()), nil
	}
	for _, layout := range [...]string{"15:04", "15:04:05"} {
		if c, err := time.Parse(layout, clock); err == nil {
			return at(day.Add(c.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))), now.Location())
		}
	}
	return time.Time{}, errForm
}

// split returns the day that a text names, as its midnight in UTC, and the time of day behind it; "" where none is.
func split(text string, now time.Time) (day time.Time, clock string, err error) {
	first, rest, _ := strings.Cut(text, " ")
	if date, clock, found := strings.Cut(first, "T"); found && clock != "" && rest == "" {
		first, rest = date, clock
	}
	year, month, today := now.Date()
	switch first {
	case "today":
		return time.Date(year, month, today, 0, 0, 0, 0, time.UTC), rest, nil
	case "yesterday":
		return time.Date(year, month, today-1, 0, 0, 0, 0, time.UTC), rest, nil
	}
	if day, err = time.Parse(time.DateOnly, first); err == nil {
		return day, rest, nil
	}
	if rest == "" && strings.Contains(first, ":") {
		return time.Date(year, month, today, 0, 0, 0, 0, time.UTC), first, nil
	}
	return time.Time{}, "", errForm
}

// instants returns the moments at which clocks of a zone show what wall shows in UTC: one, none in the hour that is skipped in
// spring, two in the one that comes twice in autumn, the earlier first.
func instants(wall time.Time, zone *time.Location) (all []time.Time) {
	last := time.Time{}
	for _, around := range [...]time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := wall.Add(around).In(zone).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second).In(zone)
		if _, shows := t.Zone(); shows == offset && !t.Equal(last) {
			all, last = append(all, t), t
		}
	}
	return all
}

// at returns the moment at which clocks of a zone show what wall shows in UTC.
func at(wall time.Time, zone *time.Location) (time.Time, error) {
	const form = "2006-01-02T15:04:05Z07:00"
	all := instants(wall, zone)
	switch len(all) {
	case 0:
		before, after := offsetOf(wall.Add(-24*time.Hour), zone), offsetOf(wall.Add(24*time.Hour), zone)
		return time.Time{}, fmt.Errorf("the local clock skipped that time, when it was put forward: write %s or %s",
			wall.Add(-before).In(time.FixedZone("", int(before.Seconds()))).Format(form), wall.Add(-after).In(time.FixedZone("", int(after.Seconds()))).Format(form))
	case 1:
		return all[0], nil
	}
	return time.Time{}, fmt.Errorf("the local clock showed that time twice, when it was put back: write %s or %s", all[0].Format(form), all[1].Format(form))
}

func offsetOf(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// beginning returns the first moment of a day. Some zones skip midnight, or have it twice.
func beginning(day time.Time, zone *time.Location) time.Time {
	if all := instants(day, zone); len(all) > 0 {
		return all[0]
	}
	_, offset := day.Add(-24 * time.Hour).In(zone).Zone()
	skipped, _ := day.Add(-time.Duration(offset) * time.Second).In(zone).ZoneBounds()
	return skipped
}

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

var (
	ageForm = regexp.MustCompile(`^([+-]?)((?:[0-9]+(?:\.[0-9]+)? ?[a-z]+ ?)+?)( ?ago)?$`)
	agePart = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?) ?([a-z]+)`)
)

// age reads how long ago something was, and reports whether the text says that at all.
func age(text string) (ago time.Duration, is bool, err error) {
	form := ageForm.FindStringSubmatch(text)
	if form == nil {
		return 0, false, nil
	}
	if form[1] == "+" {
		return 0, true, errors.New("a + would mean the future: an age counts back from now, as 1h, -1h or \"1h ago\"")
	}
	sum := 0.0
	for _, part := range agePart.FindAllStringSubmatch(form[2], -1) {
		unit, known := units[part[2]]
		if !known {
			return 0, true, errForm
		}
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, true, errFar
		}
		sum += n * float64(unit)
	}
	if sum > float64(200*365*24*time.Hour) { // far from where a duration overflows
		return 0, true, errFar
	}
	return time.Duration(sum), true, nil
}
