package mqttsource

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

func TestAMessageIsAcknowledgedOnlyWhenItIsDurable(t *testing.T) {
	t.Parallel()
	// With a window of one, the broker sends the next message when the last is acknowledged, and not before.
	m := startBroker(t, "max_inflight_messages 1")
	d := newDisk(t, 0)
	s := run(t, config(m.url, 1), d)
	s.awaitReady()
	send(t, publisher(t, m.url), "line/1/temp", 1, false, "a", "b", "c")

	for i, payload := range []string{"a", "b", "c"} {
		d.awaitPending(t, 1)
		if got := s.Stats().Acknowledged; got != int64(i) {
			t.Fatalf("%d acknowledged, of which %d are durable", got, i)
		}
		d.allow(1)
		d.awaitDurable(t, i+1)
		e := d.entries()[i]
		if string(e.Payload) != payload || e.Source != "mqtt:plant:line/1/temp" || e.Flags != 0 || e.Received.IsZero() {
			t.Fatalf("entry %d is %+v", i, e)
		}
	}
	s.await("three acknowledgements", func(st Stats) bool { return st.Acknowledged >= 3 && st.InFlight == 0 })
}

func TestAMessageThatWillNeverBeDurableIsNeverAcknowledged(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	w := newWire(t, m.Addr)
	d := newDisk(t, 0)
	s := run(t, config(w.url, 1), d)
	s.awaitReady()
	send(t, publisher(t, m.url), "line/1", 1, false, "kept", "given up", "kept too")
	d.awaitPending(t, 3)

	d.allow(1)
	d.awaitDurable(t, 1)
	d.mu.Lock()
	d.failing = errors.New("no")
	d.mu.Unlock()
	d.allow(1)
	s.await("one given up", func(st Stats) bool { return st.Failed == 1 })
	d.mu.Lock()
	d.failing = nil
	d.mu.Unlock()
	d.allow(everything)
	s.await("the others acknowledged", func(st Stats) bool { return st.Acknowledged >= 2 })

	w.cut()
	eventually(t, "all three", func() bool { return len(once(d)) == 3 })
	if got, want := once(d), []string{"kept", "kept too", "given up"}; !slices.Equal(got, want) {
		t.Fatalf("entries %q, want %q", got, want)
	}
	for _, e := range d.entries() {
		if string(e.Payload) == "given up" && e.Flags != lightchain.Redelivered {
			t.Fatalf("flags %b", e.Flags)
		}
	}
}

func TestAnOrderlyEndAcknowledgesWhatBecomesDurable(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	d := newDisk(t, 0)
	cfg := config(m.url, 1)
	cfg.DrainTimeout = patience
	s := run(t, cfg, d)
	s.awaitReady()
	device := publisher(t, m.url)
	send(t, device, "line/1", 1, false, numbered(0, 50)...)
	d.awaitPending(t, 50)

	stopped := make(chan struct{})
	go func() { defer close(stopped); s.stop() }()
	eventually(t, "the source stops taking", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.stopping
	})
	send(t, device, "line/1", 1, false, "later")
	d.allow(everything)
	<-stopped

	next := newDisk(t, everything)
	run(t, config(m.url, 1), next)
	next.awaitDurable(t, 1)
	if got := next.payloads(); len(got) != 1 || got[0] != "later" {
		t.Fatalf("after an orderly end %q come again", got)
	}
}

// TestMain runs the test binary as a gateway that can be killed; see TestNothingIsMissingAfterKills.
func TestMain(m *testing.M) {
	if file := os.Getenv("MQTTSOURCE_GATEWAY_FILE"); file != "" {
		gateway(file, os.Getenv("MQTTSOURCE_GATEWAY_SERVER"))
		return
	}
	os.Exit(m.Run())
}

