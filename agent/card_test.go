package agent

import (
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/recorder"
	"edgechain.example/tomlconf"
)

// The budget decides when a group is closed, unless a delay is set. The shipped 0s sets none, written or not.
func TestDelaysThatAreWrittenGoBeforeTheBudget(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		text        string
		delay, idle time.Duration
	}{
		{"", 0, 0},
		{"[card]\nbytes_per_day = \"500 MB\"", 0, 0},
		{"[commit]\nmax_entries = 10", 0, 0},
		{"[commit]\nmax_delay = \"0s\"\nidle = \"0s\"", 0, 0},
		{"[commit]\nmax_delay = \"0s\"", 0, 0},
		{"[commit]\nmax_delay = \"1s\"\nidle = \"500ms\"", 1000 * ms, 500 * ms},
		{"[commit]\nmax_delay = \"1s\"", 1000 * ms, 2 * ms},
		{"[commit]\nmax_delay = \"1ms\"", ms, ms},
		{"[commit]\nidle = \"5ms\"", 25 * ms, 5 * ms},
		{"[commit]\nidle = \"0s\"", 0, 0},
		{"[commit]\nmax_delay = \"0s\"\nidle = \"2ms\"", 25 * ms, 2 * ms},
		{"[commit]\nmax_delay = \"1s\"\nidle = \"0s\"", 1000 * ms, 2 * ms},
	} {
		config, _, err := loadText(t, c.text, nil, nil)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
		} else if got := config.Commit; got.MaxDelay != c.delay || got.Idle != c.idle {
			t.Errorf("%q: %v and %v, want %v and %v", c.text, got.MaxDelay, got.Idle, c.delay, c.idle)
		}
	}
}

