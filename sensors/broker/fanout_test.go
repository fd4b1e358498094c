package broker

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

func TestSubscribersGetWhatIsCommitted(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v5=%t", v5), func(t *testing.T) {
			d := newDisk(10)
			b := start(t, d, nil)
			sub := dial(t, b, login{id: "node-red", v5: v5, clean: true})
			sub.subscribe(1, "x/#", 1)
			sub.wants("SUBACK 1 1")
			w := dial(t, b, login{id: "a", v5: v5, clean: true})
			w.publish(1, 1, "x/a", "1")
			w.publish(0, 0, "x/b", "2")
			w.publish(0, 0, "y", "3")
			w.publish(2, 2, "x", "4")
			d.await(4)
			sub.silent()
			d.commit(2)
			d.fail(1)
			d.commit(1)
			sub.wants("PUBLISH x/a 1", "PUBLISH x/b 2", "PUBLISH x 4")
		})
	}
}

func TestRetainedMessagesAreNewMessages(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	w := dial(t, b, login{id: "a", clean: true})
	w.send(typePublish<<4|1, append(str(nil, "state"), "on"...))
	d.await(1)
	d.commit(1)
	await(t, func() bool { return len(b.retainedFor("state")) == 1 })
	if f := d.entries[0].Flags; f&lightchain.Retained != 0 {
		t.Errorf("flags are %b: what is published here is no replay", f)
	}
	sub := dial(t, b, login{id: "b", clean: true})
	sub.subscribe(1, "+", 0)
	sub.wants("SUBACK 1 0", "PUBLISH state on")
}

// A Mosquitto bridge and devices of some clouds publish to such topics, and go on for ever if they are refused.
func TestReservedTopicsAreRecordedAndNotPassedOn(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	sub := dial(t, b, login{id: "sub", clean: true})
	sub.subscribe(1, "$SYS/broker/version", 0)
	sub.wants("SUBACK 1 0")
	if kind, body := sub.read(); kind != typePublish {
		t.Errorf("got %s", sub.format(kind, body))
	}
	sub.subscribe(2, "$SYS/#", 0)
	sub.subscribe(3, "$other/#", 0)
	w := dial(t, b, login{id: "a", clean: true})
	w.publish(0, 0, "$SYS/broker/version", "1")
	w.publish(0, 0, "$other/x", "2")
	w.publish(1, 1, "$SYS/broker/connection/hall/state", "3")
	d.await(3)
	w.silent()
	d.commit(3)
	w.wants("PUBACK 1")
	w = dial(t, b, login{id: "b", clean: true, will: "$SYS/will 4"})
	w.drop(b, "b")
	d.await(1)
	d.commit(1)
	d.holds(t, "1", "2", "3", "4")
	for range 30 { // what $SYS itself publishes
		kind, body := sub.read()
		if text := sub.format(kind, body); strings.HasSuffix(text, " 1") && strings.Contains(text, "version") || strings.Contains(text, "$other") || strings.Contains(text, "hall") {
			t.Errorf("passed on: %s", text)
		}
	}
}

func TestWillsAreEntriesBeforeTheyArePublished(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	sub := dial(t, b, login{id: "sub", clean: true})
	sub.subscribe(1, "#", 0)
	sub.wants("SUBACK 1 0")
	dial(t, b, login{id: "a", clean: true, will: "status gone"}).nc.Close()
	d.await(1)
	sub.silent()
	d.commit(1)
	sub.wants("PUBLISH status gone")
	if got := d.sources(); !slices.Equal(got, []string{"broker:-/a:status"}) {
		t.Errorf("sources are %q", got)
	}

	leave := dial(t, b, login{id: "b", clean: true, will: "status gone"})
	leave.send(typeDisconnect<<4, nil)
	leave.closed()
	replaced := dial(t, b, login{id: "c", will: "status replaced"})
	dial(t, b, login{id: "c"})
	d.await(1)
	d.commit(1)
	sub.wants("PUBLISH status replaced")
	_ = replaced
	d.holds(t, "gone", "replaced")
}

func TestWillWaitsOutItsDelay(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	w := dial(t, b, login{id: "a", v5: true, will: "status back", willDelay: 3600})
	w.drop(b, "a")
	await(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.wills) == 1 })
	w = dial(t, b, login{id: "a", v5: true}) // within the delay: the will lapses
	w.silent()
	w = dial(t, b, login{id: "b", v5: true, will: "status gone", willDelay: 1})
	w.drop(b, "b")
	d.await(1)
	d.commit(1)
	d.holds(t, "gone")
}

// Packet ids of the two directions have nothing to do with each other, although both begin at 1.
func TestPacketIDsOfBothDirectionsDoNotCollide(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, nil)
	both := dial(t, b, login{id: "both"})
	both.subscribe(1, "to/both", 2)
	both.wants("SUBACK 1 2")
	w := dial(t, b, login{id: "w", clean: true})
	const n = 5
	for id := uint16(1); id <= n; id++ {
		w.publish(id, 2, "to/both", "m")
		w.wants(fmt.Sprintf("PUBREC %d", id))
		if kind, _ := both.read(); kind != typePublish { // not acknowledged: its id stays in use
			t.Fatalf("got packet %d", kind)
		}
	}
	for id := uint16(1); id <= n; id++ {
		both.publish(id, 1+byte(id%2), "x", fmt.Sprint(id))
		both.wants(fmt.Sprintf("%s %d", []string{"PUBACK", "PUBREC"}[id%2], id))
	}
	both.subscribe(2, "other", 0)
	both.wants("SUBACK 2 0")
	both.send(typeUnsubscribe<<4|2, append([]byte{0, 3}, str(nil, "other")...))
	both.wants("UNSUBACK 3")
	for id := uint16(1); id <= n; id++ { // QoS 2 to the client, while QoS 2 from it has the same ids
		both.sendID(typePubrec<<4, id)
		both.wants(fmt.Sprintf("PUBREL %d", id))
		if id%2 == 1 {
			both.sendID(typePubrel<<4|2, id)
			both.wants(fmt.Sprintf("PUBCOMP %d", id))
		}
	}
	both.drop(b, "both")
	both = dial(t, b, login{id: "both"})
	for range n { // nothing of what it was sent was forgotten
		if kind, _ := both.read(); kind != typePubrel {
			t.Errorf("got packet %d, want PUBREL again", kind)
		}
	}
	d.awaitEntries(2 * n)
}

