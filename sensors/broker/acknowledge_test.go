package broker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/build/testenv"
)

func TestAcknowledgesOnlyWhatIsDurable(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		for qos, ack := range []string{1: "PUBACK 7", 2: "PUBREC 7"} {
			if qos == 0 {
				continue
			}
			t.Run(fmt.Sprintf("qos%d,v5=%t", qos, v5), func(t *testing.T) {
				d := newDisk(10)
				w := dial(t, start(t, d, nil), login{id: "a", v5: v5, clean: true})
				w.publish(7, byte(qos), "x", "1")
				d.await(1)
				w.silent()
				d.commit(1)
				w.wants(ack)
				if qos == 2 {
					w.sendID(typePubrel<<4|2, 7)
					w.wants("PUBCOMP 7")
				}
			})
		}
	}
}

func TestAcknowledgesInOrder(t *testing.T) {
	d := newDisk(1000)
	w := dial(t, start(t, d, nil), login{id: "a", clean: true})
	const n = 300
	for i := range n {
		w.publish(uint16(i+1), 1+byte(i%2), "x", fmt.Sprint(i))
	}
	d.await(n)
	w.silent()
	for _, group := range []int{1, 100, 3, 196} {
		d.commit(group)
	}
	for i := range n {
		w.wants(fmt.Sprintf("%s %d", []string{"PUBACK", "PUBREC"}[i%2], i+1))
	}
}

func TestFailedIsNeverAcknowledged(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, nil)
	w := dial(t, b, login{id: "a"})
	w.publish(1, 1, "x", "lost")
	w.publish(2, 2, "x", "lost too")
	d.await(2)
	d.fail(2)
	w.closed()

	// What it repeats is new to us, and has another chance.
	w = dial(t, b, login{id: "a"})
	w.publish(1, 1, "x", "lost", dup)
	w.publish(2, 2, "x", "lost too", dup)
	d.await(2)
	w.silent()
	d.commit(2)
	w.wants("PUBACK 1", "PUBREC 2")
	if got, want := d.payloads(), []string{"~lost", "~lost too"}; !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
}

func TestShutdownAcknowledgesWhatBecomesDurable(t *testing.T) {
	d := newDisk(10)
	b, err := New(Config{Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}}, Decode: undecoded, Grace: testenv.Patience})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, b, d)
	w := dial(t, b, login{id: "a", clean: true, will: "gone yes"})
	v5 := dial(t, b, login{id: "b", clean: true, v5: true})
	w.publish(1, 1, "x", "1")
	d.await(1)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	<-b.stopping
	v5.silent()
	w.publish(2, 1, "x", "too late")
	d.commit(1)
	w.closed("PUBACK 1")
	v5.closed() // libmosquitto does not come back after a DISCONNECT with 0x8b
	<-stopped
	if got := d.payloads(); !slices.Equal(got, []string{"1"}) || b.Stats().InSink != 0 {
		t.Errorf("entries are %q, %d still pending", got, b.Stats().InSink)
	}
}

// The sink has room for one message: the second one waits in its client's reader, which therefore reads no pings.
func TestSlowDiskKeepsTheSessionAlive(t *testing.T) {
	d := newDisk(1)
	b := start(t, d, nil)
	w := dial(t, b, login{id: "a", clean: true, keepAlive: 600})
	w.publish(1, 1, "x", "1")
	w.publish(2, 1, "x", "2")
	w.publish(0, 0, "x", "3")
	w.send(typePingreq<<4, nil)
	await(t, func() bool { return b.Stats().Waiting == 1 })
	// As when the wait has outlasted the time after which a silent client is disconnected.
	if err := b.connection("a").SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.wants("PINGRESP")
	}
	if n := b.Stats().Waiting; n != 1 {
		t.Errorf("%d clients wait, want 1", n)
	}
	var acks []string
	for i := range 3 {
		d.await(1)
		d.commit(1)
		if i < 2 {
			kind, body := w.read()
			for kind == typePingresp {
				kind, body = w.read()
			}
			acks = append(acks, w.format(kind, body))
		}
	}
	if want := []string{"PUBACK 1", "PUBACK 2"}; !slices.Equal(acks, want) {
		t.Errorf("got %q, want %q", acks, want)
	}
	w.publish(3, 1, "x", "4")
	d.await(1)
	if got, want := d.payloads(), []string{"1", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("entries are %q, want %q", got, want)
	}
	d.commit(1)
}

