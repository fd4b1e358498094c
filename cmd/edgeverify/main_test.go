package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"edgeverify": main})
}

// The scripts find the published vectors of proofs, forks and bundles beside them: NAME.edgeproof, fork-NAME.edgefork or
// bundle-NAME.edgebundle, with the trust file of the same name.
func TestScripts(t *testing.T) {
	vectors, err := filepath.Glob("../../lightchain/testdata/vectors/proof-*.json")
	forks, errForks := filepath.Glob("../../lightchain/testdata/vectors/fork-*.json")
	bundles, errBundles := filepath.Glob("../../lightchain/testdata/vectors/bundle-*.json")
	if err := errors.Join(err, errForks, errBundles); err != nil || len(vectors) == 0 || len(forks) == 0 || len(bundles) == 0 {
		t.Fatalf("no vectors (%v)", err)
	}
	vectors = slices.Concat(vectors, forks, bundles)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for _, file := range vectors {
				b, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				var v struct {
					Bytes []byte `json:"bytes"`
					Trust string `json:"trust"`
				}
				if err := json.Unmarshal(b, &v); err != nil {
					return err
				}
				base, extension := strings.TrimSuffix(filepath.Base(file), ".json"), ".edgefork"
				if rest, isProof := strings.CutPrefix(base, "proof-"); isProof {
					base, extension = rest, ".edgeproof"
				} else if strings.HasPrefix(base, "bundle-") {
					extension = ".edgebundle"
				}
				name := filepath.Join(env.WorkDir, base)
				if err := os.WriteFile(name+extension, v.Bytes, 0o666); err != nil {
					return err
				}
				if err := os.WriteFile(name+".trust", []byte(v.Trust), 0o666); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// full is an output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAReportThatDoesNotArriveIsAFailure(t *testing.T) {
	chain := strings.Repeat("a", 52)
	for _, args := range [][]string{{"--version"}, {"--chain", chain, "main.go"}, {"--chain", chain, "--output", "json", "main.go"}} {
		var stderr strings.Builder
		if code := run(args, strings.NewReader(""), full{}, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%v: %d, %s", args, code, stderr.String())
		}
	}
}