// A client of MQTT 5 says how much it takes before it has acknowledged any of it. What is beyond that waits, and comes.
func TestSubscribersWindowIsKeptAndNothingBeyondItIsLost(t *testing.T) {
	const n, window = 500, 20
	for qos := byte(1); qos <= 2; qos++ {
		d := autoDisk(t, 0)
		b := start(t, d, nil)
		sub := dial(t, b, login{id: "sub", v5: true, clean: true, receiveMax: window})
		sub.subscribe(1, "x", qos)
		sub.wants(fmt.Sprintf("SUBACK 1 %d", qos))
		w := dial(t, b, login{id: "w", clean: true})
		for id := uint16(1); id <= n; id++ {
			w.publish(id, 1, "x", fmt.Sprint(id))
			w.wants(fmt.Sprintf("PUBACK %d", id))
		}
		if qos == 2 {
			for id := uint16(1); id <= n; id++ {
				w.publish(id, 2, "x", fmt.Sprint(id))
				w.wants(fmt.Sprintf("PUBREC %d", id))
				w.sendID(typePubrel<<4|2, id)
				w.wants(fmt.Sprintf("PUBCOMP %d", id))
			}
		}
		var ids []uint16
		var kinds []byte
		take := func() {
			kind, body := sub.read()
			if kind != typePublish {
				t.Fatalf("got %s", sub.format(kind, body))
			}
			ids, kinds = append(ids, binary.BigEndian.Uint16(body[3:])), append(kinds, sub.qos)
		}
		for range window {
			take()
		}
		sub.silent()
		for i := range n * int(qos) {
			if kinds[i] == 2 {
				sub.sendID(typePubrec<<4, ids[i])
				sub.wants(fmt.Sprintf("PUBREL %d", ids[i]))
				sub.sendID(typePubcomp<<4, ids[i])
			} else {
				sub.sendID(typePuback<<4, ids[i])
			}
			if len(ids) < n*int(qos) {
				take()
			}
		}
		sub.silent()
		if lost := b.Stats().Undelivered; lost != 0 {
			t.Errorf("QoS %d: %d are lost", qos, lost)
		}
	}
}

func TestBusyInBothDirectionsAtOnce(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, nil)
	who := login{id: "both", v5: true, receiveMax: 5000}
	both := dial(t, b, who)
	both.subscribe(1, "x", 1)
	both.wants("SUBACK 1 1")
	w := dial(t, b, login{id: "w", clean: true})
	w.publish(1, 1, "x", "m")
	if kind, _ := both.read(); kind != typePublish {
		t.Fatalf("got packet %d", kind)
	}
	both.drop(b, "both")
	both = dial(t, b, who) // resumed, with a message in flight
	drain := func(w *wire) {
		for err := error(nil); err == nil; {
			_, _, err = w.tryRead()
		}
	}
	go drain(both)
	go drain(w)
	const n = 20_000
	for i := range n {
		w.publish(uint16(i+2), 1, "x", "m")
		both.publish(0, 0, "y", "m")
	}
	d.awaitEntries(2*n + 1)
	await(t, func() bool { return len(b.fanout.queue) == 0 })
}

func TestFanoutIsBounded(t *testing.T) {
	b := &Broker{fanout: fanout{queue: make(chan *forward, 3)}}
	small := &forward{payload: make([]byte, 1)}
	for range 5 {
		b.fanout.offer(b, small)
	}
	if got := b.stats.undelivered.Load(); got != 2 {
		t.Errorf("%d were dropped, want 2", got)
	}
	b = &Broker{fanout: fanout{queue: make(chan *forward, 100)}}
	for range 20 {
		b.fanout.offer(b, &forward{payload: make([]byte, fanoutLargest)})
	}
	b.fanout.offer(b, &forward{payload: make([]byte, fanoutLargest+1)})
	if got := b.stats.undelivered.Load(); got != 5 || b.fanout.bytes.Load() != fanoutBytes {
		t.Errorf("%d were dropped, want 5; %d bytes are queued", got, b.fanout.bytes.Load())
	}
}

func TestWhatIsOnlyPassedOnReachesSubscribersAndIsNeverRecorded(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, func(c *Config) { c.PassOn = func(topic string) (bool, func()) { return topic == "sync/x", nil } })
	reader := dial(t, b, login{id: "reader", clean: true})
	reader.subscribe(1, "#", 1)
	reader.wants("SUBACK 1 1")
	w := dial(t, b, login{id: "w", clean: true})
	w.publish(1, 1, "sync/x", "passed on")
	w.wants("PUBACK 1")
	w.publish(2, 1, "line/x", "recorded")
	w.wants("PUBACK 2")
	for range 2 {
		if kind, _ := reader.read(); kind != typePublish {
			t.Fatalf("the subscriber got packet %d", kind)
		}
	}
	d.awaitEntries(1)
}