func TestBudgetsThatCannotBeKeptAreRefusedOrWarnedOf(t *testing.T) {
	for text, want := range map[string]string{
		"[card]\nbytes_per_day = \"19MB\"":            `x.toml:2:1: card.bytes_per_day = "19MB": expected 0B, for no limit, or at least 20MB: less an idle gateway may write by itself`,
		"[card]\nbytes_per_day = -1":                  `x.toml:2:1: card.bytes_per_day: "-1": expected a size with its unit, such as "64MiB", "256KiB" or "10MB"`,
		"[card]\nbytes_per_day = \"-1GB\"":            `x.toml:2:1: card.bytes_per_day: "-1GB": expected a size with its unit, such as "64MiB", "256KiB" or "10MB"`,
		"[card]\nbytes_per_day = \"2 Gb\"":            `x.toml:2:1: card.bytes_per_day: "2 Gb": expected a size with its unit, such as "64MiB", "256KiB" or "10MB"`,
		"[commit]\nidle = \"1s\"\n":                   `x.toml:2:1: commit.idle = "1s": no group waits for longer than 25ms where commit.max_delay is not set: set that too, to 1s or more`,
		"[commit]\nmax_delay = \"0s\"\nidle = \"1s\"": `x.toml:3:1: commit.idle = "1s": no group waits for longer than 25ms where commit.max_delay is not set: set that too, to 1s or more`,
		"[commit]\nidle = \"6s\"\n":                   `x.toml:2:1: commit.idle = "6s": expected 0s to 5s`,
		"[commit]\nmax_delay = \"1s\"\nidle = \"2s\"": `x.toml:3:1: commit.idle = "2s": expected 0s to 1s`,
		"[card]\nbytes_per_day = \"99999999TB\"":      `x.toml:2:1: card.bytes_per_day: "99999999TB": too large: the largest size is "8388607TiB"`,
	} {
		if _, _, err := loadText(t, text, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"[card]\nbytes_per_day = \"100MB\"":                             "one each second takes 353 MB a day",
		"[card]\nbytes_per_day = \"2GB\"\n[commit]\nmax_delay = \"1s\"": "it is not kept: commit.max_delay and commit.idle say how long readings wait",
	} {
		_, warnings, err := loadText(t, text, nil, nil)
		found := false
		for _, w := range warnings {
			found = found || strings.Contains(w.Text, want)
		}
		if err != nil || !found {
			t.Errorf("%q: %v, %v", text, warnings, err)
		}
	}
	if c, warnings, err := loadText(t, "[hwmon]\nenabled = true\n[card]\nbytes_per_day = \"0B\"", nil, nil); err != nil || len(warnings) > 0 || c.Card.BytesPerDay != 0 {
		t.Errorf("no limit: %v, %v", warnings, err)
	}
}

// Status says by how much the budget is exceeded, and for whom.
func TestStatusSaysWhatTheCardSuffers(t *testing.T) {
	const disk = 32e9
	for _, c := range []struct {
		s    recorder.Spending
		over uint64
		why  string
	}{
		{recorder.Spending{PerDay: 2e9, Rate: 1.5e9}, 0, ""},
		{recorder.Spending{PerDay: 0, Rate: 35e9}, 0, ""},
		{recorder.Spending{PerDay: 2e9, Rate: 5e9, Over: 3e9, Limited: []recorder.Limited{{Sender: "mqtt:plant", Window: 20}}}, 3e9, "mqtt:plant waits with window 20"},
		{recorder.Spending{PerDay: 2e9, Rate: 5e9, Over: 3e9, Limited: []recorder.Limited{{Sender: "a", Window: 1}, {Sender: "b", Window: 1}, {Sender: "c", Window: 1}, {Sender: "d", Window: 1}, {Sender: "e", Window: 1}}}, 3e9, "a waits with window 1, b waits with window 1, c waits with window 1, 2 others likewise"},
		{recorder.Spending{PerDay: 2e9, Rate: 5e9, Over: 3e9, Fixed: true}, 3e9, "commit.max_delay and commit.idle say how long readings wait"},
		{recorder.Spending{PerDay: 2e9, Rate: 5e9, Over: 3e9, Wait: recorder.MostWait}, 3e9, "the readings alone take as much"},
		{recorder.Spending{PerDay: 2e9, Rate: 5e9, Over: 3e9}, 3e9, "more was written before than now"},
	} {
		got := cardStatus(c.s, disk)
		if got.Exceeded != c.over || !strings.HasPrefix(got.Why, c.why) || c.why == "" && got.Why != "" {
			t.Errorf("%+v: exceeded by %d because %q", c.s, got.Exceeded, got.Why)
		}
		if got.Endurance != 8e12 || got.Years == nil || int(*got.Years*10) != int(8e12/c.s.Rate/365*10) {
			t.Errorf("%+v: %+v", c.s, got)
		}
	}
	if got := cardStatus(recorder.Spending{PerDay: 2e9}, disk); got.Years != nil || got.Rate != 0 {
		t.Errorf("before the rate is known: %+v", got)
	}
	if got := cardStatus(recorder.Spending{PerDay: 2e9, Rate: 1e9}, 0); got.Years != nil {
		t.Errorf("on a disk of unknown size: %+v", got)
	}
}

// Another budget, and delays instead of one, hold from the reload on.
func TestAReloadChangesTheBudget(t *testing.T) {
	c := quickConfig(t)
	a := startAgent(t, c)
	if s := a.Status().Live.Card; s.Budget != 2e9 || s.Fixed {
		t.Errorf("%+v", s)
	}
	next := *c
	next.Card.BytesPerDay = 500 * tomlconf.Size(1e6)
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	if s := a.Status().Live.Card; s.Budget != 5e8 || s.Fixed {
		t.Errorf("after a reload: %+v", s)
	}
	if got := shown(t, a.metrics, "edgeagent_card_budget_bytes_per_day")[""]; got != 5e8 {
		t.Errorf("shown is %v", got)
	}
	fixed := next
	fixed.Commit.MaxDelay, fixed.Commit.Idle = time.Millisecond, time.Millisecond
	if _, err := a.Reload(&fixed); err != nil {
		t.Fatal(err)
	}
	if s := a.Status().Live.Card; !s.Fixed || s.Wait != 0 {
		t.Errorf("with delays: %+v", s)
	}
}
