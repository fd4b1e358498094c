package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"edgeverify": main})
}

// The scripts find the published proof vectors beside them: NAME.edgeproof with NAME.trust.
func TestScripts(t *testing.T) {
	vectors, err := filepath.Glob("../../lightchain/testdata/vectors/proof-*.json")
	if err != nil || len(vectors) == 0 {
		t.Fatalf("no proof vectors (%v)", err)
	}
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
				name := filepath.Join(env.WorkDir, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "proof-"), ".json"))
				if err := os.WriteFile(name+".edgeproof", v.Bytes, 0o666); err != nil {
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
