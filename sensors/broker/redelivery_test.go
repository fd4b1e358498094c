package broker

import (
	"fmt"
	"slices"
	"testing"
)

func (d *disk) holds(t *testing.T, want ...string) {
	t.Helper()
	if got := d.payloads(); !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}

// The connection dropped before the PUBACK went out: whatever the disk has done by then, the repetition is recognised.
func TestCertainRepetitionIsAcknowledgedAndNotTakenAgain(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		for _, v5 := range []bool{false, true} {
			for _, durableBefore := range []bool{false, true} {
				t.Run(fmt.Sprintf("qos%d,v5=%t,durable=%t", qos, v5, durableBefore), func(t *testing.T) {
					d := newDisk(10)
					b := start(t, d, nil)
					ack := map[byte]string{1: "PUBACK ", 2: "PUBREC "}[qos]
					w := dial(t, b, login{id: "a", v5: v5})
					w.publish(1, qos, "x", "1")
					w.publish(2, qos, "x", "2")
					d.await(2)
					w.drop(b, "a")
					if durableBefore {
						d.commit(2)
					}
					w = dial(t, b, login{id: "a", v5: v5})
					if !w.present {
						t.Fatal("the session was not resumed")
					}
					w.publish(1, qos, "x", "1", dup)
					w.publish(2, qos, "x", "2", dup)
					w.publish(3, qos, "x", "3")
					if !durableBefore {
						d.await(3)
						w.silent()
						d.commit(2)
					}
					w.wants(ack+"1", ack+"2")
					d.await(1)
					d.commit(1)
					w.wants(ack + "3")
					d.holds(t, "1", "2", "3")
					if n := b.Stats().Recognised; n != 2 {
						t.Errorf("%d repetitions were recognised, want 2", n)
					}
				})
			}
		}
	}
}

func TestDoubtfulRepetitionIsKeptAndFlagged(t *testing.T) {
	t.Run("the PUBACK may have arrived", func(t *testing.T) {
		d := newDisk(10)
		b := start(t, d, nil)
		w := dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on")
		d.await(1)
		d.commit(1)
		w.wants("PUBACK 1")
		w.drop(b, "a")
		w = dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on", dup) // perhaps a second "on", whose first delivery never came
		d.await(1)
		d.commit(1)
		w.wants("PUBACK 1")
		d.holds(t, "on", "~on")
	})
	t.Run("other content", func(t *testing.T) {
		d := newDisk(10)
		b := start(t, d, nil)
		w := dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on")
		w.publish(2, 2, "x", "on")
		d.await(2)
		w.drop(b, "a")
		w = dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "off", dup)
		w.publish(2, 2, "x", "off", dup)
		d.await(4)
		d.commit(4)
		w.wants("PUBACK 1", "PUBREC 2")
		d.holds(t, "on", "on", "~off", "~off")
	})
	t.Run("a connection came between", func(t *testing.T) {
		d := newDisk(10)
		b := start(t, d, nil)
		w := dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on")
		w.publish(2, 2, "x", "on")
		d.await(2)
		w.drop(b, "a")
		w = dial(t, b, login{id: "a"}) // what it sent here was lost on its way
		w.drop(b, "a")
		w = dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on", dup)
		w.publish(2, 2, "x", "on", dup) // QoS 2 is stored once as long as the session lasts
		d.await(3)
		d.commit(3)
		w.wants("PUBACK 1", "PUBREC 2")
		d.holds(t, "on", "on", "~on")
	})
	t.Run("the id has been given to a new message", func(t *testing.T) {
		d := newDisk(10)
		b := start(t, d, nil)
		w := dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on")
		d.await(1)
		w.drop(b, "a")
		w = dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on")
		d.await(2)
		d.commit(2)
		w.wants("PUBACK 1")
		w.publish(1, 1, "x", "on", dup)
		d.await(1)
		d.commit(1)
		w.wants("PUBACK 1")
		d.holds(t, "on", "on", "~on")
	})
	t.Run("no session", func(t *testing.T) {
		d := newDisk(10)
		b := start(t, d, nil)
		w := dial(t, b, login{id: "a", clean: true})
		w.publish(1, 1, "x", "on")
		d.await(1)
		w.drop(b, "a")
		w = dial(t, b, login{id: "a", clean: true})
		w.publish(1, 1, "x", "on", dup)
		d.await(2)
		d.commit(2)
		w.wants("PUBACK 1")
		d.holds(t, "on", "~on")
	})
	t.Run("the broker has restarted", func(t *testing.T) {
		d := newDisk(10)
		w := dial(t, start(t, d, nil), login{id: "a"})
		w.publish(1, 1, "x", "on", dup)
		w.publish(1, 2, "x", "on", dup)
		d.await(2)
		d.commit(2)
		w.wants("PUBACK 1", "PUBREC 1")
		d.holds(t, "~on", "~on")
	})
	t.Run("a client that sets DUP always", func(t *testing.T) {
		d := newDisk(10)
		b := start(t, d, nil)
		w := dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on", dup)
		d.await(1)
		w.drop(b, "a")
		w = dial(t, b, login{id: "a"})
		w.publish(1, 1, "x", "on", dup)
		d.await(2)
		d.commit(2)
		w.wants("PUBACK 1")
		d.holds(t, "~on", "~on")
	})
	// Of two PUBACKs with one id the client might take the second for that of its next message.
	t.Run("on one connection: one PUBACK, for both", func(t *testing.T) {
		d := newDisk(10)
		w := dial(t, start(t, d, nil), login{id: "a"})
		w.publish(1, 1, "x", "on")
		w.publish(1, 1, "x", "on", dup)
		w.publish(2, 1, "x", "off")
		d.await(3)
		d.commit(1)
		w.silent()
		d.commit(2)
		w.wants("PUBACK 1", "PUBACK 2")
		d.holds(t, "on", "~on", "off")
	})
}

