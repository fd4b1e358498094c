package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/store"
)

// All that can be wrong at once stands above all else, and fits on a terminal.
func TestStatusShowsWhatIsWrongFirst(t *testing.T) {
	t.Parallel()
	days, height := 3.25, uint64(812_345)
	s := api.Status{
		Gateway: "press-hall", Height: height, Entries: 9_812_345_678, Open: 4096, Held: 1_234_567, Bytes: 20 << 30,
		Volatile: "overlay", Mark: "the chain was restored from a backup of 2026-03-01T08:00:00Z: the agent seals nothing until an aggregator has told its newest head",
		Lost: store.Lost{Entries: 300, Unproved: 200, Headers: 1, Tables: 2},
		Scrub: &api.Scrub{
			Last: &api.ScrubRound{Ended: time.Unix(1_772_352_000, 0), Seconds: 483_840, Bytes: 20 << 30},
			Now:  &api.ScrubProgress{Height: 1234},
		},
		Version: "1.0.0", Running: true,
		Verdict: api.Verdict{Reasons: []api.Reason{
			{Code: api.DiskFull, Text: "the disk is full: recording has stopped since 2026-03-01T10:00:00Z (2 h), and messages wait unacknowledged. Make room"},
			{Code: api.SourceDisconnected, Of: "line-2", Text: "source line-2 is not connected\x1b[2J: connection refused"},
		}},
		Live: &api.Live{
			Waiting: true, HeldBy: []sealgate.Reason{{Kind: sealgate.Elsewhere, Why: "this chain cannot go on"}}, Clock: "unsynchronised", ClockError: 16,
			Buffer:   api.Buffer{Rate: 1 << 30, Room: 1 << 30, Deletable: 2 << 30, Days: &days},
			HeldBack: &api.Stretch{From: 1, To: 812_000, Bytes: 3 << 30},
			Kept:     []api.Kept{{By: "room_per_day", Stretch: api.Stretch{From: 1, To: 700_000, Bytes: 2 << 30}}, {By: "min_age", Stretch: api.Stretch{From: 700_001, To: 812_000, Bytes: 1 << 30}}},
			Sources:  []api.Source{{Name: "line-1", Connected: true, Detail: "ssl://mqtt.plant.example:8883"}, {Name: "line-2", Detail: "connection refused"}},
			Upstreams: []api.Upstream{{Name: "office", Connected: true, Detail: "ssl://mqtt.office.example:8883", Standing: "forked",
				Aggregators: []api.Aggregator{{Name: "agg-a", Receipted: &height, Complaint: "it knows less than it countersigned"}, {Name: "agg-b"}}}},
		},
	}
	var out bytes.Buffer
	writeStatus(&out, &s)
	text := out.String()
	first, text, _ := strings.Cut(text, "\n")
	if want := "NOT OK: " + s.Reasons[0].Text; first != want { // one line, for programs that read no other
		t.Errorf("it begins with %q, want %q", first, want)
	}
	second, text, _ := strings.Cut(text, "\n")
	if second != `        source line-2 is not connected\u{1b}[2J: connection refused` {
		t.Errorf("the second reason is %q", second)
	}
	alarms, rest, _ := strings.Cut(text, "\nheight ")
	for _, want := range []string{
		"recording has stopped", "source line-2", "on overlay", "restored from a backup", "this chain cannot go on", "300 entries are lost",
		"2 files with receipts", "agg-a is not to be relied on", "retention holds back",
		"room for 2.0 GiB in blocks 1 to 700000", "younger than retention.min_age",
	} {
		if !strings.Contains(alarms, want) {
			t.Errorf("what is wrong does not begin with %q", want)
		}
	}
	if strings.Contains(rest, "WARNING") || strings.Contains(rest, "DAMAGE") {
		t.Error("there are warnings below")
	}
	for line := range strings.Lines(text) {
		if len(line) > 81 {
			t.Errorf("this line has %d characters: %s", len(line)-1, line)
		}
	}
	if t.Failed() {
		t.Log("\n" + text)
	}
}

