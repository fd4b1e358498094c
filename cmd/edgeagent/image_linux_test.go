package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestChainOnReadOnlyMountIsReadProvedAndVerified(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	g := newGateway(t, "")
	g.start()
	publish(t, g, "press/state", `{"temperature":73.9}`)
	g.kill() // as whoever pulls the card out does: the log is not merged, the block not sealed
	image := filepath.Join(disk.dir, "image")
	if output, err := exec.Command("cp", "-r", g.data(), image).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	g.start()
	g.stop() // which seals the block
	sealed := filepath.Join(disk.dir, "sealed")
	if output, err := exec.Command("cp", "-r", g.data(), sealed).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if err := syscall.Mount("", disk.dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("making it read-only: %v", err)
	}
	if err := os.WriteFile(filepath.Join(disk.dir, "x"), nil, 0o600); err == nil {
		t.Fatal("the mount takes files")
	}
	for _, dir := range []string{image, sealed} {
		for _, command := range [][]string{{"verify"}, {"log"}, {"log", "--raw"}, {"blocks"}, {"status"}, {"export"}} {
			stdout, stderr, code := g.output("edgeagent", append(command, "--data", dir)...)
			want := 0
			if command[0] == "status" { // no agent runs on an image
				want = 5
			}
			if code != want {
				t.Errorf("%v of %s exits with %d\n%s%s", command, dir, code, stdout, stderr)
			}
			if (command[0] == "log" || command[0] == "export") && !strings.Contains(stdout, "73.9") {
				t.Errorf("%v of %s does not show the reading:\n%s", command, dir, stdout)
			}
		}
	}
	proof := filepath.Join(t.TempDir(), "proof")
	if stdout, stderr, code := g.output("edgeagent", "prove", "2", "--file", proof, "--data", sealed); code != 0 {
		t.Errorf("prove exits with %d\n%s%s", code, stdout, stderr)
	}
	for number, want := range map[string]string{"2": "no agent runs on this chain", "900": "This chain ends at entry "} {
		if _, stderr, code := g.output("edgeagent", "prove", number, "--file", proof, "--data", image); code != 4 || !strings.Contains(stderr, want) || strings.Contains(stderr, "block.interval") {
			t.Errorf("prove %s of an image in which it is not sealed exits with %d: %s", number, code, stderr)
		}
	}
}
