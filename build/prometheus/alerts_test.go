package prometheus_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/build/testenv"
)

// A course is what a gateway's series do over time, in promtool's notation, by the name that they have in a scrape. What a
// course does not name goes on as it was scraped.
type course map[string]string

// An alarm is one course, and which alerts fire at which minute: these and no others.
type alarm struct {
	name   string
	course course
	whole  string            // what the samples of all other series are, one for each minute: "" for always there
	fires  map[string]string // by time, "31m": the alerts, separated by blanks
	step   time.Duration     // between two scrapes; 0: a minute
	every  time.Duration     // between two looks at the rules; 0: a minute. What takes days is looked at less often.
}

const (
	lossesOfPlant = `edgeagent_losses_total{source="mqtt:plant"}`
	lostOfPlant   = `edgeagent_lost_messages_total{source="mqtt:plant"}`
	voltageTimes  = `edgeagent_power_events_total{what="under_voltage"}`
)

// alarms are what each alert is for.
var alarms = []alarm{
	{name: "the first loss after a start", course: course{lossesOfPlant: "0x30 1x90", lostOfPlant: "0x30 7x90", "edgeagent_gaps_total": "4x30 5x90"},
		fires: map[string]string{"30m": "", "31m": "EdgeagentMessagesLost", "44m": "EdgeagentMessagesLost", "70m": ""}},
	{name: "a loss of which nobody can tell how much it was", course: course{lossesOfPlant: "0x30 1x90", "edgeagent_gaps_total": "4x30 5x90"},
		fires: map[string]string{"32m": "EdgeagentMessagesLost", "70m": ""}},
	{name: "a loss before the first scrape after a start", course: course{lossesOfPlant: "2x29 stale _x1 1x90", "edgeagent_gaps_total": "4x29 stale _x1 5x90"}, whole: "x29 stale _x1 x90",
		fires: map[string]string{"29m": "", "33m": "EdgeagentMessagesLost", "90m": ""}},
	{name: "a loss while nothing was scraped", course: course{lossesOfPlant: "0x29 _x120 1x120", "edgeagent_gaps_total": "4x29 _x120 5x120"}, whole: "x29 _x120 x120",
		fires: map[string]string{"29m": "", "155m": "EdgeagentMessagesLost", "230m": ""}},
	{name: "another chain under the same name, which has lost nothing yet", course: course{lossesOfPlant: "2x29 0x90", "edgeagent_gaps_total": "4x29 0x90", "edgeagent_starts_total": "57x29 1x90", "edgeagent_unclean_starts_total": "9x29 0x90"},
		fires: map[string]string{"35m": ""}},
	{name: "a gateway that is dead for three days, and comes back", every: 10 * time.Minute, course: course{"up": "1x59 0x4320 1x60"}, whole: "x59 stale _x4319 x60",
		fires: map[string]string{"62m": "", "70m": "EdgeagentDown", "1500m": "EdgeagentDown", "4370m": "EdgeagentDown", "4400m": ""}},
	{name: "a gateway that dies together with what scrapes it", every: 10 * time.Minute, course: course{"up": "1x59 stale _x1000"}, whole: "x59 stale _x1000",
		fires: map[string]string{"62m": "", "160m": "EdgeagentGone", "1000m": "EdgeagentGone"}},
	{name: "a crash loop that scrapes see now and then", course: course{
		"up": "1x29 0 0 1 0 0 1 0 0 1 0 0 1 0 0 1 0 0 1 0 0 1 1x30", "edgeagent_unclean_starts_total": "3x29 stale _ 7 stale _ 9 stale _ 12 stale _ 15 stale _ 17 stale _ 19 stale _ 22 22x30",
		"edgeagent_starts_total": "9x29 stale _ 13 stale _ 15 stale _ 18 stale _ 21 stale _ 23 stale _ 25 stale _ 28 28x30"}, whole: "x29 stale _ x0 stale _ x0 stale _ x0 stale _ x0 stale _ x0 stale _ x0 stale _ x0 x30",
		fires: map[string]string{"29m": "", "34m": "EdgeagentCrashLoop", "46m": "EdgeagentCrashLoop"}},
	{name: "a loop of starts that each end in order", course: course{"edgeagent_starts_total": "9+0x29 10+1x30"}, fires: map[string]string{"29m": "", "40m": "EdgeagentCrashLoop"}},
	{name: "one power cut", course: course{"up": "1x29 0x3 1x60", "edgeagent_unclean_starts_total": "3x29 stale _x2 4x60", "edgeagent_starts_total": "9x29 stale _x2 10x60"}, whole: "x29 stale _x2 x60",
		fires: map[string]string{"34m": "", "40m": ""}},
	{name: "stuck, until the watchdog ends it", step: 15 * time.Second, course: course{"edgeagent_stuck_seconds": "0x40 15+15x19 stale _x2 0x200", "up": "1x60 0x3 1x200"}, whole: "x60 stale _x2 x200",
		fires: map[string]string{"10m": "", "12m": "EdgeagentStuck", "15m": "EdgeagentStuck", "30m": ""}},
	{name: "a full disk", course: course{"edgeagent_waiting_for_space": "0x30 1x30", "edgeagent_room_bytes": "50e9x30 0x200"}, fires: map[string]string{"30m": "", "33m": "EdgeagentWaitingForSpace"}},
	{name: "a disk that fills", every: 10 * time.Minute, course: course{"edgeagent_room_bytes": "50e9-20e6x1500"}, fires: map[string]string{"5h": "", "8h": "EdgeagentDiskFilling"}},
	{name: "a disk with little room", course: course{"edgeagent_room_bytes": "50e9x30 1.5e9x200"}, fires: map[string]string{"30m": "", "100m": "EdgeagentDiskFilling"}},
	{name: "a disk that would be full in a year", every: 10 * time.Minute, course: course{"edgeagent_room_bytes": "500e9-1e6x2000"}, fires: map[string]string{"32h": ""}},
	{name: "a buffer of five days", course: course{"edgeagent_buffer_seconds": "432000x100"}, fires: map[string]string{"30m": "", "70m": "EdgeagentBufferShort"}},
	{name: "retention that waits for receipts", every: 10 * time.Minute, course: course{"edgeagent_held_back_bytes": "0x30 5e7x2000"}, fires: map[string]string{"20h": "", "25h": "EdgeagentRetentionHeldBack"}},
	{name: "a disk that something else fills", course: course{`edgeagent_kept_bytes{by="room_per_day"}`: "0x30 6e8x60"}, fires: map[string]string{"40m": "", "50m": "EdgeagentRetentionKept"}},
	{name: "a size that does not hold what is young", course: course{`edgeagent_kept_bytes{by="min_age"}`: "0x30 6e8x60"}, fires: map[string]string{"40m": "", "50m": "EdgeagentRetentionKept"}},
	{name: "no block although one is due each hour", course: course{"edgeagent_block_due_seconds": "3660x200", "edgeagent_since_last_block_seconds": "0+60x200"}, fires: map[string]string{"75m": "", "77m": "EdgeagentNotSealing"}},
	{name: "no block although one is due each day", every: 10 * time.Minute, course: course{"edgeagent_block_due_seconds": "86460x2000", "edgeagent_since_last_block_seconds": "0+60x2000"}, fires: map[string]string{"1450m": "", "1470m": "EdgeagentNotSealing"}},
	{name: "no block, on a clock that is a day ahead", course: course{
		"edgeagent_block_due_seconds": "3660x200", "edgeagent_since_last_block_seconds": "0+60x200", "edgeagent_time_seconds": "86400+60x200", "edgeagent_last_block_timestamp_seconds": "86400x200"},
		fires: map[string]string{"10m": "", "77m": "EdgeagentNotSealing EdgeagentClockWrong"}},
	{name: "a key that cannot be used", course: course{`edgeagent_sealing_stopped{reason="key_not_usable"}`: "0x30 1x100"}, fires: map[string]string{"40m": "", "50m": "EdgeagentSealingHeld"}},
	{name: "the minute after a start", course: course{`edgeagent_sealing_stopped{reason="head_not_settled"}`: "1x2 0x100"}, fires: map[string]string{"2m": "", "20m": ""}},
	{name: "damage", every: 10 * time.Minute, course: course{`edgeagent_damaged{what="entries"}`: "0x30 20x3000"}, fires: map[string]string{"30m": "", "40m": "EdgeagentDamaged", "20h": "EdgeagentDamaged", "26h": ""}},
	{name: "damage of which retention deletes half", every: 10 * time.Minute, course: course{`edgeagent_damaged{what="entries"}`: "20x1800 10x600"}, fires: map[string]string{"29h": "", "31h": ""}},
	{name: "a store that is not read through", course: course{"edgeagent_scrub_interval_seconds": "3600x600", "edgeagent_scrub_last_timestamp_seconds": "0x600"}, fires: map[string]string{"3h": "", "5h": "EdgeagentNotScrubbed"}},
	{name: "scrubbing that is switched off", course: course{"edgeagent_scrub_interval_seconds": "0x600", "edgeagent_scrub_last_timestamp_seconds": "0x600"}, fires: map[string]string{"9h": ""}},
	{name: "a broker that is away", course: course{`edgeagent_source_connected{source="mqtt:plant"}`: "1x30 0x60"}, fires: map[string]string{"33m": "", "40m": "EdgeagentSourceDisconnected"}},
	{name: "a device that has fallen silent", course: course{`edgeagent_device_late{device="press"}`: "0x30 1x30"}, fires: map[string]string{"30m": "", "33m": "EdgeagentDeviceLate"}},
	{name: "an upstream that is away", course: course{`edgeagent_upstream_connected{upstream="office"}`: "1x30 0x60"}, fires: map[string]string{"40m": "", "50m": "EdgeagentUpstreamDisconnected"}},
	{name: "receipts that do not come", course: course{`edgeagent_unreceipted_seconds{aggregator="agg-1",upstream="office"}`: "5x30 0+60x200"}, fires: map[string]string{"60m": "", "120m": "EdgeagentReceiptsLate"}},
	{name: "a decoder that is not set up", course: course{`edgeagent_not_understood_total{reason="syntax"}`: "0+90x200", `edgeagent_entries_total{source="broker"}`: "0+600x200"}, fires: map[string]string{"20m": "", "60m": "EdgeagentNotUnderstood"}},
	{name: "a slow disk", course: course{`edgeagent_commit_duration_seconds_bucket{le="2.5"}`: "1000+60x200", `edgeagent_commit_duration_seconds_bucket{le="10"}`: "1000+60x200", `edgeagent_commit_duration_seconds_bucket{le="+Inf"}`: "1000+60x200"},
		fires: map[string]string{"20m": "", "60m": "EdgeagentSlowDisk"}},
	{name: "an eMMC that is worn", course: course{`edgeagent_card_life_used_ratio{card="mmcblk0",cells="b"}`: "0.8x30 0.9x30"}, fires: map[string]string{"30m": "", "31m": "EdgeagentCardWorn"}},
	{name: "an eMMC without spare blocks", course: course{`edgeagent_card_spare_level{card="mmcblk0"}`: "1x30 2x30"}, fires: map[string]string{"30m": "", "31m": "EdgeagentCardWorn"}},
	{name: "one brown-out of two seconds", course: course{voltageTimes: "0x30 1x120", "edgeagent_under_voltage": "0x30 1 0x120"}, fires: map[string]string{"30m": "", "31m": "EdgeagentUnderVoltage", "80m": "EdgeagentUnderVoltage", "100m": ""}},
	{name: "a brown-out before the first scrape", course: course{voltageTimes: "1x120", "edgeagent_under_voltage": "1 0x120"}, fires: map[string]string{"0m": "EdgeagentUnderVoltage"}},
	{name: "heat", course: course{"edgeagent_temperature_celsius": "60x30 84x30"}, fires: map[string]string{"38m": "", "42m": "EdgeagentHot"}},
	{name: "a processor that is slowed", course: course{"edgeagent_throttled": "0x30 1x30"}, fires: map[string]string{"38m": "", "42m": "EdgeagentHot"}},
	{name: "a data folder in memory", course: course{"edgeagent_store_volatile": "1x30"}, fires: map[string]string{"5m": "EdgeagentVolatile"}},
	{name: "a clock that nobody sets", course: course{"edgeagent_clock_synchronised": "1x30 0x90"}, fires: map[string]string{"80m": "", "92m": "EdgeagentClockNotSynchronised"}},
	{name: "a step of the clock", course: course{"edgeagent_clock_steps_total": "0x30 1x90"}, fires: map[string]string{"30m": "", "31m": "EdgeagentClockStepped", "100m": ""}},
}

