package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/arm"
)

// module writes a module in which every way to end occurs, and makes it the current folder.
func module(t *testing.T) {
	t.Helper()
	enter(t, t.TempDir(), map[string]string{
		"go.mod": "module m\n\ngo 1.26.0\n",
		"good/good_test.go": `package good
import "testing"
func TestGood(t *testing.T) { t.Log("nobody asked"); t.Run("sub", func(*testing.T) {}) }
func TestAbsent(t *testing.T) { t.Skip("no board here") }
`,
		"bad/bad_test.go": `package bad
import "testing"
func TestGood(t *testing.T) { t.Log("nobody asked") }
func TestBad(t *testing.T) { t.Run("a", func(t *testing.T) { t.Error("one is not two") }); t.Run("b", func(*testing.T) {}) }
`,
		"dead/dead_test.go": `package dead
import ("os"; "testing")
func TestDead(t *testing.T) { println("last words"); os.Exit(3) }
`,
		"broken/broken_test.go": `package broken
import "testing"
func TestNever(t *testing.T) { undefined() }
`,
		"bare/bare.go": "package bare\n",
	})
}

// enter writes files into a folder, and makes it the current one.
func enter(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
}

func TestCountsAreOfRealResults(t *testing.T) {
	module(t)
	var out bytes.Buffer
	c, err := test([]string{"CGO_ENABLED=0"}, "./...").run(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	// Passed: good's TestGood and its sub, bad's TestGood and TestBad/b. Failed: TestBad, its a, dead, broken.
	if got, want := c.String(), "4 passed, 4 failed, 1 skipped"; got != want {
		t.Errorf("counted %q, want %q", got, want)
	}
	for _, want := range []string{"ok  \tm/good\t", "FAIL\tm/bad\t", "FAIL\tm/dead\t", "FAIL\tm/broken [build failed]",
		"one is not two", "last words", "undefined: undefined", "SKIP\tm/good TestAbsent: good_test.go:4: no board here"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "nobody asked") {
		t.Error("the output shows what a test that passed said")
	}
	if len(c.broken) != 6 || !slices.Contains(c.broken, "FAIL\tm/bad TestBad") ||
		!slices.Contains(c.broken, "FAIL\tm/bad TestBad/a\n\tbad_test.go:4: one is not two") || !slices.ContainsFunc(c.broken, func(line string) bool {
		return strings.HasPrefix(line, "FAIL\tm/dead TestDead still ran, after ")
	}) {
		t.Errorf("broken are %q, want the lines of three packages, of a test that failed, of its part with what it said, and of one that ended its program", c.broken)
	}
	if t.Failed() {
		t.Logf("the output:\n%s", out.String())
	}
}

func TestCommandThatFailsCountsOnce(t *testing.T) {
	module(t)
	for _, c := range []struct {
		step step
		want string
	}{
		{step{args: []string{"go", "version"}}, "1 passed, 0 failed"},
		{step{args: []string{"go", "vet", "./broken"}}, "0 passed, 1 failed"},
		{step{args: []string{"gofmt", "-l", "dead"}}, "0 passed, 1 failed"}, // prints a name, and exits with 0
		{test(nil, "-no-such-flag=1", "./no-such-package"), "0 passed, 1 failed"},
	} {
		var out bytes.Buffer
		got, err := c.step.run(t.Context(), &out)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s\n%s", c.step, got, c.want, out.String())
		}
	}
}

func TestStepIsSkippedForWantOfProgramUnlessInCI(t *testing.T) {
	s := step{args: []string{"no-such-program"}, needs: "no-such-program"}
	for _, c := range []struct{ ci, want string }{
		{"", "0 passed, 0 failed, 1 skipped"},
		{"true", "0 passed, 1 failed"},
	} {
		t.Setenv("CI", c.ci)
		got, err := s.run(t.Context(), new(bytes.Buffer))
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != c.want {
			t.Errorf("with CI=%q: %s, want %s", c.ci, got, c.want)
		}
	}
}

