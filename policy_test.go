// The rules that keep the tree simple, each with its reason. They hold for packages that do not exist yet: a rule starts
// to bite when the package it names appears.
//
//	go test -run Policy -update .    writes the sizes and dependencies of the programs into arm/testdata
package edgechain_test

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edgechain.example/arm"
)

var update = flag.Bool("update", false, "write what was found into arm/testdata")

// A rule forbids imports.
type rule struct {
	in      string // the packages it binds, a regular expression
	except  string // those of them it does not bind
	forbids string // what they must not import
	allows  string // what of that they may
	links   bool   // also through others, so that it is in no program made from them
	why     string
}

// outside matches what is neither the standard library's nor, given the first half, ours.
const outside = `^edgechain\.example/|^[^/]+\.`

const cbor = `^github\.com/fxamacker/cbor/v2$|^github\.com/x448/float16$` // the second is the first's

var rules = []rule{
	{in: `^edgechain\.example/lightchain$`, forbids: outside, links: true,
		why: "whoever checks a proof reads and trusts all that lightchain imports: it is the standard library alone"},
	{in: `^edgechain\.example/lightchain$`, forbids: `^(os|net|log|syscall|io/fs|io/ioutil|sync|context|time)(/|$)`,
		why: "lightchain is pure, no I/O, clock, goroutine or logger, so that it gives everyone the same answer, in a browser too"},
	{in: `^edgechain\.example/mqttwire$`, forbids: outside + `|^(os|net|log|syscall|sync|context|time)(/|$)`,
		why: "mqttwire is pure, bytes in and bytes out, so that all that a stranger sends can be fuzzed without a socket"},
	{in: `^edgechain\.example/sensors$`, forbids: `^(os|net|syscall)(/|$)`, allows: `^net/(url|netip)$`,
		why: "a dialect is a function from bytes to readings, tested without a socket or a file; sources live below sensors/"},
	{in: `^edgechain\.example/sensors/`, forbids: `^edgechain\.example/sensors/`, allows: `^edgechain\.example/sensors/(broker/subscriberstore|poll|serialline)$`,
		why: "a source that knows another one cannot be left out or replaced; poll and serialline are none, but what several share"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/sensors/modbus$`, forbids: `^github\.com/(simonvetter|goburrow)/`,
		why: "a build tag leaves Modbus out, and what its library gets wrong about serial lines is mended in one place"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/sensors/opcua$`, forbids: `^github\.com/gopcua/`,
		why: "a build tag leaves OPC UA out, and what its library believes of a server is compared in one place"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/(mqttconn|sync/mqttlink|sensors/mqttsource|agent/demo)$`, forbids: `^github\.com/eclipse/paho`,
		why: "paho's habits (tokens that complete without delivery, handlers that block the keep-alive) stay behind one connection, its two users and a demo"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/(lightchain/store(/salvage)?|(aggregator|sensors/broker)/(.+/)?\w*store)$`, forbids: `^github\.com/cockroachdb/pebble`,
		why: "only a store decides what is durable; others must not know that there is a Pebble"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/build/bench$`, forbids: `^github\.com/mochi-mqtt/`,
		why: "what strangers send is read by our own code; another broker is a baseline of the benchmarks, in a module of theirs"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/aggregator(/|$)`, forbids: `^github\.com/jackc/|^html/template$`,
		why: "PostgreSQL and pages for people are the aggregator's; on a board each costs flash and memory"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/(aggregator/headlog|build)(/|$)`, forbids: `^golang\.org/x/mod(/|$)`,
		why: "checkpoints are signed and opened in one place, by the form that others read; the trees are lightchain's own, and tests hold them against that library's"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/(cmd|build)/`, forbids: `^github\.com/spf13/`,
		why: "a package that reads a command line cannot be used by another program"},
	{in: `^edgechain\.example/`, except: `^edgechain\.example/build(/|$)`, forbids: `^edgechain\.example/build(/|$)`,
		why: "what tests and releases need must not be in a program that is shipped"},
	{in: `^edgechain\.example/((cmd/edge)?agent|sync/gateway)(/|$)`, forbids: `^edgechain\.example/(aggregator|sync/collector)(/|$)`, links: true,
		why: "agent and aggregator meet over the wire alone: a gateway in a factory is updated years after the nodes"},
	{in: `^edgechain\.example/agent/recorder$`, forbids: `^edgechain\.example/`, allows: `^edgechain\.example/(agent/sealgate|lightchain|lightchain/store|sensors)$`,
		why: "what makes a message durable knows no source, no configuration file and nobody who asks about it, so that its promise can be read in one place"},
	{in: `^edgechain\.example/(cmd/edge)?aggregator(/|$)`, forbids: `^edgechain\.example/agent(/|$)`, links: true,
		why: "agent and aggregator meet over the wire alone: a node speaks with gateways of every age"},
	{in: `^edgechain\.example/cmd/edgeagent$`, forbids: `^github\.com/jackc/|^html/template$`, links: true,
		why: "the agent's binary is measured in megabytes of a board: nothing that the aggregator alone needs"},
	{in: `^edgechain\.example/cmd/edgeverify$`, forbids: outside, allows: `^edgechain\.example/(lightchain|lightchain/lighttime|sensors|mqttwire)$|` + cbor, links: true,
		why: "an auditor must be able to read the whole verifier; the decoders, and the names of topics that they read, are in it to read payloads again; both are pure"},
	{in: `^edgechain\.example/cmd/edgeverify$`, forbids: `^(net|html/template|text/template|os/exec|plugin)(/|$)`, links: true,
		why: "an auditor must see from the binary that it can ask nobody"},
}