// well is what of a scrape depends on the machine on which the tests run, or is of a gateway a minute old: as it is where
// all is well.
var well = course{
	"edgeagent_store_volatile": "0", "edgeagent_clock_synchronised": "1", "edgeagent_room_bytes": "50e9", "edgeagent_reserve_bytes": "1e9",
	"edgeagent_buffer_seconds": "8640000", "edgeagent_since_last_block_seconds": "30", "edgeagent_block_due_seconds": "3660",
	`edgeagent_unreceipted_seconds{aggregator="agg-1",upstream="office"}`: "5", "edgeagent_stuck_seconds": "0", "edgeagent_clock_steps_total": "0",
	`edgeagent_sealing_stopped{reason="head_not_settled"}`: "0", `edgeagent_source_connected{source="mqtt:plant"}`: "1",
	`edgeagent_upstream_connected{upstream="office"}`: "1", "edgeagent_under_voltage": "0", "edgeagent_throttled": "0",
	"edgeagent_card_written_bytes_per_day": "35e7", "edgeagent_card_years": "40",
}

// times writes out, so often, what a course does for all series at once: "x29 stale _x2 x60" for a value.
func times(whole, value string) string {
	return regexp.MustCompile(`(^| )x`).ReplaceAllString(whole, "${1}"+value+"x")
}