func TestNothingIsMissingAfterKills(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	file := filepath.Join(t.TempDir(), "entries")
	const count, kills = 4000, 5

	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "MQTTSOURCE_GATEWAY_FILE="+file, "MQTTSOURCE_GATEWAY_SERVER="+m.url)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	lines := func() []string {
		b, _ := os.ReadFile(file)
		all := strings.Split(string(b), "\n")
		return all[:len(all)-1]
	}
	cmd := start()
	eventually(t, "the gateway subscribes", func() bool { _, err := os.Stat(file + ".ready"); return err == nil })
	device := publisher(t, m.url)
	published := make(chan struct{})
	go func() {
		defer close(published)
		for from := 0; from < count; from += 100 {
			send(t, device, "line/1", 1, false, numbered(from, from+100)...)
		}
	}()
	for k := range kills {
		eventually(t, "more entries", func() bool { return len(lines()) > (k+1)*count/(kills+2) })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		cmd = start()
	}
	<-published
	first := make(map[string]int)
	eventually(t, "every message an entry", func() bool {
		clear(first)
		for i, line := range lines() {
			payload, _, _ := strings.Cut(line, " ")
			if _, seen := first[payload]; !seen {
				first[payload] = i
			}
		}
		return len(first) == count
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	last, again := -1, 0
	for _, payload := range numbered(0, count) {
		if first[payload] < last {
			t.Fatalf("%s is out of order", payload)
		}
		last = first[payload]
	}
	seen := make(map[string]bool)
	for _, line := range lines() {
		payload, flags, _ := strings.Cut(line, " ")
		if seen[payload] {
			again++
			if flags != fmt.Sprint(uint64(lightchain.Redelivered)) {
				t.Errorf("%s stands twice, and is not flagged: %s", payload, line)
			}
		}
		seen[payload] = true
	}
	t.Logf("%d of %d stand twice after %d kills, flagged", again, count, kills)
}

func TestABrokerThatIsDownAtTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	m.Stop()
	cfg := config(m.url, 1)
	log := logged(&cfg)
	s := run(t, cfg, newDisk(t, everything))
	s.await("some attempts", func(st Stats) bool { return st.Failures >= 9 })
	if st := s.Stats(); !strings.Contains(st.LastError, "is not reached") || st.Connected {
		t.Errorf("it says %+v", st)
	}
	m.Restart()
	s.awaitReady()
	if said := strings.Count(log.String(), "failed to connect to the broker"); said > 6 {
		t.Errorf("%d complaints for %d attempts", said, s.Stats().Failures)
	}
	if !strings.Contains(log.String(), "the broker is back") {
		t.Error("it does not say that the broker is back")
	}
}

func TestABrokerRestartedInMidStreamLosesNothing(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	d := newDisk(t, 60)
	s := run(t, config(m.url, 1), d)
	s.awaitReady()
	device := publisher(t, m.url)
	send(t, device, "line/1", 1, false, numbered(0, 100)...)
	device.Disconnect(100)
	d.awaitPending(t, 40)
	s.await("what is durable is acknowledged", func(st Stats) bool { return st.Acknowledged == 60 })

	m.Restart()
	s.await("another connection", func(st Stats) bool { return st.Connections >= 2 && st.Subscribed })
	send(t, publisher(t, m.url), "line/1", 1, false, numbered(100, 150)...)
	s.await("what came again is recognised", func(st Stats) bool { return st.Recognised >= 40 })
	d.allow(everything)
	// The broker may have stopped before it read the last acknowledgements: what it sends again is acknowledged again, so
	// their number does not say that all have come.
	s.await("all acknowledged", func(st Stats) bool { return len(once(d)) >= 150 && st.InFlight == 0 })
	if got := once(d); !slices.Equal(got, numbered(0, 150)) {
		t.Fatalf("%d entries, not 150 in order once each", len(got))
	}
}

