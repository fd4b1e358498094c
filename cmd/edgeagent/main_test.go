package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The tests of this package look at the programs from outside, as they are shipped: built once, started, killed, and
// asked. What their packages do is tested where they are.

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "edgeagent-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds.folder = folder
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// builds holds the programs under test, by the platform they are for.
var builds struct {
	folder string
	mu     sync.Mutex // held while building, so that each is built once
	done   map[string]string
}

// programs builds edgeagent and edgeverify for the platform that env names, or for this machine, and returns the
// folder that holds them. The flags are those with which they are shipped and weighed, so that what is compiled here
// is not compiled again there.
func programs(t testing.TB, platform string, env ...string) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if folder, ok := builds.done[platform]; ok {
		return folder
	}
	folder := filepath.Join(builds.folder, platform)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", folder+"/", "./cmd/edgeagent", "./cmd/edgeverify")
	build.Dir = "../.."
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building for %s: %v\n%s", platform, err, output)
	}
	if builds.done == nil {
		builds.done = map[string]string{}
	}
	builds.done[platform] = folder
	return folder
}

// wholeSystem skips a test that starts programs where only quick ones are wanted, and returns their folder.
func wholeSystem(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts whole programs")
	}
	return programs(t, "native")
}

// withoutSettings is the environment less the variables that set keys of the configuration.
func withoutSettings() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, envPrefix) {
			env = append(env, v)
		}
	}
	return env
}

const envPrefix = "EDGEAGENT_"