// Parts of different lanes run at once, each is told as a whole, in the order of the list, and what is counted is the sum.
func TestLanesRunSideBySideAndAreToldInOrder(t *testing.T) {
	folder := t.TempDir()
	sh := func(script string) []step {
		return []step{{args: []string{"sh", "-c", "cd " + folder + " && " + script}}}
	}
	// Each waits for what only the other lanes do: they end if they run at once, and only then.
	meet := func(mine string) []step {
		return sh("echo >" + mine + "; until [ -e a ] && [ -e b ] && [ -e c ]; do sleep 0.01; done")
	}
	var out bytes.Buffer
	c, err := runParts(t.Context(), &out, []part{
		{"first", alone, sh("[ ! -e a ] && [ ! -e b ] && [ ! -e c ]")},
		{"quick", computing, meet("a")},
		{"failing", computing, sh("echo last words; exit 1")},
		{"board", emulating, meet("b")},
		{"slow", waiting, meet("c")},
		{"late", computing, sh("true")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.String(), "5 passed, 1 failed"; got != want {
		t.Errorf("counted %q, want %q", got, want)
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		if name, _, _ := strings.Cut(line, ":"); strings.HasPrefix(line, "== ") || strings.HasPrefix(line, "-- ") || strings.HasPrefix(line, "last") {
			lines = append(lines, strings.TrimSpace(name))
		}
	}
	want := []string{"== first", "-- first", "== quick", "-- quick", "== failing", "last words", "-- failing", "== board", "-- board", "== slow", "-- slow", "== late", "-- late"}
	if !slices.Equal(lines, want) {
		t.Errorf("told was %q, want %q\n%s", lines, want, out.String())
	}
}

// A test that hangs says, at the end of the time of the whole run, where; what would have come after it has failed too.
func TestWhatHangsAtTheLimitShowsItsStacks(t *testing.T) {
	folder := t.TempDir()
	hangs := filepath.Join(folder, "hangs")
	enter(t, folder, map[string]string{
		"go.mod": "module m\n\ngo 1.26.0\n",
		"hangs/hangs_test.go": fmt.Sprintf(`package hangs
import ("os"; "testing")
func TestHangs(t *testing.T) {
	if err := os.WriteFile(%q, nil, 0o666); err != nil { t.Fatal(err) }
	forever()
}
func forever() { c := make(chan int); for { select { case <-c: } } }
`, hangs+"/begun"),
		"later/later_test.go": "package later\nimport \"testing\"\nfunc TestLater(t *testing.T) {}\n",
	})
	ctx, limit := context.WithCancel(t.Context())
	defer limit()
	done := make(chan struct{})
	defer func() { <-done }()
	go func() { // the limit is reached once the test hangs
		defer close(done)
		until := exec.CommandContext(t.Context(), "sh", "-c", "until [ -e hangs/begun ]; do sleep 0.01; done")
		if err := until.Run(); err != nil {
			t.Error(err)
		}
		limit()
	}()
	var out bytes.Buffer
	c, err := runParts(ctx, &out, []part{
		{"hanging", computing, []step{test([]string{"CGO_ENABLED=0"}, "-count=1", "-p=1", "./...")}},
		{"next", computing, []step{{args: []string{"true"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.failed < 2 || c.passed != 0 {
		t.Errorf("counted %q: expected the run that hung to fail, and the one after it", c)
	}
	for _, want := range []string{"SIGQUIT", "hangs.forever("} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if !slices.ContainsFunc(c.broken, func(line string) bool {
		return strings.HasPrefix(line, "FAIL\tm/hangs TestHangs still ran, after ") && strings.Contains(line, ", at hangs_test.go:")
	}) {
		t.Errorf("broken are %q, and do not name the test that hung, and where", c.broken)
	}
	if t.Failed() {
		t.Logf("the output:\n%s\n%q", out.String(), c.broken)
	}
}

// A package that hangs leaves half of the time to those after it.
func TestWhatHangsLeavesTimeForTheRest(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	for _, c := range []struct {
		ctx  context.Context
		want string
	}{{t.Context(), "-timeout=4h0m0s"}, {ctx, "-timeout=30m0s"}} {
		if got := hang(c.ctx); got != c.want {
			t.Errorf("go test has %s, want %s", got, c.want)
		}
	}
}

// What is left out, on boards or under the race detector, is a test that there is, and one board, of 32 bits, damages files.
func TestWhatIsLeftOutExists(t *testing.T) {
	var source []byte
	err := filepath.WalkDir("../..", func(name string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		source = append(source, text...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(cutPower, mendDamage, mendRunning, damageFiles, onOneGoroutine) {
		if !regexp.MustCompile(`(?m)^func ` + name + `\(t \*testing\.T\)`).Match(source) {
			t.Errorf("no test is called %s", name)
		}
	}
	damaging := 0
	for _, target := range arm.Targets() {
		if !strings.Contains(emulated(target)[0].String(), damageFiles[0]) {
			damaging++
			if target.GOARCH != "arm" {
				t.Errorf("%s damages files, and has not 32 bits", target.Name)
			}
		}
	}
	if damaging != 1 {
		t.Errorf("%d boards damage files, want one", damaging)
	}
}

// What a test says over many lines keeps its beginning and its end.
func TestComplaintKeepsBothEndsOfWhatIsLong(t *testing.T) {
	said := []event{{Test: "T", Output: "=== RUN   T\n"}, {Test: "T", Output: "    a_test.go:7: the report:\n"}}
	for i := range 9 {
		said = append(said, event{Test: "T", Output: fmt.Sprintf("        line %d\n", i)})
	}
	said = append(said, event{Test: "Other", Output: "        not ours\n"}, event{Test: "T", Output: "    a_test.go:8: and then\n"})
	want := "\n\ta_test.go:7: the report:\n\t    line 0\n\t    line 1\n\t    line 2\n\t    line 6\n\t    line 7\n\t    line 8\n\ta_test.go:8: and then"
	if got := complaint(said, "T"); got != want {
		t.Errorf("the complaint is %q, want %q", got, want)
	}
}
