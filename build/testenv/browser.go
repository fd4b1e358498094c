package testenv

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Browser runs a script of Node's that drives a browser with playwright-core, or skips the test as [Need] does. What is asked is a
// file of JSON whose name the script gets, and what it prints is the answer, in JSON too.
func Browser(t testing.TB, script string, asked, answer any) {
	t.Helper()
	modules := Modules(t, "playwright-core")
	node, chromium := Program(t, "node"), Program(t, "chromium-headless-shell")
	b, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "asked.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, script, file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "CHROMIUM="+chromium)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr.Bytes())
	}
	if err := json.Unmarshal(stdout.Bytes(), answer); err != nil {
		t.Fatalf("%s: %v\n%.2000s", script, err, stdout.Bytes())
	}
}