func TestOnePacketIDForEverLosesNothing(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			d := newDisk(100)
			b := start(t, d, nil)
			ack := map[byte]string{1: "PUBACK 1", 2: "PUBREC 1"}[qos]
			var want []string
			for i := range 20 {
				// In turn: acknowledged, not acknowledged, dropped before it was; the content is the same each time.
				w := dial(t, b, login{id: "a", clean: i < 10})
				w.publish(1, qos, "x", "on")
				want = append(want, "on")
				d.await(1)
				if i%3 == 0 {
					w.drop(b, "a")
				}
				d.commit(1)
				if i%3 == 1 {
					w.wants(ack)
				}
			}
			w := dial(t, b, login{id: "a"})
			for range 5 { // without waiting
				w.publish(1, qos, "x", "on")
				want = append(want, "on")
			}
			d.await(5)
			d.commit(5)
			w.wants(ack, ack, ack, ack, ack)
			d.holds(t, want...)
		})
	}
}

func TestQoS2IsTakenExactlyOnce(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	w := dial(t, b, login{id: "a"})
	w.publish(5, 2, "x", "1")
	w.publish(5, 2, "x", "1", dup) // before the first is durable
	d.await(1)
	w.silent()
	d.commit(1)
	w.wants("PUBREC 5")
	w.publish(5, 2, "x", "1", dup)
	w.wants("PUBREC 5")
	w.drop(b, "a")

	w = dial(t, b, login{id: "a"})
	w.publish(5, 2, "x", "1", dup) // the PUBREC was lost
	w.wants("PUBREC 5")
	w.sendID(typePubrel<<4|2, 5)
	w.wants("PUBCOMP 5")
	w.drop(b, "a")

	w = dial(t, b, login{id: "a"})
	w.sendID(typePubrel<<4|2, 5) // the PUBCOMP was lost
	w.wants("PUBCOMP 5")
	w.publish(5, 2, "x", "1") // the id is free: a new message
	d.await(1)
	d.commit(1)
	w.wants("PUBREC 5")
	d.holds(t, "1", "1")

	v5 := dial(t, b, login{id: "b", v5: true})
	v5.sendID(typePubrel<<4|2, 9)
	v5.wants("PUBCOMP 9 92") // packet identifier not found

	// A PUBCOMP tells that the message is safe.
	w.publish(6, 2, "x", "2")
	d.await(1)
	w.sendID(typePubrel<<4|2, 6)
	w.closed()
}

