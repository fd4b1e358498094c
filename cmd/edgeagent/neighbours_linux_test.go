package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
)

// Beside a source that floods, one that flaps, one that hangs, reloads, a reader that never reads and a disk that fills and
// empties, two sources that do nothing wrong have every message recorded once and in order. How late their acknowledgements
// were is told beside the same without those neighbours, and not judged: that is the machine's.
func TestSoakSourcesBesideHostileOnes(t *testing.T) {
	wholeSystem(t)
	t.Parallel()
	duration := testenv.Long(t, 10*time.Second)
	disk := newSmallDisk(t)
	plant, flapping := testenv.Mosquitto(t, testenv.KeepsAll), testenv.Mosquitto(t, "")
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	other := func(name, address string) string {
		return fmt.Sprintf("[[mqtt]]\nname = %q\nservers = [\"tcp://%s\"]\n[[mqtt.subscribe]]\ntopics = [\"#\"]\n", name, address)
	}
	g := prepareGateway(t, disk.dir, subscribes(plant)+other("flapping", flapping.Addr)+other("silent", silent.Addr().String())+
		"[[broker.decode]]"+readsMachine)
	g.must("init")
	g.launch("--set", "store.reserve=16MiB")
	g.await("subscribed at the plant's broker", func() bool { // ready it never is: one source hangs
		live := g.status().Live
		return live != nil && slices.ContainsFunc(live.Sources, func(s api.Source) bool { return s.Name == "mqtt:plant" && s.Connected })
	})

	run := func(first int) (machines []*publisher, worst time.Duration) {
		for i, address := range []string{fmt.Sprintf("127.0.0.1:%d", g.port), plant.Addr} {
			m := newPublisher(address, fmt.Sprintf("machine-%d", first+i), machineTopic, numbered(first+i, int(duration.Seconds())*rate/20))
			m.window = rate
			machines = append(machines, m)
			inBackground(t, m)
		}
		worst = pace(t, time.Now(), machines, rate/10)
		for _, m := range machines {
			g.acknowledged(m, len(m.payloads))
		}
		return machines, worst
	}
	machines, alone := run(0)

	ctx, stop := context.WithCancel(t.Context())
	var hostile sync.WaitGroup
	again := func(pause time.Duration, do func(n int)) {
		hostile.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				do(n)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	flood := paho.NewClient(paho.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", g.port)).SetClientID("flood"))
	if token := flood.Connect(); !token.WaitTimeout(testenv.Patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	again(time.Millisecond, func(n int) { flood.Publish("flood/x", 0, false, strings.Repeat("x", 10)) })
	again(time.Second, func(int) { flapping.Stop(); flapping.Restart() })
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	again(2*time.Second, func(n int) { // a source comes and goes
		config := string(text)
		if n%2 == 0 {
			config += other("passing", silent.Addr().String())
		}
		if err := os.WriteFile(g.config, []byte(config), 0o600); err != nil {
			t.Error(err)
			return
		}
		_, stderr, code := g.output("edgeagent", "reload", "--config", g.config)
		if code != 0 && code != 7 {
			t.Errorf("a reload ends with %d: %s", code, stderr)
		}
	})
	reader, err := net.Dial("unix", g.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fmt.Fprint(reader, "GET /v1/entries?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
	again(3*time.Second, func(n int) {
		disk.leave(8 << 20)
		time.Sleep(100 * time.Millisecond)
		disk.leave(1 << 40)
	})
	more, beside := run(2)
	stop()
	hostile.Wait()
	flood.Disconnect(0)
	disk.leave(1 << 40)
	machines = append(machines, more...)
	t.Logf("acknowledgements were at most %v late alone, and %v beside the others, with a disk that was full for a tenth of a second now and then", alone, beside)
	g.await("recording all that Mosquitto acknowledged", func() bool { return g.received() >= 2*len(machines[0].payloads)+2*len(machines[1].payloads) })
	g.stop()
	checkNumberedBeside(g, machines, func(source string) bool { return strings.HasSuffix(source, "flood/x") })
	g.verify()
}
