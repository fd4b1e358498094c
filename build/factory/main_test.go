package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What three machines say, each in its own way, is recorded by the shipped program, and proved.
func TestEachMachinesReadingIsProved(t *testing.T) {
	bin, err := filepath.Abs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-C", "../..", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", bin+"/", "./cmd/edgeagent", "./cmd/edgeverify")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var said bytes.Buffer
	if err := run(t.Context(), bin, time.Nanosecond, &said); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	parts := strings.Split(said.String(), "\n== ")
	if len(parts) != 1+len(readings) {
		t.Fatalf("it says\n%s", &said)
	}
	for i, r := range readings {
		for _, want := range []string{": VERIFIED\n", r.device + " " + r.name + " = "} {
			if !strings.Contains(parts[1+i], want) {
				t.Errorf("%s: no %q in\n%s", r.device, want, parts[1+i])
			}
		}
	}
}
