package testenv

import (
	"os/exec"
	"testing"
)

// tail keeps the last line, which here has no end, in memory.
func TestProgramThatOutgrowsItsMemoryEndsAndIsCounted(t *testing.T) {
	limit := LimitMemory(t, 64<<20)
	if out, err := limited(limit, "head -c 16M /dev/zero | tail -n 1 | wc -c").CombinedOutput(); err != nil || string(out) != "16777216\n" {
		t.Fatalf("16 MB do not fit into 64 by %s: %v\n%s", limit.Kind, err, out)
	}
	if n := limit.Kills(t); n != 0 {
		t.Errorf("%d are counted as killed before one was", n)
	}
	if out, err := limited(limit, "head -c 128M /dev/zero | tail -n 1").Output(); err == nil {
		t.Errorf("128 MB fit into 64 by %s, and %d bytes came out", limit.Kind, len(out))
	}
	if n := limit.Kills(t); limit.group != "" && n == 0 {
		t.Error("nobody is counted as killed")
	}
}

func limited(limit *MemoryLimit, script string) *exec.Cmd {
	args := append(append([]string{}, limit.Command...), "sh", "-c", script)
	return exec.Command(args[0], args[1:]...)
}
