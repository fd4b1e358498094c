package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The race detector runs the packages that start goroutines, in their code or their tests, however they do, and no others.
func TestPackagesThatStartGoroutinesAreRaced(t *testing.T) {
	for body, want := range map[string]bool{
		"go f()":                        true,
		"var w sync.WaitGroup; w.Go(f)": true,
		"time.AfterFunc(0, f)":          true,
		"t.Parallel()":                  true,
		"httptest.NewServer(nil)":       true,
		"f()":                           false,
		"g.Going(f)":                    false,
	} {
		folder := t.TempDir()
		for name, text := range map[string]string{"a.go": "package a\n", "a_test.go": "package a\nfunc F() {\n" + body + "\n}\n"} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := concurrent(folder); got != want || err != nil {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	if _, err := concurrent(filepath.Join("..", "..", "agent")); err != nil {
		t.Error(err)
	}
}
