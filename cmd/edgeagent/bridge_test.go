package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// A bridge of three lines, as Mosquitto's own page shows it, delivers: it first tries a version of the protocol that is
// Mosquitto's own, and publishes to $SYS that it is there.
func TestAMosquittoBridgeDeliversAsItComes(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	plant := testenv.Mosquitto(t, fmt.Sprintf("connection plant\naddress 127.0.0.1:%d\ntopic # out 1", g.port))
	testenv.Need(t, "mosquitto_pub")
	_, port, err := net.SplitHostPort(plant.Addr)
	if err != nil {
		t.Fatal(err)
	}
	heard := func(topic, payload string) func() bool {
		return func() bool {
			for _, e := range g.all() {
				if strings.HasSuffix(e.Source, ":"+topic) && (payload == "" || string(e.Payload) == payload) {
					return true
				}
			}
			return false
		}
	}
	for i := range 3 {
		payload := fmt.Sprintf(`{"temperature":%d}`, i)
		// Until the bridge is connected Mosquitto queues what is retained.
		program.Must(t, exec.Command("mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-q", "1", "-r", "-t", fmt.Sprintf("press/%d", i), "-m", payload))
		g.await("the message through the bridge", heard(fmt.Sprintf("press/%d", i), payload))
	}
	g.await("the bridge's own notice", func() bool {
		for _, e := range g.all() {
			if strings.Contains(e.Source, ":$SYS/broker/connection/") {
				return true
			}
		}
		return false
	})
	if g.logged("MQTT client disconnected") {
		t.Error("the bridge was disconnected")
	}
}

// Eight bytes behind a CONNECT ended the agent.
func TestNoPacketEndsTheAgent(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	for _, packets := range []string{
		"100e00044d515454050200 3c00000161 8206000100000161",
		"100e00044d515454050200 3c00000161 82050001000000",
		"100e00044d515454050200 3c00000161 a20400010000",
		"100e00044d515454050200 3c00000161 3003000174",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(packets, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
		if err != nil {
			t.Fatalf("before %s: %v", packets, err)
		}
		if _, err := nc.Write(b); err != nil {
			t.Error(err)
		}
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, nc) // until it is closed
		nc.Close()
	}
	publish(t, g, "press/1", "on")
	if !g.status().Running {
		t.Error("the agent has ended")
	}
}
