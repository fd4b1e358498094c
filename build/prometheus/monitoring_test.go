// Package prometheus_test holds what watches gateways and aggregators, alerts and dashboards, to the programs' metrics.
package prometheus_test

import (
	"encoding/json"
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

	"edgechain/build/testenv"
)

var metric = regexp.MustCompile(`\bedge(?:agent|aggregator)_[a-z0-9_]+`)

// registered finds the names of the programs' metrics where they are described: as the Name of an Opts, or as the first
// argument of NewDesc or of a method called gauge or counter.
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
					if method, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 && slices.Contains([]string{"gauge", "counter", "NewDesc"}, method.Sel.Name) {
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

func TestAlertsAreRaisedByWhatTheyAreFor(t *testing.T) {
	promtool := testenv.Promtool(t)
	for _, file := range files(t, "*.yml") {
		verb := "check"
		if strings.HasSuffix(file, ".test.yml") {
			verb = "test"
		}
		if output, err := exec.Command(promtool, verb, "rules", file).CombinedOutput(); err != nil {
			t.Errorf("promtool %s rules %s: %v\n%s", verb, file, err, output)
		}
	}
}

// The tests of alerts name each one: an alert that nothing raises is not shown to work.
func TestEveryAlertIsTested(t *testing.T) {
	for _, program := range []string{"edgeagent", "edgeaggregator"} {
		rules, err := os.ReadFile(program + ".yml")
		if err != nil {
			t.Fatal(err)
		}
		tests, err := os.ReadFile(program + ".test.yml")
		if err != nil {
			t.Fatal(err)
		}
		for _, alert := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
			if !strings.Contains(string(tests), `alertname="`+alert[1]+`"`) {
				t.Errorf("%s.test.yml raises no %s", program, alert[1])
			}
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
