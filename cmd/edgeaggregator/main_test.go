package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"edgechain.example/build/testenv/program"
)

// builds are the programs that the tests of whole systems start.
var builds = program.NewBuilds("../..", "edgeagent", "edgeaggregator", "edgeverify")

func TestMain(m *testing.M) {
	// Tests of whole systems wait most of their time, for programs that do: more of them run at once than there are
	// cores, unless the command line says how many.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(removing{m}, map[string]func(){"edgeaggregator": main})
}

// removing runs the tests, and removes what they built.
type removing struct{ *testing.M }

func (r removing) Run() int {
	defer builds.Remove()
	return r.M.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}