// A sequence is what was scraped of one gateway, twice.
type sequence struct{ first, second *scraped }

func newSequence(t *testing.T) *sequence {
	t.Helper()
	g := newPlant(t).gateways[0]
	s := &sequence{first: scrape(t, g.api)}
	g.publish(t, `{"temperature":73.9}`, `{"temperature":74}`, `{"temperature":75}`)
	testenv.Await(t, "what was published is recorded", func() bool {
		s.second = scrape(t, g.api)
		return s.second.value(`edgeagent_entries_total{source="broker"}`) > s.first.value(`edgeagent_entries_total{source="broker"}`)
	})
	return s
}

// input writes the series of a gateway as promtool reads them: those that the course names as it says, all others as they
// were scraped. Counters go on as they went between the two scrapes, times too; they are counted from promtool's zero.
func (s *sequence) input(t *testing.T, a *alarm, length int) string {
	t.Helper()
	step := cmp.Or(a.step, time.Minute)
	whole := a.whole
	if whole == "" {
		whole = fmt.Sprintf("x%d", length)
	}
	left := len(a.course)
	var out strings.Builder
	add := func(name, labels, values string) {
		if labels != "" {
			labels += ","
		}
		fmt.Fprintf(&out, "      - {series: '%s{%sjob=\"edge\",instance=\"gw\"}', values: '%s'}\n", name, labels, values)
	}
	up, named := a.course["up"]
	if !named {
		up = times("x"+fmt.Sprint(length), "1")
	} else {
		left--
	}
	add("up", "", up)
	for i := range s.second.all {
		one := &s.second.all[i]
		if !strings.HasPrefix(one.name, "edgeagent_") {
			continue
		}
		values, named := a.course[one.String()]
		switch {
		case named:
			left--
		case well[one.String()] != "":
			values = times(whole, well[one.String()])
		case strings.HasPrefix(one.name, "edgeagent_commit_"): // a machine that does much else is slow
			values = times(whole, fmt.Sprint(one.value))
		case strings.HasSuffix(one.name, "_timestamp_seconds") || one.name == "edgeagent_time_seconds":
			value := 0.0 // of what has not been yet
			if one.value != 0 {
				value = math.Round(one.value - float64(s.second.at.Unix()))
			}
			values = moving(whole, value, step.Seconds())
		case s.second.kinds[one.name] == "counter" && one.value > s.first.value(one.String()):
			values = moving(whole, one.value, one.value-s.first.value(one.String()))
		default:
			values = times(whole, fmt.Sprint(one.value))
		}
		add(one.name, one.labels, values)
	}
	if left != 0 {
		t.Errorf("%s: the course names %d series that no running agent shows", a.name, left)
	}
	return out.String()
}

