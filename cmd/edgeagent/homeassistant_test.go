package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// lastKept is retained by a broker of which the test asks what else is: it comes last.
const lastKept = "factory/last"

// keepLast has a broker retain it.
func keepLast(t testing.TB, port int) {
	t.Helper()
	program.Must(t, mosquittoPub(t, port, "-t", lastKept, "-r", "-m", "last"))
}

// retained returns what a broker keeps for Home Assistant, by topic.
func retained(t testing.TB, port int) map[string]string {
	t.Helper()
	c := exec.Command(testenv.Program(t, "mosquitto_sub"), "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-q", "1",
		"-t", "homeassistant/device/#", "-t", "edgechain/status/#", "-t", lastKept, "--retained-only", "-F", "%t %p")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	kept := map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		topic, payload, _ := strings.Cut(lines.Text(), " ")
		if topic == lastKept {
			return kept
		}
		kept[topic] = payload
	}
	t.Fatal("the broker does not say what it keeps")
	return nil
}

// shown waits until a broker keeps what is wanted of the gateway's device.
func (g *gateway) shown(port int, what string, so func(device, state map[string]any, availability string) bool) {
	g.t.Helper()
	g.await(what, func() bool {
		var device, state map[string]any
		availability := ""
		for topic, payload := range retained(g.t, port) {
			switch {
			case strings.HasSuffix(topic, "/config"):
				_ = json.Unmarshal([]byte(payload), &device)
			case strings.HasSuffix(topic, "/state"):
				_ = json.Unmarshal([]byte(payload), &state)
			case strings.HasSuffix(topic, "/availability"):
				availability = payload
			}
		}
		return so(device, state, availability)
	})
}

const showsItself = "\n[homeassistant]\nenabled = true\nbroker = %q\ninterval = \"5s\"\n"

func TestGatewayShowsItselfToHomeAssistantAndRecordsNothingOfThat(t *testing.T) {
	t.Parallel()
	wholeSystem(t)
	broker := testenv.Mosquitto(t, testenv.KeepsAll)
	port := portOfAddress(t, broker.Addr)
	keepLast(t, port)
	everything := strings.Replace(subscribes(broker), "factory/#", "#", 1)
	g := newGateway(t, everything+"\n[block]\ninterval = \"100ms\"\n"+fmt.Sprintf(showsItself, "plant"))
	g.start()
	g.shown(port, "shown, and well", func(device, state map[string]any, availability string) bool {
		return device != nil && len(device["cmps"].(map[string]any)) == 10 && state != nil && availability == "online"
	})

	// What it publishes comes back to it: it subscribes to everything. A message of a device's tells when.
	height := func() (h float64) {
		g.shown(port, "shown", func(_, state map[string]any, _ string) bool {
			h, _ = state["height"].(float64)
			return state != nil
		})
		return h
	}
	before := height()
	publish := func(topic, payload string) {
		t.Helper()
		program.Must(t, mosquittoPub(t, port, "-t", topic, "-m", payload))
	}
	publish("factory/press-7/state", `{"temperature":21.5}`)
	g.await("shown with another height", func() bool { return height() > before })

	// Somebody has cleared the broker; Home Assistant starts, and says so.
	for topic := range retained(t, port) {
		program.Must(t, mosquittoPub(t, port, "-t", topic, "-r", "-n"))
	}
	publish("homeassistant/status", "online")
	g.shown(port, "shown again", func(device, state map[string]any, availability string) bool {
		return device != nil && state != nil && availability == "online"
	})

	g.kill()
	g.start() // the broker may have the will still to publish, and then hears of the new connection
	g.shown(port, "shown after a kill", func(_, _ map[string]any, availability string) bool { return availability == "online" })
	g.stop()
	if kept := retained(t, port); !slices.Contains(values(kept), "offline") || len(kept) != 3 {
		t.Errorf("stopped, the broker keeps %v", kept)
	}
	for _, e := range g.entries() {
		if !strings.HasPrefix(e.Source, "mqtt:plant:factory/") && e.Source != "mqtt:plant:homeassistant/status" {
			t.Errorf("entry %d is from %s: %s", e.Number, e.Source, e.Payload)
		}
	}
	g.verify()

	// Switched off while it does not run: the next start takes it away.
	g.rewrite("enabled = true\nbroker = \"plant\"", "enabled = false")
	g.start()
	g.await("withdrawn", func() bool { return len(retained(t, port)) == 0 })
	g.await("saying so", func() bool { return g.logged("taken out of Home Assistant") })
}

func TestGatewayShowsItselfThroughTheEmbeddedBrokerUntilAReloadEndsIt(t *testing.T) {
	t.Parallel()
	g := newGateway(t, fmt.Sprintf(showsItself, ""))
	g.start()
	keepLast(t, g.port)
	g.shown(g.port, "shown, and well", func(device, state map[string]any, availability string) bool {
		return device != nil && state != nil && availability == "online"
	})
	g.rewrite("enabled = true\nbroker = \"\"", "enabled = false")
	g.must("reload")
	g.await("withdrawn", func() bool { return len(retained(t, g.port)) == 0 })
	g.stop()
	if sent := g.entries(); len(sent) != 1 { // the test's own
		t.Errorf("entries are made of what it publishes: %+v", sent)
	}
}

// rewrite changes a text in the configuration.
func (g *gateway) rewrite(old, changed string) {
	g.t.Helper()
	text, err := os.ReadFile(g.config)
	if err != nil {
		g.t.Fatal(err)
	}
	next := bytes.Replace(text, []byte(old), []byte(changed), 1)
	if bytes.Equal(next, text) {
		g.t.Fatalf("the configuration has no %q", old)
	}
	if err := os.WriteFile(g.config, next, 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func values(m map[string]string) (all []string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}