// Floors of the house, by the longest folder that matches. Imports go to a lower floor, or stay within the folder.
var floors = map[string]int{
	"asowner":                        0,
	"durable":                        0,
	"lightchain":                     0,
	"mqttwire":                       0,
	"shellword":                      0,
	"lightchain/store":               1,
	"lightchain/keyfile":             1,
	"lightchain/lighttime":           1,
	"agent/homeassistant":            1,
	"agent/sealgate":                 0,
	"agent/recorder":                 3,
	"sensors":                        1,
	"arm":                            1,
	"tomlconf":                       1,
	"localhttp":                      1,
	"backup":                         1,
	"mqttconn":                       2,
	"sensors/mqttsource":             3,
	"sensors/broker":                 3,
	"sensors/broker/subscriberstore": 2,
	"sensors/hwmon":                  2,
	"sensors/poll":                   2,
	"sensors/serialline":             2,
	"sensors/serial":                 3,
	"sensors/modbus":                 3,
	"sensors/opcua":                  3,
	"sync/internal":                  1,
	"sync/pace":                      1,
	"sensors/sparkplug":              2,
	"sensors/suggest":                2,
	"sync":                           2,
	"sync/gateway":                   3,
	"sync/collector":                 3,
	"sync/synctest":                  3,
	"sync/mqttlink":                  3,
	"agent":                          4,
	"aggregator/headlog":             3,
	"aggregator/registry":            4,
	"aggregator/replicas":            4,
	"aggregator/api":                 5,
	"aggregator/pebblestore":         5,
	"aggregator/pgstore":             5,
	"aggregator":                     6,
	"cmd/internal":                   7,
	"cmd/edgeagent":                  8,
	"cmd/edgeaggregator":             8,
	"cmd/edgeverify":                 8,
	"build":                          9,
}

const arrows = "arrows run downwards only, so that each package can be understood, and tested, with what lies below it"

// A listed package is what `go list -json` tells of one.
type listed struct {
	ImportPath, Name, Dir  string
	GoFiles, Imports, Deps []string
}

func TestPolicyImports(t *testing.T) {
	for _, broken := range check(packages(t)) {
		t.Error(broken)
	}
}