// An older connection's reader may still be waiting for the disk when the client is back. That wait ends with it, and its message
// is taken when it is repeated.
func TestOrderIsKeptWhenAConnectionReplacesAnother(t *testing.T) {
	d := newDisk(1)
	b := start(t, d, nil)
	w := dial(t, b, login{id: "a"})
	w.publish(1, 1, "x", "1")
	w.publish(2, 1, "x", "2")
	await(t, func() bool { return b.Stats().Waiting == 1 })
	second := dial(t, b, login{id: "a", keepAlive: 600})
	second.publish(1, 1, "x", "1", dup)
	second.publish(2, 1, "x", "2", dup)
	second.publish(3, 1, "x", "3")
	second.wants("PINGRESP") // it waits as well
	for range 3 {
		d.await(1)
		d.commit(1)
	}
	for acks := 0; acks < 3; {
		if kind, body := second.read(); kind == typePuback {
			acks++
			if got, want := second.format(kind, body), fmt.Sprintf("PUBACK %d", acks); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	d.holds(t, "1", "~2", "3")
}

// Its writer may find out late that its connection has been replaced.
func TestReplacedConnectionTakesNoAcknowledgementOfTheNext(t *testing.T) {
	b, s := new(Broker), new(session)
	old := &conn{b: b, sess: s, writing: true, gone: make(chan struct{}), room: make(chan struct{}, 1), idle: make(chan struct{}, 1)}
	next := &conn{b: b, sess: s, writing: true, gone: make(chan struct{}), room: make(chan struct{}, 1), idle: make(chan struct{}, 1)}
	s.attach(old)
	s.attach(next)
	if s.admit(next, &exchange{b: b, s: s, id: 1, qos: 1, state: durable}, false) != take {
		t.Fatal("not taken")
	}
	if acks := old.due(nil); acks != nil {
		t.Errorf("the old connection sends % x", acks)
	}
	if s.admit(old, &exchange{b: b, s: s, id: 2, qos: 1}, false) != late {
		t.Error("the old connection could still publish")
	}
	if acks := next.due(nil); string(acks) != "\x40\x02\x00\x01" {
		t.Errorf("the new connection sends % x", acks)
	}
}

// MQTT 3.1 has clients repeat on the connection that they have, as some do later; their PUBREL may follow while the repetition
// waits for its turn.
func TestAQoS2RepetitionOnItsConnectionIsTakenOnce(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		for _, acknowledged := range []bool{false, true} {
			t.Run(fmt.Sprintf("v5=%t,acknowledged=%t", v5, acknowledged), func(t *testing.T) {
				d := newDisk(10)
				b := start(t, d, nil)
				w := dial(t, b, login{id: "a", v5: v5, clean: true})
				w.publish(1, 2, "x", "1")
				d.await(1)
				if acknowledged {
					d.commit(1)
					w.wants("PUBREC 1")
				}
				w.publish(2, 2, "x", "2")
				w.publish(1, 2, "x", "1", dup)
				if acknowledged {
					w.sendID(typePubrel<<4|2, 1)
					w.wants("PUBCOMP 1")
					w.publish(1, 2, "x", "1") // the id's next message
					d.await(2)
					d.commit(2)
					w.wants("PUBREC 2", "PUBREC 1")
					d.holds(t, "1", "2", "1")
				} else {
					w.silent()
					d.await(2)
					d.commit(2)
					w.wants("PUBREC 1", "PUBREC 2")
					d.holds(t, "1", "2")
				}
				w.sendID(typePubrel<<4|2, 1)
				w.sendID(typePubrel<<4|2, 2)
				w.wants("PUBCOMP 1", "PUBCOMP 2")
				w.silent()
			})
		}
	}
}

// What has another content is no repetition, whatever its id, and what comes on another connection without DUP need not be.
func TestAnUnreleasedIDWithAnotherMessageIsKept(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	w := dial(t, b, login{id: "a"})
	w.publish(1, 2, "x", "1")
	w.publish(1, 2, "x", "other")
	d.await(2)
	w.drop(b, "a")
	w = dial(t, b, login{id: "a"})
	w.publish(1, 2, "x", "other")
	d.await(3)
	d.commit(3)
	w.wants("PUBREC 1")
	d.holds(t, "1", "other", "other")
}
