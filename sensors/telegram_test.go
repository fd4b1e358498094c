package sensors

import (
	"os"
	"strings"
	"testing"
)

// p1Telegram is one of a meter, as it comes from the line.
func p1Telegram(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/p1.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAP1TelegramIsReadByItsOBISCodes(t *testing.T) {
	telegram := p1Telegram(t)
	without := strings.Replace(telegram, telegram[strings.LastIndexByte(telegram, '!'):], "!\r\n", 1)
	want := strings.Join([]string{
		"press|1-3:0.2.8||text 50|2026-03-01T08:00:00Z|bad zoneless",
		"press|0-0:96.1.1||text 4544474530303031|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:1.8.1|kWh|float 1581.123|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:1.8.2|kWh|float 1435.706|2026-03-01T08:00:00Z|bad zoneless",
		"press|0-0:96.14.0||text 0002|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:1.7.0|kW|float 2.027|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:32.7.0|V|float 230.1|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:31.7.0|A|int 9|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:99.97.0.0||text 1|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:99.97.0.1||text 0-0:96.7.19|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:99.97.0.2||text 251208152415W|2026-03-01T08:00:00Z|bad zoneless",
		"press|1-0:99.97.0.3|s|int 240|2026-03-01T08:00:00Z|bad zoneless",
		"press|0-0:96.13.0||null null|2026-03-01T08:00:00Z|bad zoneless",
		"press|0-1:24.1.0||text 003|2026-03-01T08:00:00Z|bad zoneless",
		"press|0-1:24.2.1|m3|float 981.443|2026-03-01T07:55:00Z|bad zoneless",
	}, "\n")
	table{
		{"all of it; the times are beyond belief, for it arrived years before", telegram, want},
		{"meters before DSMR 4 had no checksum", without, want},
		{"a digit that was misread", strings.Replace(telegram, "001581", "001580", 1), "error: checksum"},
		{"a checksum that is none", strings.TrimRight(telegram, "\r\n") + "0", "error: checksum"},
		{"without its end", telegram[:200], "error: syntax"},
		{"a line without values", "/X\r\n\r\n1-0:1.8.1\r\n!", "error: syntax"},
		{"an open bracket", "/X\r\n\r\n1-0:1.8.1(1\r\n!", "error: syntax"},
		{"something behind a bracket", "/X\r\n\r\n1-0:1.8.1(1)x\r\n!", "error: syntax"},
		{"a line that is broken", "/X\r\n\r\n0-1:24.3.0(090212160000)(m3)\r\n(00001.500)\r\n!", "press|0-1:24.3.0.0||text 090212160000||\npress|0-1:24.3.0.1||text m3||\npress|0-1:24.3.0.2||text 00001.500||"},
		{"a code twice, of which nobody knows which is meant", "/X\r\n\r\n1-0:1.8.1(1*kWh)\r\n1-0:1.8.1(2*kWh)\r\n1-0:1.8.2(3*kWh)\r\n!", "press|1-0:1.8.1||null null||bad\npress|1-0:1.8.2|kWh|int 3||"},
		{"a time that no calendar has", "/X\r\n\r\n0-0:1.0.0(261301090000W)\r\n1-0:1.8.1(1*kWh)\r\n!", "press|1-0:1.8.1|kWh|int 1||bad"},
		{"no value in it", "/X\r\n\r\n!", ""},
		{"nothing", "", "error: empty"},
	}.run(t, Config{Dialect: "p1"})
	table{
		{"texts that are numbers, of the codes that were asked for", telegram, "p|0-0:96.14.0||int 2|2026-03-01T08:00:00Z|bad zoneless\np|0-1:24.1.0||int 3|2026-03-01T08:00:00Z|bad zoneless"},
	}.run(t, Config{Dialect: "p1", Device: "p", Fields: []string{"0-0:96.14.0", "0-1:24.1.0"}, Numbers: []string{"*"}})
}

// The hour that comes twice has another letter the second time.
func TestTheSeasonOfAP1TelegramTellsOneHourFromTheOther(t *testing.T) {
	at := func(time string) string { return "/X\r\n\r\n0-0:1.0.0(" + time + ")\r\n1-0:1.8.1(1*kWh)\r\n!" }
	cases := table{
		{"summer", at("231029023000S"), "press|1-0:1.8.1|kWh|int 1|2023-10-29T00:30:00Z|zoneless"},
		{"winter", at("231029023000W"), "press|1-0:1.8.1|kWh|int 1|2023-10-29T01:30:00Z|zoneless"},
	}
	cases.run(t, Config{Dialect: "p1"})
	cases.run(t, Config{Dialect: "p1", TimestampTimezone: "Europe/Amsterdam"})
	table{
		{"elsewhere", at("231029030000S"), "press|1-0:1.8.1|kWh|int 1|2023-10-29T00:00:00Z|zoneless"},
	}.run(t, Config{Dialect: "p1", TimestampTimezone: "Europe/Helsinki"})
}

func TestAnNMEASentenceIsReadByItsFields(t *testing.T) {
	table{
		{"wind", "$WIMWV,084.0,R,10.4,N,A*1A\r\n", "press|WIMWV.1||float 84.0||\npress|WIMWV.2||text R||\npress|WIMWV.3||float 10.4||\npress|WIMWV.4||text N||\npress|WIMWV.5||text A||"},
		{"the rounding of numbers, empty fields and signs", "$GPXXX,,-007,+1.50,12.", "press|GPXXX.1||null null||\npress|GPXXX.2||int -7||\npress|GPXXX.3||float 1.5||\npress|GPXXX.4||int 12||"},
		{"one of AIS", "!AIVDM,1,1,,A,15M,0", "press|AIVDM.1||int 1||\npress|AIVDM.2||int 1||\npress|AIVDM.3||null null||\npress|AIVDM.4||text A||\npress|AIVDM.5||text 15M||\npress|AIVDM.6||int 0||"},
		{"a character that was misread", "$WIMWV,084.1,R,10.4,N,A*1A", "error: checksum"},
		{"a checksum of one digit", "$WIMWV,1*0", "error: checksum"},
		{"no field", "$WIMWV", "error: syntax"},
		{"another line", "hello", "error: syntax"},
		{"nothing", "\r\n", "error: empty"},
	}.run(t, Config{Dialect: "nmea"})
}

func TestALineIsReadByItsPattern(t *testing.T) {
	scale := Config{Dialect: "regexp", Pattern: `^(?P<status>ST|US),(?:GS|NT),(?P<weight>[+-] *[\d.]+) *(?P<unit>kg|g)?`, QualityPath: "status", QualityGood: []string{"ST"}, UnitPath: "unit", Numbers: []string{"weight"}}
	table{
		{"stable", "ST,GS,+012.345kg\r\n", "press|weight|kg|float 12.345||"},
		{"a sign that stands apart", "ST,GS,-  12.5kg", "press|weight|kg|float -12.5||"},
		{"in motion", "US,GS,+012.345 g", "press|weight|g|float 12.345||bad"},
		{"a group that took no part", "ST,NT,-1", "press|weight||int -1||"},
		{"another line", "ERR 5", "error: syntax"},
		{"no text", "\xff\xfe\xfd", "error: utf8"},
	}.run(t, scale)
	for pattern, want := range map[string]string{
		"":             `pattern: missing, where the dialect is regexp; expected a regular expression whose named groups are the values, such as '^(?P<status>\w+),(?P<weight>[+-]?[\d.]+) *kg'`,
		"(":            "pattern: error parsing regexp: missing closing ): `(`",
		"([0-9.]+) kg": `pattern: "([0-9.]+) kg" names no group; expected one for each value, such as (?P<weight>[0-9.]+)`,
	} {
		if _, err := New(Config{Dialect: "regexp", Pattern: pattern}); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", pattern, err, want)
		}
	}
	if _, err := New(Config{Dialect: "json", Pattern: "(?P<a>.)"}); err == nil || err.Error() != "pattern: has no use with the dialect json" {
		t.Error(err)
	}
}

// The check value that is published for CRC-16/ARC.
func TestTheChecksumOfAP1TelegramIsCRC16(t *testing.T) {
	if got := crc16([]byte("123456789")); got != 0xbb3d {
		t.Errorf("got %04X", got)
	}
}
