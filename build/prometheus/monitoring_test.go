// Package prometheus_test holds what watches gateways and aggregators, alerts and dashboards, to the programs' metrics,
// and the manual to what the programs show and log.
package prometheus_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
)

var metric = regexp.MustCompile(`\bedge(?:agent|aggregator)_[a-z0-9_]+`)

// registered finds the names of the programs' metrics where they are described: as the Name of an Opts, or as the first
// argument of NewDesc or of a function called desc, gauge or counter.
func registered(t *testing.T) (names []string) {
	t.Helper()
	for _, folder := range []string{"../../agent", "../../aggregator"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				var named ast.Expr
				switch n := n.(type) {
				case *ast.KeyValueExpr:
					if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Name" {
						named = n.Value
					}
				case *ast.CallExpr:
					var called string
					switch f := n.Fun.(type) {
					case *ast.SelectorExpr:
						called = f.Sel.Name
					case *ast.Ident:
						called = f.Name
					}
					if len(n.Args) > 0 && slices.Contains([]string{"gauge", "counter", "NewDesc", "desc"}, called) {
						named = n.Args[0]
					}
				}
				if literal, ok := named.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if name, err := strconv.Unquote(literal.Value); err == nil && metric.FindString(name) == name && name != "" {
						names = append(names, name)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %d metrics found in the programs: %q", len(names), names)
	}
	return names
}

func TestEveryMetricThatIsWatchedExists(t *testing.T) {
	names := registered(t)
	for _, file := range files(t, "*.yml", "../grafana/*.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metric.FindAllString(string(text), -1) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if !slices.Contains(names, name) && !slices.Contains(names, base) {
				t.Errorf("%s asks for %s, which no program has", file, name)
			}
		}
	}
}

const (
	metricsPage = "../../docs/reference/metrics.md"
	logPage     = "../../docs/reference/log-lines.md"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Whoever is called at night finds each metric in the manual, and in the manual none that is not there.
func TestEveryMetricIsExplained(t *testing.T) {
	names := registered(t)
	explained := metric.FindAllString(read(t, metricsPage), -1)
	for _, name := range names {
		if !slices.Contains(explained, name) {
			t.Errorf("%s says nothing of %s", metricsPage, name)
		}
	}
	pages, err := filepath.Glob("../../docs/operate/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range append(pages, metricsPage) {
		for _, name := range metric.FindAllString(read(t, page), -1) {
			if !slices.Contains(names, name) {
				t.Errorf("%s explains %s, which no program has", page, name)
			}
		}
	}
}

// Whoever is called finds each alert in the manual, with what to do, and in the manual none that is not there.
func TestEveryAlertIsExplained(t *testing.T) {
	_, section, _ := strings.Cut(read(t, metricsPage), "\n## Alerts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var explained, raised []string
	for row := range strings.Lines(section) {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			explained = append(explained, regexp.MustCompile(`Edge\w+`).FindAllString(cells[1], -1)...)
		}
	}
	for _, q := range slices.Concat(rules(t, "edgeagent.yml"), rules(t, "edgeaggregator.yml")) {
		if _, alert, is := strings.Cut(q.of, "alert: "); is {
			raised = append(raised, alert)
		}
	}
	for _, alert := range raised {
		if !slices.Contains(explained, alert) {
			t.Errorf("%s says nothing of %s", metricsPage, alert)
		}
	}
	for _, alert := range explained {
		if !slices.Contains(raised, alert) {
			t.Errorf("%s explains %s, which no rule raises", metricsPage, alert)
		}
	}
}

// The tables of log lines hold how each warning and each error begins that a program writes.
func TestEveryWarningIsExplained(t *testing.T) {
	var beginnings []string
	for row := range strings.Lines(read(t, logPage)) {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				beginnings = append(beginnings, span[1])
			}
		}
	}
	met := map[string]bool{}
	for _, w := range warnings(t) {
		line := w.text
		explained := false
		for _, beginning := range beginnings {
			if strings.HasPrefix(line, beginning) {
				met[beginning], explained = true, true
			}
		}
		if !explained {
			t.Errorf("%s says nothing of the log line %q", logPage, line)
		}
	}
	for _, beginning := range beginnings {
		if !met[beginning] {
			t.Errorf("%s explains the log line %q, which no program writes", logPage, beginning)
		}
	}
}