// moving is a value that rises by so much at each sample, through the pieces of a course.
func moving(whole string, value, by float64) string {
	var out []string
	at := 0
	for _, piece := range strings.Fields(whole) {
		count := 1
		if kind, n, repeated := strings.Cut(piece, "x"); repeated {
			fmt.Sscan(n, &count)
			if kind == "" {
				out = append(out, fmt.Sprintf("%g+%gx%d", value+by*float64(at), by, count))
				count++ // "1+1x2" is three samples
			} else {
				out = append(out, piece)
			}
		} else {
			out = append(out, piece)
		}
		at += count
	}
	return strings.Join(out, " ")
}

// promtool runs tests of the gateways' rules.
func promtool(t *testing.T, interval time.Duration, tests string) {
	t.Helper()
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "test.yml")
	text := fmt.Sprintf("rule_files: [%s/edgeagent.yml]\nevaluation_interval: %s\ntests:\n%s", folder, interval, tests)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command(testenv.Promtool(t), "test", "rules", file).CombinedOutput(); err != nil {
		if len(output) > 8000 {
			output = output[:8000]
		}
		t.Errorf("%v\n%s", err, output)
	}
}

// With the series that a running agent shows, labels and all.
func TestAlertsOfGateways(t *testing.T) {
	if testing.Short() {
		t.Skip("promtool computes for a minute, and nothing of this program runs meanwhile")
	}
	s := newSequence(t)
	t.Run("are raised by what they are for", s.raisesAlerts)
	t.Run("are silent for a year in which all is well", s.isSilentForAYear)
	t.Run("are silent for a day in which all is well", s.isSilentForADay)
}