func TestBeyondTheWindowTheSocketIsNotRead(t *testing.T) {
	d := newDisk(1000)
	b := start(t, d, func(c *Config) { c.MaxInFlight = 5 })
	w := dial(t, b, login{id: "a", clean: true})
	for i := range 20 {
		w.publish(uint16(i+1), 1, "x", fmt.Sprint(i))
	}
	await(t, func() bool { return b.Stats().Waiting == 1 })
	if n := b.Stats().InSink; n != 5 {
		t.Errorf("%d messages are in the sink, want 5", n)
	}
	for i := range 20 {
		d.await(1)
		d.commit(1)
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
	}

	v5 := dial(t, b, login{id: "b", clean: true, v5: true})
	for i := range 6 {
		v5.publish(uint16(i+1), 1, "x", fmt.Sprint(i))
	}
	v5.closed("DISCONNECT 93") // receive maximum exceeded [MQTT-3.3.4-9]
	d.commit(5)
}

// A client that does not read its socket keeps its own acknowledgements waiting, and nobody else's. With QoS 1 it holds
// up the fan-out too, until its write times out.
func TestStuckClientBlocksNobody(t *testing.T) {
	d := autoDisk(t, 0)
	b := start(t, d, func(c *Config) { c.WriteTimeout = testenv.Patience })
	stuck := dial(t, b, login{id: "stuck"})
	stuck.subscribe(1, "flood", 1)
	stuck.wants("SUBACK 1 1")
	flood := dial(t, b, login{id: "flood", clean: true})
	big := string(make([]byte, 256<<10))
	for i := range 64 { // far more than a socket holds
		flood.publish(uint16(i+1), 1, "flood", big)
	}
	for i := range 64 {
		flood.wants(fmt.Sprintf("PUBACK %d", i+1))
	}
	stuck.publish(2, 1, "x", "of the stuck one")
	d.awaitEntries(65)

	sub := dial(t, b, login{id: "sub", clean: true})
	sub.subscribe(1, "x", 0)
	sub.wants("SUBACK 1 0")
	w := dial(t, b, login{id: "w", clean: true})
	w.publish(1000, 1, "y", "while it is stuck")
	w.wants("PUBACK 1000")
	// Its time is up: a write that has begun ends, and any other fails at once.
	await(t, func() bool {
		c := b.connection("stuck")
		if c != nil {
			_ = c.SetWriteDeadline(time.Unix(1, 0))
		}
		return c == nil
	})
	for i := range 100 {
		w.publish(uint16(i+1), 1, "x", fmt.Sprint(i))
		w.wants(fmt.Sprintf("PUBACK %d", i+1))
		if kind, body := sub.read(); sub.format(kind, body) == "PUBLISH x of the stuck one" {
			sub.wants(fmt.Sprintf("PUBLISH x %d", i))
		}
	}
}

func TestAWriteThatIsNotReadEndsInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := &conn{Conn: ours, b: &Broker{cfg: Config{WriteTimeout: 10 * time.Second}}, gone: make(chan struct{})}
		go io.ReadFull(theirs, make([]byte, 4))
		for range 2 { // the second with what is left of the first one's time
			began := time.Now()
			_, err := c.Write([]byte("ping"))
			switch took := time.Since(began); {
			case err == nil && took == 0:
				time.Sleep(2 * time.Second)
			case !errors.Is(err, os.ErrDeadlineExceeded) || took < 7500*time.Millisecond || took > 10*time.Second || !c.isGone():
				t.Errorf("after %v: %v, the connection is gone: %t", took, err, c.isGone())
			}
		}
		if !c.isGone() {
			t.Error("the connection stays")
		}
	})
}
