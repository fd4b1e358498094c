package main

import (
	"os"
	"testing"

	"edgechain.example/build/testenv/program"
)

// The tests of this package look at the programs from outside, as they are shipped: built once, started, killed, and
// asked. What their packages do is tested where they are.

// builds are the programs under test.
var builds = program.NewBuilds("../..", "edgeagent", "edgeverify")

func TestMain(m *testing.M) {
	code := m.Run()
	builds.Remove()
	os.Exit(code)
}

// wholeSystem skips a test that starts programs where only quick ones are wanted, and returns their folder.
func wholeSystem(t testing.TB) string {
	t.Helper()
	return builds.Native(t)
}

// withoutSettings is the environment less the variables that set keys of the configuration.
func withoutSettings() []string { return program.Environment("EDGEAGENT_") }