// Each alert is raised by what it is for, soon enough and for as long as it lasts, and by nothing else.
func (s *sequence) raisesAlerts(t *testing.T) {
	raised := map[string]bool{}
	tests := map[time.Duration]*strings.Builder{}
	for i := range alarms {
		a := &alarms[i]
		step, every := cmp.Or(a.step, time.Minute), cmp.Or(a.every, time.Minute)
		if tests[every] == nil {
			tests[every] = new(strings.Builder)
		}
		var length time.Duration
		for at, alerts := range a.fires {
			after, err := time.ParseDuration(at)
			if err != nil {
				t.Fatal(err)
			}
			length = max(length, after+10*time.Minute)
			for _, alert := range strings.Fields(alerts) {
				raised[alert] = true
			}
		}
		fmt.Fprintf(tests[every], "  - name: %s\n    interval: %s\n    input_series:\n%s    promql_expr_test:\n", a.name, step, s.input(t, a, int(length/step)))
		for _, at := range slices.Sorted(maps.Keys(a.fires)) {
			fmt.Fprintf(tests[every], "      - expr: 'count by (alertname, gateway) (ALERTS{alertstate=\"firing\"})'\n        eval_time: %s\n        exp_samples: [", at)
			for _, alert := range strings.Fields(a.fires[at]) {
				fmt.Fprintf(tests[every], "{labels: '{alertname=\"%s\", gateway=\"press-hall\"}', value: 1},", alert)
			}
			tests[every].WriteString("]\n")
		}
	}
	for every, tests := range tests {
		promtool(t, every, tests.String())
	}
	for _, q := range rules(t, "edgeagent.yml") {
		if _, alert, is := strings.Cut(q.of, "alert: "); is && !raised[alert] {
			t.Errorf("nothing is shown to raise %s", alert)
		}
	}
}

// again writes a piece of a course so many times.
func again(times int, piece string) string {
	return strings.TrimSpace(strings.Repeat(piece+" ", times))
}

// upgraded is a count that begins anew with each upgrade: so many samples of each month, rising by so much.
func upgraded(months, samples int, by float64) string {
	return again(months, fmt.Sprintf("0+%gx%d", by, samples-1))
}