// The stall is longer than one and a half keep-alives, after which the broker gives up a client that it does not hear.
func TestASinkThatStallsBeyondTheKeepAliveLosesNothing(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	cfg := config(m.url, 1)
	cfg.KeepAlive = 2 * time.Second
	cfg.QueueBytes = 4 << 10
	d := newDisk(t, 0)
	d.budget = 4 << 10
	s := run(t, cfg, d)
	s.awaitReady()
	pad := strings.Repeat("x", 400)
	var want []string
	for _, n := range numbered(0, 300) {
		want = append(want, n+pad)
	}
	device := publisher(t, m.url)
	send(t, device, "line/1", 1, false, want[:200]...)
	send(t, device, "line/1", 0, false, want[200:]...)

	s.await("pings answered for the broker", func(st Stats) bool { return st.PingsCovered >= 2 })
	if st := s.Stats(); st.QueuedBytes > cfg.QueueBytes || st.InFlight > 100 {
		t.Errorf("the source holds %d bytes, %d messages", st.QueuedBytes, st.InFlight)
	}
	d.allow(everything)
	s.await("all acknowledged", func(st Stats) bool { return st.Acknowledged >= 200 && st.InFlight == 0 })
	if n := s.Stats().Connections; n > 1 {
		// What came with QoS 0 went with it. This machine did not let the source send a ping in time.
		t.Logf("%d connections", n)
		want = want[:200]
	}
	d.awaitDurable(t, len(want))
	got := once(d)
	slices.Sort(got) // Mosquitto lets QoS 0 overtake what waits for its window
	if !slices.Equal(got[:len(want)], want) {
		t.Fatalf("%d entries, not %d once each", len(got), len(want))
	}
}

// once returns the payloads in order, without those that came again and are flagged as that.
func once(d *disk) (out []string) {
	for _, e := range d.entries() {
		if e.Flags != lightchain.Redelivered || !slices.Contains(out, string(e.Payload)) {
			out = append(out, string(e.Payload))
		}
	}
	return out
}

// A machine with more to do answers pings late, and the connection ends: then a longer keep-alive is tried.
func TestPingsGoOnWhileNothingIsRead(t *testing.T) {
	t.Parallel()
	for keepAlive := time.Second; ; keepAlive *= 2 {
		st, err := pingWhileNothingIsRead(t, keepAlive)
		switch {
		case err != nil && keepAlive < time.Minute:
			t.Logf("with a keep-alive of %v: %v", keepAlive, err)
			continue
		case err != nil || st.Connections != 1 || st.PingsCovered < 2:
			t.Errorf("with a keep-alive of %v: %v, %+v", keepAlive, err, st)
		}
		return
	}
}

func pingWhileNothingIsRead(t *testing.T, keepAlive time.Duration) (Stats, error) {
	p := newPeer(t)
	cfg := config(p.url, 1)
	cfg.KeepAlive = keepAlive
	cfg.QueueBytes = 1 << 10
	d := newDisk(t, 0)
	d.budget = 1 << 10
	s := p.run(cfg, d)
	defer s.stop()
	defer p.close()
	if err := p.tryAccept(false, 1); err != nil {
		return s.Stats(), err
	}
	for id := range uint16(50) {
		if err := p.tryPublish(id+1, false, false, "x"); err != nil {
			return s.Stats(), err
		}
	}
	s.await("the stall", func(st Stats) bool { return st.Pauses > 0 || !st.Connected })
	for range 3 {
		cp, err := packets.ReadPacket(p.conn)
		if err != nil {
			return s.Stats(), err
		}
		if _, ok := cp.(*packets.PingreqPacket); !ok {
			return s.Stats(), fmt.Errorf("during the stall comes %v", cp)
		}
		if err := packets.NewControlPacket(packets.Pingresp).Write(p.conn); err != nil { // stands behind the messages
			return s.Stats(), err
		}
	}
	d.allow(everything)
	for id := range uint16(50) {
		if err := p.tryAcked(id + 1); err != nil {
			return s.Stats(), err
		}
	}
	return s.Stats(), nil
}

