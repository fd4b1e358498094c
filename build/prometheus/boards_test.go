package prometheus_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
)

// A monitor is a Prometheus that scrapes a plant and knows the rules.
type monitor struct {
	t       *testing.T
	address string
}

// answer is what Prometheus says to a question.
type answer []struct {
	Metric map[string]string
	Value  [2]any
}

func newMonitor(t *testing.T, p *plant) *monitor {
	t.Helper()
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	var gateways []string
	for _, g := range p.gateways {
		gateways = append(gateways, strconv.Quote(g.api))
	}
	// The first gateway has two jobs, as where a second team has it, too.
	return &monitor{t, testenv.Prometheus(t, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%[1]s/edgeagent.yml, %[1]s/edgeaggregator.yml]
scrape_configs:
  - {job_name: gateways, static_configs: [{targets: [%[2]s]}]}
  - {job_name: again, static_configs: [{targets: [%[3]s], labels: {instance: again}}]}
  - {job_name: aggregators, static_configs: [{targets: [%[4]q]}]}
`, folder, strings.Join(gateways, ", "), gateways[0], p.aggregator))}
}

// get asks for something of the interface.
func (m *monitor) get(path string, values url.Values, data any) {
	m.t.Helper()
	response, err := http.Get("http://" + m.address + path + "?" + values.Encode())
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		m.t.Fatal(err)
	}
	if body.Status != "success" {
		m.t.Errorf("%s: %s", values, body.Error)
		return
	}
	if err := json.Unmarshal(body.Data, data); err != nil {
		m.t.Fatal(err)
	}
}

func (m *monitor) ask(expression string) answer {
	m.t.Helper()
	var data struct{ Result answer }
	m.get("/api/v1/query", url.Values{"query": {expression}}, &data)
	return data.Result
}

// number is a question to which there is one answer.
func (m *monitor) number(expression string) float64 {
	m.t.Helper()
	all := m.ask(expression)
	if len(all) != 1 {
		return -1
	}
	text, _ := all[0].Value[1].(string)
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		m.t.Errorf("%s: %v", expression, err)
	}
	return n
}

// Each panel of both dashboards shows something of a plant that works, and the board of all gateways has each of them once:
// though one of them is asked by two jobs, and whether it is silent, offline or both.
func TestDashboardsShowAPlantThatWorks(t *testing.T) {
	p := newPlant(t)
	m := newMonitor(t, p)
	testenv.Await(t, "everything was scraped often enough for rates", func() bool {
		return m.number(`min(count_over_time(up[1m]))`) >= 5 && m.number(`count(up == 1)`) == 4
	})
	variables := strings.NewReplacer("$instance", p.gateways[0].api, "$gateway", p.gateways[0].name, "$__rate_interval", "30s")
	for _, q := range slices.Concat(panels(t, "../grafana/gateway.json"), panels(t, "../grafana/fleet.json")) {
		expression := variables.Replace(q.expression)
		var all answer
		testenv.Await(t, q.of+" shows something: "+expression, func() bool { // a scrape that took too long takes all series away
			all = m.ask(expression)
			return len(all) > 0
		})
		for _, one := range all {
			for _, named := range legend.FindAllStringSubmatch(q.texts, -1) {
				if one.Metric[named[2]] == "" {
					t.Errorf("%s has no label %s: %v", q.of, named[2], one.Metric)
				}
			}
		}
	}

	fleet := panels(t, "../grafana/fleet.json")
	for _, q := range fleet {
		if q.texts != "{{gateway}}" {
			continue
		}
		var names []string
		testenv.Await(t, q.of+" shows two gateways or more", func() bool {
			names = nil
			for _, one := range m.ask(variables.Replace(q.expression)) {
				names = append(names, one.Metric["gateway"])
			}
			return len(names) >= 2
		})
		if slices.Sort(names); !slices.Equal(names, []string{"paint-shop", "press-hall"}) {
			t.Errorf("%s shows the gateways %q", q.of, names)
		}
	}
	for title, want := range map[string]float64{"Gateways scraped": 2, "Approved": 2, "Replicas alive": 1, "Silent or offline": 0, "Losses in a day": 0, "Sealing held": 0, "Devices that are late": 0} {
		i := slices.IndexFunc(fleet, func(q question) bool { return strings.HasSuffix(q.of, ", "+title) })
		if i < 0 {
			t.Fatalf("there is no panel %s", title)
		}
		testenv.Await(t, fmt.Sprintf("%s shows %v", title, want), func() bool { return m.number(variables.Replace(fleet[i].expression)) == want })
	}
	for _, name := range []string{"gateway", "instance"} {
		var values []string
		m.get("/api/v1/label/"+name+"/values", url.Values{"match[]": {"edgeagent_build_info"}}, &values)
		if len(values) < 2 {
			t.Errorf("the dashboard's variable %s has the values %q", name, values)
		}
	}

	// Each rule is one that Prometheus can work out, not only read: a join that is ambiguous would be an error here.
	var groups struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	known := 0
	testenv.Await(t, "each rule was worked out", func() bool {
		m.get("/api/v1/rules", nil, &groups)
		known = 0
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				if known++; rule.Health == "unknown" {
					return false
				}
			}
		}
		return true
	})
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				t.Errorf("the rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
		}
	}
	if want := len(rules(t, "edgeagent.yml")) + len(rules(t, "edgeaggregator.yml")); known != want {
		t.Errorf("Prometheus knows %d rules of %d", known, want)
	}
}