// A year in which all is well: an upgrade each month, payloads that retention deletes once a day on a disk that has no more
// room than that needs, receipts that are late by minutes, aggregators away for half a day a month, heartbeats alone at
// night, warm afternoons, a store read through each week, an eMMC that ages. Nobody is alerted, not once.
func (s *sequence) isSilentForAYear(t *testing.T) {
	const months, days, step = 12, 366, 6 * time.Hour
	const samples = days * 4
	var starts, scrubs []string
	for month := range months {
		starts = append(starts, fmt.Sprintf("%dx%d", 9+month, samples/months-1))
	}
	for week := range days/7 + 1 {
		scrubs = append(scrubs, fmt.Sprintf("%dx27", week*7*24*3600))
	}
	const receipts = `edgeagent_unreceipted_seconds{aggregator="agg-1",upstream="office"}`
	year := &alarm{name: "a year", step: step, course: course{
		"edgeagent_starts_total":                                   strings.Join(starts, " "),
		"edgeagent_unclean_starts_total":                           "3x500 4x500 5x500",
		"edgeagent_gaps_total":                                     fmt.Sprintf("4x%d", samples),
		"edgeagent_room_bytes":                                     again(days, "5e9-240e6x3"),
		"edgeagent_free_bytes":                                     again(days, "1.1e9+6e6x3"),
		"edgeagent_held_back_bytes":                                again(months, "0x117 5e7x1 0x1"),
		"edgeagent_temperature_celsius":                            again(days, "45 60 76 66"),
		"edgeagent_scrub_last_timestamp_seconds":                   strings.Join(scrubs, " "),
		"edgeagent_scrub_interval_seconds":                         fmt.Sprintf("604800x%d", samples),
		"edgeagent_since_last_block_seconds":                       again(days, "3600 60 30 900"),
		receipts:                                                   again(days, "3500 60 30 900"),
		`edgeagent_card_life_used_ratio{card="mmcblk0",cells="b"}`: "0.7x700 0.8x800",
		`edgeagent_entries_total{source="broker"}`:                 upgraded(months, samples/months, 216000),
		`edgeagent_not_understood_total{reason="syntax"}`:          upgraded(months, samples/months, 7200),
		"edgeagent_blocks_total":                                   upgraded(months, samples/months, 360),
		"edgeagent_commit_duration_seconds_count":                  upgraded(months, samples/months, 21600),
	}}
	promtool(t, step, s.silent(t, year, samples))
}

// A day of the same, by the minute: with an upgrade, a broker that is started anew, an upstream that is away for ten minutes,
// a disk that is slow for a minute.
func (s *sequence) isSilentForADay(t *testing.T) {
	day := &alarm{name: "a day", whole: "x599 stale _ x839", course: course{
		"up":                                 "1x599 0x1 1x839",
		"edgeagent_starts_total":             "9x599 stale _ 10x839",
		"edgeagent_stuck_seconds":            "0x299 25 0x299 stale _ 0x839",
		"edgeagent_room_bytes":               "5e9-6e5x599 stale _ 4.6e9-6e5x838",
		"edgeagent_in_flight_messages":       "3x599 stale _ 3x839",
		"edgeagent_since_last_block_seconds": "30x599 stale _ 0 30x838",
		`edgeagent_sealing_stopped{reason="head_not_settled"}`: "0x599 stale _ 1x1 0x837",
		`edgeagent_source_connected{source="mqtt:plant"}`:      "1x299 0x2 1x296 stale _ 0 1x838",
		`edgeagent_upstream_connected{upstream="office"}`:      "1x199 0x9 1x389 stale _ 0 1x838",
		`edgeagent_entries_total{source="broker"}`:             "0+600x599 stale _ 0+600x839",
		`edgeagent_not_understood_total{reason="syntax"}`:      "0+20x599 stale _ 0+20x839",
		`edgeagent_losses_total{source="mqtt:plant"}`:          "2x599 stale _ 0x839",
		`edgeagent_lost_messages_total{source="mqtt:plant"}`:   "70x599 stale _ 0x839",
		`edgeagent_commit_duration_seconds_bucket{le="1"}`:     "0+600x599 stale _ 0+600x839",
		`edgeagent_commit_duration_seconds_bucket{le="2.5"}`:   "0+601x599 stale _ 0+601x839",
		`edgeagent_commit_duration_seconds_bucket{le="10"}`:    "0+601x599 stale _ 0+601x839",
		`edgeagent_commit_duration_seconds_bucket{le="+Inf"}`:  "0+601x599 stale _ 0+601x839",
	}}
	promtool(t, time.Minute, s.silent(t, day, 1440))
}

// silent is a test of a course in which no alert fires, from its beginning to its end.
func (s *sequence) silent(t *testing.T, a *alarm, length int) string {
	t.Helper()
	step := cmp.Or(a.step, time.Minute)
	end := time.Duration(length) * step
	return fmt.Sprintf("  - name: %s\n    interval: %s\n    input_series:\n%s    promql_expr_test:\n"+
		"      - {expr: 'count by (alertname) (count_over_time(ALERTS{alertstate=\"firing\"}[400d]))', eval_time: %s, exp_samples: []}\n"+
		"      - {expr: 'count_over_time(up{job=\"edge\"}[400d]) > bool %d', eval_time: %s, exp_samples: [{labels: '{job=\"edge\", instance=\"gw\"}', value: 1}]}\n",
		a.name, step, s.input(t, a, length), end, length*9/10, end)
}