// Nothing is read meanwhile, so that only a ping that cannot be sent tells of the end.
func TestAConnectionThatBreaksDuringAStallIsMadeAnewAndLosesNothing(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	w := newWire(t, m.Addr)
	cfg := config(w.url, 1)
	cfg.KeepAlive = time.Second
	cfg.QueueBytes = 4 << 10
	d := newDisk(t, 0)
	d.budget = 4 << 10
	s := run(t, cfg, d)
	s.awaitReady()
	send(t, publisher(t, m.url), "line/1", 1, false, numbered(0, 200)...)
	s.await("the stall", func(st Stats) bool { return st.Pauses > 0 })
	w.cut()
	s.await("another connection", func(st Stats) bool { return st.Connections >= 2 && st.Pauses >= 2 })
	d.allow(everything)
	s.await("all acknowledged", func(st Stats) bool { return st.Committed >= 200 && st.InFlight == 0 })
	got := once(d)
	if !slices.Equal(got, numbered(0, 200)) {
		t.Fatalf("%d entries, not 200 in order once each", len(got))
	}
}

func TestARetainedMessageIsSealedOncePerTopicAndContent(t *testing.T) {
	t.Parallel()
	// With a window of one, a message comes after the broker has had the acknowledgement of the one before.
	m := startBroker(t, "max_inflight_messages 1")
	w := newWire(t, m.Addr)
	device := publisher(t, m.url)
	send(t, device, "line/state", 1, true, "on")
	send(t, device, "line/mode", 0, true, "auto")
	d := newDisk(t, everything)
	s := run(t, config(w.url, 1), d)
	d.awaitDurable(t, 2)
	reconnect := func(n, replays int64) {
		t.Helper()
		w.cut()
		s.await("replays", func(st Stats) bool { return st.Connections >= n && st.Subscribed && st.Replays >= replays })
	}
	reconnect(2, 2)
	send(t, device, "line/state", 1, true, "off")
	send(t, device, "line/next", 1, false, "next")
	d.awaitDurable(t, 4) // as it happens
	w.cut()
	is := func(what string) func(m *sensors.Message) bool {
		return func(m *sensors.Message) bool { return string(m.Payload) == what }
	}
	eventually(t, "and as a state", func() bool {
		e := d.entries()
		i := slices.IndexFunc(e, is("off"))
		return i >= 0 && slices.IndexFunc(e[i+1:], is("off")) >= 0
	})
	s.await("the replay of the other", func(st Stats) bool { return st.Connections >= 3 && st.Replays >= 3 })
	reconnect(4, 5)

	var got []string
	for _, e := range slices.DeleteFunc(d.entries(), is("next")) {
		got = append(got, fmt.Sprintf("%s %s %b", e.Source, e.Payload, e.Flags))
	}
	slices.Sort(got[:2])
	want := []string{"mqtt:plant:line/mode auto 101", "mqtt:plant:line/state on 1", "mqtt:plant:line/state off 0", "mqtt:plant:line/state off 1"}
	if !slices.Equal(got, want) {
		t.Fatalf("entries %q\nwant %q", got, want)
	}
	s.await("every acknowledgement", func(st Stats) bool { return st.InFlight == 0 })
}

func TestAReplayWaitsForTheFirstToBeDurable(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	w := newWire(t, m.Addr)
	send(t, publisher(t, m.url), "line/state", 1, true, "on")
	d := newDisk(t, 0)
	cfg := config(w.url, 1)
	cfg.Subscriptions = append(cfg.Subscriptions, Subscription{Filter: "line/state", QoS: 1, Decode: raw})
	s := run(t, cfg, d)
	d.awaitPending(t, 1)
	s.await("the second filter's replay", func(st Stats) bool { return st.Replays == 1 })
	w.cut()
	s.await("both again, and two replays more", func(st Stats) bool { return st.Recognised >= 2 && st.Replays >= 3 })
	if got := s.Stats().Acknowledged; got != 0 {
		t.Fatalf("%d acknowledged before anything is durable", got)
	}
	d.allow(everything)
	s.await("all acknowledged", func(st Stats) bool { return st.Acknowledged >= 4 && st.InFlight == 0 })
	if got := d.payloads(); len(got) != 1 {
		t.Fatalf("entries %q", got)
	}
}