// What the card suffers stands in status with the budget, the reason where that is exceeded, and the assumption behind the years.
func TestStatusSaysWhatTheCardSuffers(t *testing.T) {
	t.Parallel()
	years := 2.74
	for _, c := range []struct {
		card api.Card
		want []string
	}{
		{api.Card{Budget: 2e9}, []string{"not known yet how much is written in a day; budget 2.0 GB"}},
		{api.Card{Budget: 1e8, Wait: 0.0329}, []string{"not known yet how much is written in a day; budget 100.0 MB, groups are up to 0.033 s apart"}},
		{api.Card{Budget: 1e8, Rate: 1.5e8, Wait: 1}, []string{"150.0 MB a day are written, budget 100.0 MB, groups are up to 1 s apart"}},
		{api.Card{Rate: 12e6}, []string{"12.0 MB a day are written, no budget"}},
		{api.Card{Rate: 8e9, Budget: 2e9, Exceeded: 6e9, Why: "mqtt:pl\x1bant waits with window 20", Disk: 32e9, Endurance: 8e12, Years: &years},
			[]string{"8.0 GB a day are written, budget 2.0 GB", `budget exceeded by 6.0 GB a day because mqtt:pl\u{1b}ant waits with window 20`, "2.7 years at this rate, if a card of 32.0 GB bears 8.0 TB"}},
	} {
		if got := cardText(&c.card); !slices.Equal(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// What is normal on a new gateway reads like no fault: a source and an upstream that are connecting, a head that is asked about, an
// aggregator that has not answered yet.
func TestStatusOfANewGatewayWarnsOfNothing(t *testing.T) {
	t.Parallel()
	s := api.Status{
		Running: true, Verdict: api.Verdict{OK: true},
		Live: &api.Live{
			HeldBy:  []sealgate.Reason{{Kind: sealgate.Unsettled, Why: "it is not known yet how the head stands"}},
			Sources: []api.Source{{Name: "mqtt:plant", State: api.SourceStarting}},
			Upstreams: []api.Upstream{{Name: "office", Aggregators: []api.Aggregator{{Name: "agg-1"}}},
				{Name: "other", Detail: "connection refused", Aggregators: []api.Aggregator{{Name: "agg-2"}}}},
		},
	}
	var out bytes.Buffer
	writeStatus(&out, &s)
	text := out.String()
	if !strings.HasPrefix(text, "OK\n") || strings.Contains(text, "WARNING") || strings.Contains(text, "NOT ") {
		t.Errorf("status says\n%s", text)
	}
}

// The exit code says what the first line says, and nothing goes to standard error.
func TestStatusEndsWithWhatItSays(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		status api.Status
		code   int
	}{
		{api.Status{Running: true, Verdict: api.Verdict{OK: true}}, 0},
		{api.Status{Running: true}, 7},
		{api.Status{}, 5},
	} {
		if code := command.Code(ending(&x.status), exitCode); code != x.code || code != endsWith(&x.status) {
			t.Errorf("%+v: %d, want %d", x.status.Verdict, code, x.code)
		}
	}
}

// Whoever is called by a code finds it in the documentation, and nothing that no gateway says.
func TestTheDocumentationExplainsEachReason(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operate/trouble.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Is it well?\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var explained []api.Code
	for line := range strings.Lines(section) {
		if code, is := strings.CutPrefix(line, "| `"); is {
			code, _, _ = strings.Cut(code, "`")
			explained = append(explained, api.Code(code))
		}
	}
	if !slices.Equal(explained, api.Codes()) {
		t.Errorf("docs/operate/trouble.md explains %q, of %q", explained, api.Codes())
	}
}

// An agent that is stopped, or hangs, does not hang whoever asks how it stands: that is the answer.
func TestStatusOfAnAgentThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	if err := syscall.Kill(g.process.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	text, _, code := g.output("edgeagent", "status", "--config", g.config, "--timeout", "10s")
	if code != command.ExitUnreachable || !strings.HasPrefix(text, "NOT OK: the agent runs, and has not answered") || !strings.Contains(text, "systemctl restart") {
		t.Errorf("it ends with %d and says %q", code, text)
	}
	var s api.Status
	text, _, code = g.output("edgeagent", "status", "--config", g.config, "--timeout", "10s", "--output", "json")
	if err := json.Unmarshal([]byte(text), &s); err != nil || code != command.ExitUnreachable || s.OK || !s.Has(api.NotAnswering) {
		t.Errorf("it ends with %d and says %q: %v", code, text, err)
	}
	if err := syscall.Kill(g.process.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	g.stop()
}
