package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a module in which every way to end occurs, and makes it the current folder.
func module(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
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
	} {
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
	c, err := test([]string{"CGO_ENABLED=0"}, "./...").run(&out)
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
	if len(c.broken) != 3 {
		t.Errorf("broken are %q, want the lines of three packages", c.broken)
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
		got, err := c.step.run(&out)
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
		got, err := s.run(new(bytes.Buffer))
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != c.want {
			t.Errorf("with CI=%q: %s, want %s", c.ci, got, c.want)
		}
	}
}