func TestWhatWasDroppedByTheBrokerIsReported(t *testing.T) {
	t.Parallel()
	m := startBroker(t, "max_inflight_messages 1\nmax_queued_messages 10\nsys_interval 1\n")
	cfg := config(m.url, 1)
	cfg.IgnoreDrops = false
	var mu sync.Mutex
	lost, why := 0, ""
	cfg.Lost = func(n int, reason string) {
		mu.Lock()
		defer mu.Unlock()
		lost, why = lost+n, reason
	}
	d := newDisk(t, 0)
	s := run(t, cfg, d)
	s.awaitReady()
	s.await("the counter's first value", func(Stats) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.drops.known
	})
	send(t, publisher(t, m.url), "line/1", 1, false, numbered(0, 50)...)
	eventually(t, "the drops are seen", func() bool { return s.Stats().Dropped >= 39 })
	s.stop()
	mu.Lock()
	defer mu.Unlock()
	if lost < 39 || !strings.Contains(why, "max_queued_messages") {
		t.Errorf("%d reported as lost: %s", lost, why)
	}
}

func TestAPayloadTooLargeToHoldIsHashedAsItComes(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	cfg := config(m.url, 2)
	cfg.MaxPayload = 5000
	cfg.QueueBytes = 8000
	d := newDisk(t, everything)
	s := run(t, cfg, d)
	s.awaitReady()
	large, limit := strings.Repeat("L", 10<<20), strings.Repeat("l", 5000)
	device := publisher(t, m.url)
	for qos := range byte(3) {
		send(t, device, "line/1", qos, false, large, limit)
	}
	d.awaitDurable(t, 6)
	sum := sha256.Sum256([]byte(large))
	for i, e := range d.entries() {
		want, flags := string(sum[:]), lightchain.PayloadHashed
		if i%2 == 1 {
			want, flags = limit, 0
		}
		if i < 2 {
			flags |= lightchain.QoS0
		}
		if string(e.Payload) != want || e.Flags != flags {
			t.Errorf("entry %d: %d bytes, flags %b", i, len(e.Payload), e.Flags)
		}
	}
	if st := s.Stats(); st.Hashed != 3 {
		t.Errorf("%d hashed", st.Hashed)
	}
}

func TestAnOldSubscriptionOfTheSessionStillYieldsEntries(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	before := config(m.url, 1)
	before.Subscriptions[0].Filter = "old/#"
	first := run(t, before, newDisk(t, everything))
	first.awaitReady()
	first.stop()

	cfg := config(m.url, 1)
	log := logged(&cfg)
	d := newDisk(t, everything)
	s := run(t, cfg, d)
	s.awaitReady()
	send(t, publisher(t, m.url), "old/1", 1, false, "still")
	d.awaitDurable(t, 1)
	if e := d.entries()[0]; e.Flags != lightchain.NotUnderstood || string(e.Payload) != "still" {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(log.String(), "no configured filter covers") {
		t.Error("no warning")
	}
}

func TestASinkThatClosesEndsTheSource(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	d := newDisk(t, 0)
	cfg := config(m.url, 1)
	cfg.DrainTimeout = time.Millisecond
	s := run(t, cfg, d)
	s.awaitReady()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	send(t, publisher(t, m.url), "line/1", 1, false, "x")
	select {
	case err := <-s.done:
		if err == nil || !strings.Contains(err.Error(), "the sink is closed") {
			t.Errorf("Run: %v", err)
		}
		s.done <- nil
	case <-time.After(patience):
		t.Error("Run does not end")
	}
}
