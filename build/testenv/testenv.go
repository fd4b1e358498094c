// Package testenv starts the real programs that tests need: a Mosquitto, a PostgreSQL, a Prometheus, promtool, Node, a browser.
//
// Each server belongs to one test. It listens where nobody else can reach it, keeps its files in a folder that goes with
// the test, shows its log when the test fails, and dies with the test process however that ends. The package knows
// nothing of Edgechain; only tests import it. What it starts comes from Debian, by install.sh beside it.
package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Need skips the test when one of the programs is not there, and fails it where the variable CI is set: there a missing
// program means that nothing was tested.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		Program(t, name)
	}
}

// Program returns the path of a program that the test cannot do without, or ends the test as [Need] does.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := find(name)
	if err != nil {
		lacks(t, name)
	}
	return path
}

// NeedFile is [Need] for a file of a package that brings no program.
func NeedFile(t testing.TB, file string) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		lacks(t, file)
	}
}

func lacks(t testing.TB, name string) {
	t.Helper()
	missing := fmt.Sprintf("%s is not installed: build/testenv/install.sh installs what the tests run", name)
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	fmt.Fprintf(os.Stderr, "SKIPPED %s: %s\n", t.Name(), missing)
	t.Skip(missing)
}

// Promtool returns the path of Prometheus's promtool, for `promtool check metrics` and `promtool check rules`.
func Promtool(t testing.TB) string {
	t.Helper()
	return Program(t, "promtool")
}

// Modules returns a folder in which Node finds modules of npm's, for the variable NODE_PATH, or skips the test as [Need] does.
func Modules(t testing.TB, names ...string) string {
	t.Helper()
	Need(t, "node")
	const folder = "/usr/local/lib/edgechain-testenv/node_modules"
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
			continue
		}
		missing := fmt.Sprintf("%s of npm is not installed: build/testenv/install.sh installs what the tests run", name)
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		fmt.Fprintf(os.Stderr, "SKIPPED %s: %s\n", t.Name(), missing)
		t.Skip(missing)
	}
	return folder
}

// find looks where a login of root's would, and in the folders in which Debian keeps PostgreSQL's servers.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	folders := []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, folder := range append(folders, versions...) {
		if found, e := exec.LookPath(filepath.Join(folder, name)); e == nil {
			return found, nil
		}
	}
	return "", err
}

// Patience is how long a test waits for what must come: far beyond what that takes on a slow machine which does much else.
// Only a test that fails waits so long.
const Patience = 5 * time.Minute

// Await waits until something is so, and ends the test where it does not become so.
func Await(t testing.TB, what string, so func() bool) {
	t.Helper()
	const longest = 50 * time.Millisecond
	pause, end := time.Millisecond, time.Now().Add(Patience)
	for !so() {
		if time.Now().After(end) {
			t.Fatalf("after %v it is still not so: %s", Patience, what)
		}
		time.Sleep(pause)
		pause = min(2*pause, longest)
	}
}

// FreePort returns a TCP port of 127.0.0.1 on which nothing listens, and which no other test gets before this one has
// ended, whether its server runs or not: the UDP port of the same number stands for it, and is held so long.
//
// It lies below the range from which Linux takes the ports of outgoing connections (32768 and up). A port of that range
// can be taken by any client while a test's server is down, and by the very client that tries to reach it again: TCP
// then connects the client to itself, and the server cannot come back.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		held, err := net.ListenPacket("udp", address(port))
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			held.Close()
			continue
		}
		listener.Close()
		t.Cleanup(func() { held.Close() })
		return port
	}
	t.Fatal("no free port between 20000 and 32000 in 1000 attempts")
	return 0
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// Long returns how long a test that only shows something after a while should run: usual, or what the variable SOAK says
// (a Go duration; `make soak` sets it). Such a test is named TestSoak… and makes the same assertions either way.
func Long(t testing.TB, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("SOAK=%s: want a duration such as 10m", text)
	}
	return d
}
