package edgechain_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent"
	"edgechain.example/aggregator"
	"edgechain.example/tomlconf"
)

const securityPage = "docs/explain/security.md"

func readPage(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// A claim is worth the test that shows it: each row of the page's tables of claims names one, and each test that is named exists.
func TestEachClaimOfTheSecurityPageNamesATest(t *testing.T) {
	declared := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			declared[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page := readPage(t, securityPage)
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	names := named.FindAllStringSubmatch(page, -1)
	if len(names) < 50 {
		t.Errorf("the page names %d tests", len(names))
	}
	for _, m := range names {
		if !declared[m[1]] {
			t.Errorf("%s names %s, which there is not", securityPage, m[1])
		}
	}
	claims, rows := 0, false
	for line := range strings.Lines(page) {
		switch {
		case !strings.HasPrefix(line, "|"):
			rows = false
		case strings.HasSuffix(line, "| shown by |\n"):
			rows = true
		case rows && !strings.HasPrefix(line, "|--"):
			if claims++; !named.MatchString(line) {
				t.Errorf("no test is named for the claim %q", line)
			}
		}
	}
	if claims < 30 {
		t.Errorf("the page has %d claims", claims)
	}
}

// A row of the table of limits: what it is, how much, and the key or the constant that says so.
var limitRow = regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`]*)`[^|]* \\| (edgeagent|edgeaggregator|[a-z/]+): `(\\w[\\w.]*)` \\|$")

// Who hardens a gateway goes by the numbers of the page, which are those in force.
func TestTheSecurityPageHasTheLimitsInForce(t *testing.T) {
	defaults := map[string]map[string]string{"edgeagent": {}, "edgeaggregator": {}}
	for program, text := range map[string]string{"edgeagent": tomlconf.Format(agent.DefaultConfig()), "edgeaggregator": tomlconf.Format(aggregator.DefaultConfig())} {
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
			defaults[program][key] = strings.Trim(value, `"`)
		}
	}
	_, section, _ := strings.Cut(readPage(t, securityPage), "## Limits and defaults\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := limitRow.FindAllStringSubmatch(section, -1)
	if lines := strings.Count(section, "\n|") - 2; lines != len(rows) || lines < 60 {
		t.Errorf("of %d rows %d can be read", lines, len(rows))
	}
	seen, packages := map[string]bool{}, map[string]constants{}
	for _, row := range rows {
		said, where, name := row[1], row[2], row[3]
		if seen[where+name] {
			t.Errorf("%s: %s stands there twice", where, name)
		}
		seen[where+name] = true
		if keys := defaults[where]; keys != nil {
			if value, ok := keys[name]; !ok || value != said {
				t.Errorf("%s: %s is %q by default, and the page says %q", where, name, value, said)
			}
			continue
		}
		if packages[where] == nil {
			packages[where] = constantsOf(t, where)
		}
		value, ok := packages[where].value(name)
		if want, err := number(said); err != nil || !ok || value != want {
			t.Errorf("%s: %s is %d, and the page says %q (%v)", where, name, value, said, err)
		}
	}
	// What bounds the broker is there to be looked up: no key and no bound of it is left out.
	for key := range defaults["edgeagent"] {
		if strings.HasPrefix(key, "broker.max_") && !seen["edgeagent"+key] {
			t.Errorf("the page has no %s", key)
		}
	}
	for name := range constantsOf(t, "sensors/broker") {
		if _, isNumber := constantsOf(t, "sensors/broker").value(name); isNumber && regexp.MustCompile(`^(max|fanout)[A-Z]`).MatchString(name) && !seen["sensors/broker"+name] {
			t.Errorf("the page has no %s of the broker's", name)
		}
	}
}

// number reads a size, a duration in nanoseconds, or a plain number.
func number(s string) (int64, error) {
	if d, err := time.ParseDuration(s); err == nil && s != "0" {
		return int64(d), nil
	}
	for unit, shift := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseInt(digits, 10, 64)
			return n << shift, err
		}
	}
	return strconv.ParseInt(strings.ReplaceAll(s, ",", ""), 10, 64)
}

// constants are a package's, by name.
type constants map[string]ast.Expr

func constantsOf(t *testing.T, folder string) constants {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files (%v)", folder, len(files), err)
	}
	all := constants{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i := range v.Values {
					all[v.Names[i].Name] = v.Values[i]
				}
			}
		}
	}
	return all
}

// value works a constant out, as far as the page's are made: of numbers, units and one another.
func (c constants) value(name string) (int64, bool) {
	e, ok := c[name]
	if !ok {
		return 0, false
	}
	v := c.work(e)
	if v == nil {
		return 0, false
	}
	n, exact := constant.Int64Val(constant.ToInt(v))
	return n, exact
}

var units = map[string]int64{
	"time.Millisecond": int64(time.Millisecond), "time.Second": int64(time.Second), "time.Minute": int64(time.Minute), "time.Hour": int64(time.Hour),
	"tomlconf.KiB": 1 << 10, "tomlconf.MiB": 1 << 20, "tomlconf.GiB": 1 << 30,
}

func (c constants) work(e ast.Expr) constant.Value {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.INT {
			return constant.MakeFromLiteral(e.Value, e.Kind, 0)
		}
	case *ast.ParenExpr:
		return c.work(e.X)
	case *ast.Ident:
		if c[e.Name] != nil {
			return c.work(c[e.Name])
		}
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && units[x.Name+"."+e.Sel.Name] != 0 {
			return constant.MakeInt64(units[x.Name+"."+e.Sel.Name])
		}
	case *ast.BinaryExpr:
		x, y := c.work(e.X), c.work(e.Y)
		if x == nil || y == nil {
			return nil
		}
		if e.Op == token.SHL || e.Op == token.SHR {
			by, _ := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(by))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	return nil
}