// check returns one line for each import that breaks a rule, with the rule's reason.
func check(pkgs []listed) (broken []string) {
	for _, p := range pkgs {
		for _, r := range rules {
			if !matches(r.in, p.ImportPath) || matches(r.except, p.ImportPath) {
				continue
			}
			imports, verb := p.Imports, "imports"
			if r.links {
				imports, verb = p.Deps, "links"
			}
			for _, i := range imports {
				if matches(r.forbids, i) && !matches(r.allows, i) {
					broken = append(broken, fmt.Sprintf("%s %s %s: %s", p.ImportPath, verb, i, r.why))
				}
			}
		}
		from, ok := folder(p.ImportPath)
		if !ok && len(p.GoFiles) > 0 {
			broken = append(broken, fmt.Sprintf("%s has no floor: give it one in policy_test.go; %s", p.ImportPath, arrows))
			continue
		}
		for _, i := range p.Imports {
			if to, ok := folder(i); ok && to != from && floors[to] >= floors[from] {
				broken = append(broken, fmt.Sprintf("%s imports %s: %s", p.ImportPath, i, arrows))
			}
		}
	}
	return broken
}

// matches reports whether the expression, which may be absent, matches.
func matches(expression, s string) bool {
	return expression != "" && regexp.MustCompile(expression).MatchString(s)
}

// folder returns the entry of floors that an import path of ours belongs to.
func folder(importPath string) (string, bool) {
	at, ours := strings.CutPrefix(importPath, "edgechain.example/")
	for ; ours && at != "."; at = path.Dir(at) {
		if _, ok := floors[at]; ok {
			return at, true
		}
	}
	return "", false
}

// Each rule must bite, those on packages that do not exist yet too.
func TestPolicyRulesBite(t *testing.T) {
	bitten := make(map[string]bool)
	for _, c := range []struct{ pkg, imports string }{
		{"lightchain", "golang.org/x/crypto/ssh"},
		{"lightchain", "edgechain.example/sensors"},
		{"lightchain", "log/slog"},
		{"lightchain", "time"},
		{"mqttwire", "net"},
		{"sensors", "net"},
		{"sensors/broker", "edgechain.example/sensors/mqttsource"},
		{"agent", "github.com/eclipse/paho.mqtt.golang"},
		{"agent", "github.com/cockroachdb/pebble/v2/vfs"},
		{"aggregator", "github.com/cockroachdb/pebble/v2"},
		{"agent", "github.com/mochi-mqtt/server/v2/packets"},
		{"agent", "github.com/simonvetter/modbus"},
		{"agent", "github.com/gopcua/opcua/ua"},
		{"sync", "github.com/jackc/pgx/v5"},
		{"agent", "github.com/spf13/cobra"},
		{"aggregator", "golang.org/x/mod/sumdb/note"},
		{"agent", "edgechain.example/build/testenv"},
		{"agent/recorder", "edgechain.example/arm"},
		{"cmd/edgeagent", "edgechain.example/aggregator/registry"},
		{"aggregator", "edgechain.example/agent"},
		{"cmd/edgeagent", "html/template"},
		{"cmd/edgeverify", "github.com/spf13/pflag"},
		{"cmd/edgeverify", "edgechain.example/lightchain/store"},
		{"cmd/edgeverify", "edgechain.example/sensors/broker"},
		{"cmd/edgeverify", "net/http"},
		{"lightchain/store", "edgechain.example/sync"},
		{"arm", "edgechain.example/sensors"},
		{"common", ""},
	} {
		found := check([]listed{{ImportPath: "edgechain.example/" + c.pkg, GoFiles: []string{"x.go"},
			Imports: []string{c.imports}, Deps: []string{c.imports}}})
		if len(found) == 0 {
			t.Errorf("no rule keeps %s from importing %q", c.pkg, c.imports)
		}
		for _, line := range found {
			for _, r := range rules {
				bitten[r.why] = bitten[r.why] || strings.HasSuffix(line, r.why)
			}
		}
	}
	for _, r := range rules {
		if !bitten[r.why] {
			t.Errorf("nothing shows that this rule bites: %s", r.why)
		}
	}
	for _, c := range []struct{ pkg, imports string }{
		{"lightchain/store", "github.com/cockroachdb/pebble/v2"},
		{"aggregator/store", "github.com/cockroachdb/pebble/v2"},
		{"aggregator/pebblestore", "github.com/cockroachdb/pebble/v2"},
		{"aggregator/headlog", "golang.org/x/mod/sumdb/note"},
		{"sync/mqttlink", "edgechain.example/sync"},
		{"agent/demo", "edgechain.example/agent"},
		{"agent/recorder", "edgechain.example/lightchain/store"},
		{"cmd/edgeverify", "edgechain.example/lightchain"},
		{"cmd/edgeverify", "edgechain.example/sensors"},
	} {
		found := check([]listed{{ImportPath: "edgechain.example/" + c.pkg, Imports: []string{c.imports}, Deps: []string{c.imports}}})
		if len(found) > 0 {
			t.Errorf("allowed, and refused: %v", found)
		}
	}
}

func TestPolicyPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		var commented []string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				commented = append(commented, name)
			}
		}
		if want := p.Name + ".go"; !slices.Equal(commented, []string{want}) {
			t.Errorf("%s has its package comment in %q, want one, in %s: it says what the package owns and what it does not",
				p.ImportPath, commented, want)
		}
	}
}

func TestPolicyFiles(t *testing.T) {
	vague := regexp.MustCompile(`^(utils?|common|helpers?|types|interfaces?)$`)
	// The brackets keep this line from finding itself.
	registries := regexp.MustCompile(`[p]roxy\.golang|[s]um\.golang|[r]egistry\.npm|[d]eb\.debian|[p]ypi\.org|[c]rates\.io`)
	ignored, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	built := func(name string) bool { // where it is not committed by accident
		return slices.ContainsFunc(strings.Fields(string(ignored)), func(line string) bool {
			return line == "/"+name || strings.HasPrefix(line, "*.") && line[1:] == path.Ext(name)
		})
	}
	err = filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "dist"}, name) {
			return fs.SkipDir
		}
		for _, word := range strings.FieldsFunc(entry.Name(), func(r rune) bool { return r == '_' || r == '.' }) {
			if vague.MatchString(word) {
				t.Errorf("%s: a name that says nothing of what is in it", name)
			}
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(text, []byte("\x7fELF")) && !built(name) {
			t.Errorf("%s is a program: the tree has sources, from which everybody can build the same", name)
		}
		if at := registries.FindIndex(text); at != nil {
			t.Errorf("%s:%d names a package registry: the project builds from whichever its builder uses", name, 1+bytes.Count(text[:at[0]], []byte("\n")))
		}
		if strings.HasSuffix(name, ".go") {
			formatted, err := format.Source(text)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if !bytes.Equal(formatted, text) {
				t.Errorf("%s is not as gofmt writes it", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lightchain is what others build on, and the verifier what they run, on whatever they have.
func TestPolicyCompilesElsewhere(t *testing.T) {
	for _, c := range []struct{ goos, goarch, folder string }{
		{"js", "wasm", "lightchain"},
		{"windows", "amd64", "lightchain"},
		{"darwin", "arm64", "lightchain"},
		{"windows", "amd64", "cmd/edgeverify"},
		{"darwin", "arm64", "cmd/edgeverify"},
	} {
		t.Run(c.folder+" "+c.goos, func(t *testing.T) {
			t.Parallel()
			golang(t, []string{"CGO_ENABLED=0", "GOOS=" + c.goos, "GOARCH=" + c.goarch}, "build", "-o", os.DevNull, "./"+c.folder)
		})
	}
}

// A board that asks nobody can do without what asks.
func TestPolicyLeavesOut(t *testing.T) {
	for tag, library := range map[string]string{"nomodbus": "github.com/simonvetter/modbus", "noopcua": "github.com/gopcua/opcua"} {
		env := []string{"CGO_ENABLED=0", "GOOS=linux"}
		golang(t, env, "vet", "-tags="+tag, "./agent", "./sensors/...")
		for line := range strings.Lines(string(golang(t, env, "list", "-deps", "-tags="+tag, "./cmd/edgeagent"))) {
			if strings.HasPrefix(line, library) {
				t.Errorf("with the tag %s the agent links %s", tag, line)
			}
		}
	}
}

// What a program weighs and what it is made of changes on purpose only: both are recorded in arm/testdata. A size may
// differ from the record by 3 % before that is a change.
func TestPolicyBinaries(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every program for every target")
	}
	const tolerance = 0.03
	limits := map[string]int64{"edgeagent": arm.MaxAgentSize, "edgeverify": arm.MaxVerifierSize, "edgeaggregator": math.MaxInt64}
	for _, program := range []string{"edgeagent", "edgeverify", "edgeaggregator"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			var found record
			for _, target := range arm.Targets() {
				file := filepath.Join(t.TempDir(), program)
				golang(t, target.Env(), "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./cmd/"+program)
				stat, err := os.Stat(file)
				if err != nil {
					t.Fatal(err)
				}
				if size := stat.Size(); size > limits[program] {
					t.Errorf("%s for %s has %d bytes, at most %d are allowed", program, target.Name, size, limits[program])
				}
				found.sizes = append(found.sizes, fmt.Sprintf("size %s %.2f MB", target.Name, float64(stat.Size())/1e6))
				info, err := buildinfo.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, module := range info.Deps {
					found.modules = append(found.modules, "module "+module.Path)
				}
			}
			slices.Sort(found.modules)
			found.modules = slices.Compact(found.modules)

			golden := filepath.Join("arm", "testdata", program+".txt")
			if *update {
				text := strings.Join(append(found.sizes, found.modules...), "\n") + "\n"
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			text, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			recorded := parseRecord(string(text))
			const mend = "; if that is meant: go test -run Policy -update ."
			if !slices.Equal(found.modules, recorded.modules) {
				t.Errorf("%s is made of\n%s\nrecorded is\n%s\n%s", program,
					strings.Join(found.modules, "\n"), strings.Join(recorded.modules, "\n"), mend)
			}
			for i, line := range found.sizes {
				if i >= len(recorded.sizes) || !near(line, recorded.sizes[i], tolerance) {
					t.Errorf("%s: %s, recorded are %v%s", program, line, recorded.sizes, mend)
				}
			}
		})
	}
}

// A record is what a file of arm/testdata holds: lines "size <target> <n> MB", in the order of arm.Targets, then lines
// "module <path>", those of all targets together.
type record struct{ sizes, modules []string }

func parseRecord(text string) (r record) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "size ") {
			r.sizes = append(r.sizes, line)
		} else {
			r.modules = append(r.modules, line)
		}
	}
	return r
}

// near reports whether two lines of sizes are of one target, and differ by less than the given part.
func near(found, recorded string, part float64) bool {
	var targets [2]string
	var sizes [2]float64
	for i, line := range []string{found, recorded} {
		if _, err := fmt.Sscanf(line, "size %s %f MB", &targets[i], &sizes[i]); err != nil {
			return false
		}
	}
	return targets[0] == targets[1] && math.Abs(sizes[0]-sizes[1]) < part*sizes[1]
}

// packages lists ours, as they are for Linux.
func packages(t *testing.T) (pkgs []listed) {
	t.Helper()
	output := golang(t, []string{"CGO_ENABLED=0", "GOOS=linux"}, "list", "-json=ImportPath,Name,Dir,GoFiles,Imports,Deps", "./...")
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := decoder.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// golang runs the go command, and returns what it prints.
func golang(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return output
}
