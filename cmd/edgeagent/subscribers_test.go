package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
)

// subscriber is mosquitto_sub with a session that is kept.
func (g *gateway) subscriber(args ...string) *exec.Cmd {
	g.t.Helper()
	return exec.Command(testenv.Program(g.t, "mosquitto_sub"), append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(g.port), "-i", "reader", "-c", "-q", "1",
		"-t", "plant/#", "-F", "%t %p"}, args...)...)
}

func (g *gateway) publish(args ...string) {
	g.t.Helper()
	args = append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(g.port), "-q", "1"}, args...)
	if out, err := exec.Command(testenv.Program(g.t, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		g.t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
}

// collect has the subscriber come back until it has got that many different messages.
func (g *gateway) collect(want int) (got []string) {
	g.t.Helper()
	out, err := g.subscriber("-C", strconv.Itoa(want), "-W", "60").CombinedOutput()
	if err != nil {
		g.t.Fatalf("mosquitto_sub: %v, after %q", err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestASubscriberThatWasAwayGetsAllThatWasAcknowledgedOverKills(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	if out, err := g.subscriber("-E").CombinedOutput(); err != nil { // it leaves its session
		t.Fatalf("mosquitto_sub: %v: %s", err, out)
	}
	g.kill() // a subscription that was answered is there
	g.start()
	var want []string
	for kill := range 5 {
		for i := range 3 {
			payload := fmt.Sprintf("%d-%d", kill, i)
			g.publish("-t", "plant/press", "-m", payload)
			want = append(want, "plant/press "+payload)
		}
		g.publish("-t", "plant/state", "-r", "-m", strconv.Itoa(kill))
		want = append(want, "plant/state "+strconv.Itoa(kill))
		g.kill() // each was acknowledged just before
		g.start()
	}
	if got := g.collect(len(want)); !slices.Equal(got, want) {
		t.Errorf("it got %q, want %q", got, want)
	}
	other := exec.Command(testenv.Program(t, "mosquitto_sub"), "-h", "127.0.0.1", "-p", strconv.Itoa(g.port), "-t", "plant/state", "-C", "1", "-W", "60")
	if out, err := other.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "4" {
		t.Errorf("retained is %q, %v", out, err)
	}
	g.stop()
	g.verify()
}

func TestDamagedStateOfSubscribersKeepsNothingFromStarting(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	if out, err := g.subscriber("-E").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_sub: %v: %s", err, out)
	}
	g.stop()
	folder := filepath.Join(g.data(), "subscribers")
	manifests, err := filepath.Glob(filepath.Join(folder, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no database is in %s: %v", folder, err)
	}
	if err := os.WriteFile(manifests[0], bytes.Repeat([]byte{0xff}, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start()
	g.publish("-t", "plant/press", "-m", "1")
	if _, err := os.Stat(folder + ".damaged"); err != nil {
		t.Error(err)
	}
	if out := g.must("status"); !strings.Contains(out, "sessions and retained messages of the embedded broker: ") {
		t.Errorf("status says nothing of it:\n%s", out)
	}
	g.stop()
	g.verify()
}

func TestStateOfSubscribersIsInMemoryWhereThatIsWanted(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	if out, err := g.subscriber("-E").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_sub: %v: %s", err, out)
	}
	g.stop()
	g.start("--set", "broker.subscribers=memory")
	if _, err := os.Stat(filepath.Join(g.data(), "subscribers")); !os.IsNotExist(err) {
		t.Errorf("what was kept is still there: %v", err)
	}
	g.stop()
}
