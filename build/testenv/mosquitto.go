package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Lines for [Mosquitto]'s configuration.
const (
	// KeepsAll lifts the limits above which Mosquitto drops what it has acknowledged. They are numbers because 0, meant
	// as no limit, was broken in some releases.
	KeepsAll = "max_inflight_messages 10000\nmax_queued_messages 10000000\n"
	// Persistent has sessions and queued messages survive Kill. By default Mosquitto writes them every half hour.
	Persistent = "persistence true\nautosave_on_changes true\nautosave_interval 1\n"
)

// A Broker is a Mosquitto of the test's own.
type Broker struct {
	Addr   string // host:port, the same through all restarts
	server *server
	config string
}

// Mosquitto starts a broker on a free port of 127.0.0.1, open to everybody unless extraConfig says otherwise, and returns
// when it takes connections. The lines of extraConfig follow a listener's, so those about TLS or users apply to it.
func Mosquitto(t testing.TB, extraConfig string) *Broker {
	t.Helper()
	Need(t, "mosquitto")
	folder := t.TempDir()
	b := &Broker{
		server: newServer(t, "mosquitto", filepath.Join(folder, "mosquitto.log"), syscall.SIGKILL),
		config: filepath.Join(folder, "mosquitto.conf"),
	}
	for range 5 { // a program that is no test may take the port before Mosquitto does
		port := FreePort(t)
		b.Addr = address(port)
		lines := []string{
			"user root", // else, started by root, it becomes a user who cannot read the folder
			"log_dest stderr",
			"log_type error", "log_type warning", "log_type notice", "log_type information",
			"persistence_location " + folder + "/",
			"allow_anonymous true",
			fmt.Sprintf("listener %d 127.0.0.1", port),
			extraConfig,
		}
		if err := os.WriteFile(b.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if b.start() {
			return b
		}
	}
	t.Fatal("mosquitto does not start")
	return nil
}

// Connections returns how many connections of a client whose id begins with the prefix the broker has accepted, over all
// restarts.
func (b *Broker) Connections(clientID string) int {
	b.server.t.Helper()
	log, err := os.ReadFile(b.server.log)
	if err != nil {
		b.server.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(log)) {
		if _, as, found := strings.Cut(line, "New client connected from "); found && strings.Contains(as, " as "+clientID) {
			n++
		}
	}
	return n
}

func (b *Broker) start() bool {
	b.server.t.Helper()
	cmd := exec.Command(Program(b.server.t, "mosquitto"), "-c", b.config)
	return b.server.start(cmd, func() bool {
		conn, err := net.Dial("tcp", b.Addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// Kill ends the broker with SIGKILL: what it had not written is lost.
func (b *Broker) Kill() { b.server.kill() }

// Stop ends the broker in good order: with [Persistent] it writes what it holds.
func (b *Broker) Stop() {
	b.server.t.Helper()
	b.server.stop(syscall.SIGTERM)
}

// Restart starts the broker on the same address, with the same configuration and folder, stopping it first if it runs.
func (b *Broker) Restart() {
	b.server.t.Helper()
	b.Stop()
	if !b.start() {
		b.server.t.Fatal("mosquitto does not start again")
	}
}
