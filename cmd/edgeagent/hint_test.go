package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// What prove prints to check the proof with is a command that does, whatever the file is called, and steers no terminal.
func TestTheCommandThatProvePrintsChecksTheProof(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.publish("-t", "line1/press-07", "-m", "71.5")
	g.stop()
	number := g.entries()[0].Number
	said := g.must("prove", fmt.Sprint(number), "--file", filepath.Join(t.TempDir(), "it's\x1b[1m $HOME\n.edgeproof"))
	if strings.ContainsFunc(strings.ReplaceAll(said, "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("it says %q", said)
	}
	_, hint, found := strings.Cut(said, "Check it with: ")
	check := exec.Command("bash", "-c", hint)
	check.Env = []string{"PATH=" + g.programs}
	if out, err := check.CombinedOutput(); !found || err != nil || !strings.Contains(string(out), "VERIFIED") {
		t.Errorf("%s: %v\n%s", said, err, out)
	}
}
