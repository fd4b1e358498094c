package prometheus_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
)

// A question is one expression that a rule or a panel asks, and the labels that its texts name.
type question struct {
	of         string // which rule or panel, for people
	expression string
	texts      string
}

// rules returns what a file of rules asks.
func rules(t *testing.T, file string) (all []question) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "\n      - ")[1:] {
		name, body, _ := strings.Cut(block, "\n")
		var code []string
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(strings.TrimSpace(line), "#") {
				code = append(code, line)
			}
		}
		expression, texts, _ := strings.Cut(strings.Join(code, ""), "\n        labels:")
		_, expression, _ = strings.Cut(expression, "expr:")
		expression = regexp.MustCompile(`\n        for: \w+`).ReplaceAllString(strings.TrimPrefix(strings.TrimSpace(expression), "|-"), "")
		all = append(all, question{file + ", " + name, expression, texts})
	}
	if len(all) < 10 {
		t.Fatalf("%s: only %d rules found", file, len(all))
	}
	return all
}

// panels returns what a dashboard asks: of its panels, and of its variables.
func panels(t *testing.T, file string) (all []question) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, question{file + ", " + panel.Title, target.Expr, target.LegendFormat})
		}
	}
	if len(all) < 10 {
		t.Fatalf("%s: only %d panels found", file, len(all))
	}
	return all
}

var (
	selected = regexp.MustCompile(`\b(edge(?:agent|aggregator)_[a-z0-9_]+|process_\w+|go_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)(=~?)"([^"]*)"`)
	grouped  = regexp.MustCompile(`\b(?:by|on|group_left|group_right)\s*\(([^)]*)\)`)
	legend   = regexp.MustCompile(`\{\{[^}]*?\$labels\.(\w+)[^}]*\}\}|\{\{\s*(\w+)\s*\}\}`)
)

// Of rules and panels each metric is one that a running program shows, with each label and each value of one that is named.
// What is there at the first question is there at the next one, so that a rule sees what happens in between.
func TestRulesAndPanelsAskForWhatRunningProgramsShow(t *testing.T) {
	p := newPlant(t)
	shown := &scraped{}
	for _, api := range []string{p.gateways[0].api, p.aggregator} {
		first := scrape(t, api)
		testenv.Await(t, "a block was sealed, and a second has gone, between two scrapes", func() bool {
			later := scrape(t, api)
			return later.value("edgeagent_chain_height") > first.value("edgeagent_chain_height") || api == p.aggregator
		})
		second := scrape(t, api)
		shown.all = append(shown.all, second.all...)
		for i := range first.all {
			was, is := &first.all[i], second.value(first.all[i].String())
			if is == -1 && was.value != -1 {
				t.Errorf("%s was there at the first scrape, and is not at the second", was)
			}
			if second.kinds[was.name] == "counter" && is < was.value {
				t.Errorf("the counter %s fell from %v to %v", was, was.value, is)
			}
		}
	}
	questions := slices.Concat(rules(t, "edgeagent.yml"), rules(t, "edgeaggregator.yml"), panels(t, "../grafana/gateway.json"), panels(t, "../grafana/fleet.json"))
	for _, q := range questions {
		shown.check(t, q)
	}
}

// check holds a question to what was scraped.
func (s *scraped) check(t *testing.T, q question) {
	t.Helper()
	labels := map[string]bool{"job": true, "instance": true}
	if strings.Contains(q.expression, "edgeagent:gateway") {
		labels["gateway"], labels["chain"] = true, true
	}
	for _, selector := range selected.FindAllStringSubmatch(q.expression, -1) {
		name := selector[1]
		if !slices.ContainsFunc(s.all, func(one series) bool { return one.name == name }) {
			t.Errorf("%s asks for %s, which no running program shows", q.of, name)
			continue
		}
		maps.Copy(labels, s.labels(name))
		for _, m := range matcher.FindAllStringSubmatch(selector[2], -1) {
			if m[1] == "instance" || m[1] == "job" {
				continue
			}
			values := []string{m[3]}
			if m[2] == "=~" {
				values = strings.Split(m[3], "|")
			}
			for _, value := range values {
				pair := m[1] + `="` + value + `"`
				if !slices.ContainsFunc(s.all, func(one series) bool { return one.name == name && strings.Contains(one.labels, pair) }) {
					t.Errorf("%s asks for %s{%s}, which no running program shows", q.of, name, pair)
				}
			}
		}
	}
	for _, group := range grouped.FindAllStringSubmatch(q.expression, -1) {
		for _, name := range strings.FieldsFunc(group[1], func(r rune) bool { return r == ',' || r == ' ' }) {
			if !labels[name] {
				t.Errorf("%s groups by %s, which none of its metrics has: %q", q.of, name, slices.Sorted(maps.Keys(labels)))
			}
		}
	}
	for _, named := range legend.FindAllStringSubmatch(q.texts, -1) {
		if name := named[1] + named[2]; !labels[name] && name != "end" {
			t.Errorf("%s names the label %s, which none of its metrics has", q.of, name)
		}
	}
}
