package moment

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones are the same wherever this runs
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// noon is a Friday's noon in Berlin, an hour ahead of UTC.
func noon(t *testing.T) time.Time {
	return time.Date(2026, 11, 27, 12, 0, 0, 0, zone(t, "Europe/Berlin"))
}

// Each form means what people mean by it, and local time where no zone is written.
func TestAMomentIsReadAsPeopleWriteIt(t *testing.T) {
	for text, want := range map[string]string{
		"now":                            "2026-11-27T12:00:00+01:00",
		"today":                          "2026-11-27T00:00:00+01:00",
		"yesterday":                      "2026-11-26T00:00:00+01:00",
		"yesterday 14:00":                "2026-11-26T14:00:00+01:00",
		"today 6:30":                     "2026-11-27T06:30:00+01:00",
		"09:15":                          "2026-11-27T09:15:00+01:00",
		"09:15:30":                       "2026-11-27T09:15:30+01:00",
		"14:00":                          "2026-11-27T14:00:00+01:00",
		"2026-11-20":                     "2026-11-20T00:00:00+01:00",
		"2026-07-20":                     "2026-07-20T00:00:00+02:00",
		"2026-11-20 14:00":               "2026-11-20T14:00:00+01:00",
		"2026-11-20T14:00":               "2026-11-20T14:00:00+01:00",
		"2026-11-20 14:00:05":            "2026-11-20T14:00:05+01:00",
		"2026-11-20T14:00:05.25":         "2026-11-20T14:00:05.25+01:00",
		" 2026-11-20   14:00 ":           "2026-11-20T14:00:00+01:00",
		"2026-03-01T08:00:00Z":           "2026-03-01T09:00:00+01:00",
		"2026-03-01T08:00Z":              "2026-03-01T09:00:00+01:00",
		"2026-03-01 08:00:00.125 +05:30": "2026-03-01T03:30:00.125+01:00",
		"1h":                             "2026-11-27T11:00:00+01:00",
		"-1h":                            "2026-11-27T11:00:00+01:00",
		"1h ago":                         "2026-11-27T11:00:00+01:00",
		"1 hour ago":                     "2026-11-27T11:00:00+01:00",
		"1h30m":                          "2026-11-27T10:30:00+01:00",
		"1h 30 min ago":                  "2026-11-27T10:30:00+01:00",
		"1.5h":                           "2026-11-27T10:30:00+01:00",
		"90s":                            "2026-11-27T11:58:30+01:00",
		"500ms":                          "2026-11-27T11:59:59.5+01:00",
		"7d":                             "2026-11-20T12:00:00+01:00",
		"3 days ago":                     "2026-11-24T12:00:00+01:00",
		"2w":                             "2026-11-13T12:00:00+01:00",
		"0s":                             "2026-11-27T12:00:00+01:00",
	} {
		got, err := Parse(text, noon(t))
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v, %v, want %s", text, got.Format(time.RFC3339Nano), err, want)
		}
	}
}

// What is none of the forms is refused with all of them, and with nothing that a library has said.
func TestWhatIsNoMomentIsRefusedWithTheForms(t *testing.T) {
	for _, text := range []string{
		"", "soon", "5", "h", "1x", "1h later", "14", "25:00", "14:60", "27.11.2026", "2026-13-01", "2026-02-30", "2026-11-27 noon", "14:00 yesterday",
		"2026-11-27T", "tomorrow", "14:00 CET", "1h ago yesterday",
	} {
		if got, err := Parse(text, noon(t)); err == nil || !strings.Contains(err.Error(), Forms) {
			t.Errorf("%q is %v, %v, want the forms", text, got, err)
		}
	}
	for text, want := range map[string]string{"+1h": "the future", "999999d": "too far", "1e9h": "expected", "1066-10-14": "too far", "9999-01-01T00:00:00Z": "too far"} {
		if got, err := Parse(text, noon(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v, want %q", text, got, err, want)
		}
	}
}

// Where clocks are put forward or back a time of day may be none, or two: it is refused, and said how to write what is
// meant. Days begin with their first moment, and ages count hours that pass.
func TestClocksThatArePutForwardOrBack(t *testing.T) {
	for _, c := range []struct{ zone, now, text, want, refused string }{
		{zone: "Europe/Berlin", text: "2026-03-29 02:30", refused: "2026-03-29T02:30:00+01:00 or 2026-03-29T02:30:00+02:00"},
		{zone: "Europe/Berlin", text: "2026-03-29 01:59:59", want: "2026-03-29T01:59:59+01:00"},
		{zone: "Europe/Berlin", text: "2026-03-29 03:00", want: "2026-03-29T03:00:00+02:00"},
		{zone: "Europe/Berlin", text: "2026-10-25 02:30", refused: "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"},
		{zone: "Europe/Berlin", text: "2026-10-25T02:30:00+02:00", want: "2026-10-25T02:30:00+02:00"},
		{zone: "Europe/Berlin", text: "2026-10-25 01:59", want: "2026-10-25T01:59:00+02:00"},
		{zone: "Europe/Berlin", text: "2026-10-25 03:00", want: "2026-10-25T03:00:00+01:00"},
		{zone: "Europe/Berlin", now: "2026-10-25T12:00:00+01:00", text: "yesterday 12:00", want: "2026-10-24T12:00:00+02:00"},
		{zone: "Europe/Berlin", now: "2026-10-25T12:00:00+01:00", text: "1d", want: "2026-10-24T13:00:00+02:00"},
		{zone: "Europe/Berlin", now: "2026-03-29T12:00:00+02:00", text: "today", want: "2026-03-29T00:00:00+01:00"},
		{zone: "Europe/Berlin", now: "2026-03-30T00:30:00+02:00", text: "yesterday", want: "2026-03-29T00:00:00+01:00"},
		{zone: "America/New_York", text: "2026-11-01 01:30", refused: "2026-11-01T01:30:00-04:00 or 2026-11-01T01:30:00-05:00"},
		{zone: "America/Sao_Paulo", text: "2018-11-04", want: "2018-11-04T01:00:00-02:00"}, // it has no midnight
		{zone: "America/Sao_Paulo", text: "2018-11-04 00:30", refused: "skipped"},
		{zone: "America/Havana", text: "2026-11-01", want: "2026-11-01T00:00:00-04:00"}, // it has two of them
		{zone: "Australia/Lord_Howe", text: "2026-04-05 01:45", refused: "2026-04-05T01:45:00+11:00 or 2026-04-05T01:45:00+10:30"},
		{zone: "UTC", text: "2026-10-25 02:30", want: "2026-10-25T02:30:00Z"},
	} {
		now := noon(t)
		if c.now != "" {
			now, _ = time.Parse(time.RFC3339, c.now)
		}
		got, err := Parse(c.text, now.In(zone(t, c.zone)))
		switch {
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s: %q is %v, %v, want %q", c.zone, c.text, got, err, c.refused)
		case c.refused == "" && (err != nil || got.Format(time.RFC3339) != c.want):
			t.Errorf("%s: %q is %v, %v, want %s", c.zone, c.text, got.Format(time.RFC3339), err, c.want)
		}
	}
}