// What failed says so in the same words wherever it is looked for, and the keys beside it can be searched by.
func TestFailuresAreLoggedAlike(t *testing.T) {
	key := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for _, w := range warnings(t) {
		// Why nothing is sealed is a state: status and three other lines tell it in the same words.
		if slices.Contains(w.keys, "err") && !strings.HasPrefix(w.text, "failed ") && !strings.HasPrefix(w.text, "nothing is sealed: ") {
			t.Errorf("%s: the log line %q has an error, and does not begin with what failed: \"failed to …\"", w.at, w.text)
		}
		for _, k := range w.keys {
			if !key.MatchString(k) {
				t.Errorf("%s: the log line %q has a key %q, not in snake_case", w.at, w.text, k)
			}
		}
	}
}

// A warning is a call that writes a warning or an error to a log.
type warning struct {
	at   string // file and line
	text string // as far as it is a literal
	keys []string
}

// warnings finds what the two programs write to their logs as warnings and errors: the texts that begin the arguments
// of methods called Warn and Error.
func warnings(t *testing.T) (all []warning) {
	t.Helper()
	files := token.NewFileSet()
	for _, folder := range []string{"agent", "aggregator", "backup", "cmd/edgeagent", "cmd/edgeaggregator", "lightchain", "localhttp", "mqttconn", "sensors", "sync"} {
		err := filepath.WalkDir(filepath.Join("../..", folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "agent/demo") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				method, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || method.Sel.Name != "Warn" && method.Sel.Name != "Error" {
					return true
				}
				first := call.Args[0]
				for sum, ok := first.(*ast.BinaryExpr); ok; sum, ok = first.(*ast.BinaryExpr) {
					first = sum.X
				}
				if literal, ok := first.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					line, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, warning{at: fmt.Sprintf("%s:%d", path, files.Position(call.Pos()).Line), text: line, keys: keysOf(call)})
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d warnings found in the programs: %+v", len(all), all)
	}
	return all
}

// keysOf returns the keys of what a call adds to its line, as far as they are literals. The embedded broker's told takes a
// reason before them.
func keysOf(call *ast.CallExpr) (keys []string) {
	from := 1
	if to, ok := call.Fun.(*ast.SelectorExpr).X.(*ast.SelectorExpr); ok && to.Sel.Name == "told" {
		from = 2
	}
	for i := from; i < len(call.Args); i += 2 {
		literal, ok := call.Args[i].(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			break
		}
		if key, err := strconv.Unquote(literal.Value); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// The rules are ones that Prometheus reads, and the aggregator's are raised by what they are for, all of them.
func TestRulesOfAggregators(t *testing.T) {
	promtool := testenv.Promtool(t)
	for _, args := range [][]string{{"check", "rules", "edgeagent.yml", "edgeaggregator.yml"}, {"test", "rules", "edgeaggregator.test.yml"}} {
		if output, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, output)
		}
	}
	tests, err := os.ReadFile("edgeaggregator.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range rules(t, "edgeaggregator.yml") {
		if _, alert, _ := strings.Cut(q.of, "alert: "); !strings.Contains(string(tests), `alertname="`+alert+`"`) {
			t.Errorf("edgeaggregator.test.yml raises no %s", alert)
		}
	}
}

// A dashboard asks the data source that is chosen in it, and each of its expressions is one that Prometheus reads.
func TestDashboardsWorkOnAnyDataSource(t *testing.T) {
	promtool := testenv.Promtool(t)
	for _, file := range files(t, "../grafana/*.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			UID, Title string
			Templating struct {
				List []struct{ Name, Type, Query any }
			}
			Panels []struct {
				Type, Title string
				Targets     []struct {
					Expr       string
					Datasource struct{ UID string }
				}
			}
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if list := dashboard.Templating.List; dashboard.UID == "" || len(list) == 0 || list[0].Name != "datasource" || list[0].Type != "datasource" {
			t.Errorf("%s: expected a uid, and the variable datasource before all others", file)
		}
		rules := "groups:\n- name: dashboard\n  rules:\n"
		for i, panel := range dashboard.Panels {
			if panel.Type != "row" && len(panel.Targets) == 0 {
				t.Errorf("%s: %s shows nothing", file, panel.Title)
			}
			for j, target := range panel.Targets {
				if target.Datasource.UID != "${datasource}" {
					t.Errorf("%s: %s asks the data source %q", file, panel.Title, target.Datasource.UID)
				}
				expression := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
				rules += "  - record: panel" + strconv.Itoa(i) + ":" + strconv.Itoa(j) + "\n    expr: " + strconv.Quote(expression) + "\n"
			}
		}
		asked := filepath.Join(t.TempDir(), "rules.yml")
		if err := os.WriteFile(asked, []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		if output, err := exec.Command(promtool, "check", "rules", asked).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, output)
		}
	}
}

func files(t *testing.T, patterns ...string) (all []string) {
	t.Helper()
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing there (%v)", pattern, err)
		}
		all = append(all, found...)
	}
	return all
}
