package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"edgechain.example/build/testenv"
	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
)

// inbox collects what is delivered.
type inbox struct {
	hold bool // messages are not dealt with by themselves

	mu  sync.Mutex
	all []headersync.Message // guarded by mu
}

func (i *inbox) deliver(m headersync.Message) {
	i.mu.Lock()
	i.all = append(i.all, m)
	i.mu.Unlock()
	if !i.hold {
		m.Done()
	}
}

func (i *inbox) payloads() (payloads []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range i.all {
		payloads = append(payloads, string(m.Payload))
	}
	return payloads
}

func (i *inbox) await(t testing.TB, payloads ...string) {
	t.Helper()
	await(t, fmt.Sprintf("messages %q", payloads), func() bool {
		got := i.payloads()
		return !slices.ContainsFunc(payloads, func(p string) bool { return !slices.Contains(got, p) })
	})
}

func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// quick is a configuration that does not wait long.
func quick(id, server string) Config {
	return Config{
		Config:  mqttconn.Config{Name: id, ClientID: id, Servers: []mqttconn.Server{mqttconn.Server(server)}, KeepAlive: time.Minute, ConnectTimeout: time.Minute},
		Options: mqttconn.Options{BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond},
	}
}

// start runs a link until the test ends, or stop is called. prepare, which may be nil, subscribes before.
func start(t testing.TB, c Config, prepare func(*Link)) (l *Link, stop func()) {
	t.Helper()
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return l, stop
}

func connected(t testing.TB, l *Link) {
	t.Helper()
	await(t, "a connection of "+l.Name(), func() bool { return l.Status().Connected })
}

func subscribe(t testing.TB, l *Link, deliver func(headersync.Message), filters ...string) {
	t.Helper()
	if err := l.Subscribe(filters, deliver); err != nil {
		t.Fatal(err)
	}
}

func publish(t testing.TB, l *Link, topic, payload string, retained bool) {
	t.Helper()
	if err := l.Publish(topic, []byte(payload), retained); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesReachAllWhoAsked(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	var heads, all inbox
	to, _ := start(t, quick("to", "tcp://"+b.Addr), func(l *Link) {
		subscribe(t, l, heads.deliver, "p/+/head")
	})
	connected(t, to)
	subscribe(t, to, all.deliver, "p/#") // while connected
	from, _ := start(t, quick("from", "tcp://"+b.Addr), nil)
	connected(t, from)
	if err := to.asked(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, from, "p/a/head", "1", false)
	publish(t, from, "p/a/pull", "2", false)
	publish(t, from, "p/b/head", "3", true)
	heads.await(t, "1", "3")
	all.await(t, "1", "2", "3")
	if got := heads.payloads(); slices.Contains(got, "2") {
		t.Errorf("delivered to a filter that does not match: %q", got)
	}
	await(t, "all to be dealt with", func() bool { return to.Status().Unfinished == 0 })
}

func TestWhatWasNotDealtWithComesAgain(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	first := inbox{hold: true}
	to, stop := start(t, quick("to", "tcp://"+b.Addr), func(l *Link) { subscribe(t, l, first.deliver, "t") })
	from, _ := start(t, quick("from", "tcp://"+b.Addr), nil)
	connected(t, to)
	connected(t, from)
	publish(t, from, "t", "done", false)
	publish(t, from, "t", "left", false)
	first.await(t, "done", "left")
	first.mu.Lock()
	done := first.all[slices.IndexFunc(first.all, func(m headersync.Message) bool { return string(m.Payload) == "done" })]
	first.mu.Unlock()
	done.Done()
	await(t, "one to be left", func() bool { return to.Status().Unfinished == 1 })
	// The acknowledgement is behind this publication on the same connection, so it has left when this has come back.
	var echo inbox
	subscribe(t, to, echo.deliver, "echo")
	if err := to.asked(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, to, "echo", "back", false)
	echo.await(t, "back")
	stop()
	publish(t, from, "t", "meanwhile", false)
	await(t, "it to be sent", func() bool { return from.Status().Sent == 3 })
	var second inbox
	start(t, quick("to", "tcp://"+b.Addr), func(l *Link) { subscribe(t, l, second.deliver, "t") })
	second.await(t, "left", "meanwhile")
	if got := second.payloads(); slices.Contains(got, "done") {
		t.Errorf("an acknowledged message came again: %q", got)
	}
}

func TestTheNewestRetainedMessageWaitsForAConnectionAndOthersAreRefused(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	var in inbox
	to, _ := start(t, quick("to", "tcp://"+b.Addr), func(l *Link) { subscribe(t, l, in.deliver, "#") })
	connected(t, to)
	from, err := New(quick("from", "tcp://"+b.Addr))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, from, "head", "old", true)
	publish(t, from, "other", "kept", true)
	publish(t, from, "head", "new", true)
	if err := from.Publish("pulled", []byte("page"), false); !errors.Is(err, ErrNotConnected) {
		t.Errorf("a page without a connection: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = from.Run(ctx)
	}()
	in.await(t, "new", "kept")
	if got := in.payloads(); slices.Contains(got, "old") || slices.Contains(got, "page") {
		t.Errorf("came: %q", got)
	}
	cancel()
	<-done
}

func TestTheOutboxIsBounded(t *testing.T) {
	o := newOutbox(1000)
	o.connected(true)
	for i := range 3 {
		if err := o.put(message{"t", make([]byte, 200), false}); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := o.put(message{"t", make([]byte, 200), false}); !errors.Is(err, ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	for {
		if _, found := o.take(); !found {
			break
		}
	}
	if err := o.put(message{"t", make([]byte, 5000), false}); err != nil {
		t.Errorf("a large one by itself: %v", err)
	}
	if o.connected(false); o.len() != 0 || o.bytes != 0 {
		t.Errorf("after the connection's end %d messages wait, %d bytes", o.len(), o.bytes)
	}
	for i := range 5 {
		if err := o.put(message{"head", []byte{byte(i)}, true}); err != nil {
			t.Fatal(err)
		}
	}
	if m, _ := o.take(); o.len() != 0 || m.payload[0] != 4 {
		t.Errorf("of five retained messages of one topic %v is sent, and %d wait", m.payload, o.len())
	}
}

func TestItComesBackWhenTheBrokerDoes(t *testing.T) {
	b := testenv.Mosquitto(t, testenv.Persistent)
	var in inbox
	to, _ := start(t, quick("to", "tcp://"+b.Addr), func(l *Link) { subscribe(t, l, in.deliver, "t") })
	var calls atomic.Int64
	c := quick("from", "tcp://"+b.Addr)
	c.Connected = func() { calls.Add(1) }
	from, _ := start(t, c, nil)
	connected(t, to)
	connected(t, from)
	for round := range 3 {
		if round%2 == 0 {
			b.Kill()
		}
		b.Restart()
		await(t, "both to be back", func() bool {
			return to.Status().Connections > int64(round)+1 && from.Status().Connections > int64(round)+1 && to.Status().Connected && from.Status().Connected
		})
		text := fmt.Sprint("round ", round)
		publish(t, from, "t", text, false)
		in.await(t, text)
	}
	await(t, "Connected to be called for each of 4 connections", func() bool { return calls.Load() >= 4 })
}

func TestTheWillIsPublishedHoweverTheConnectionEnds(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	var in inbox
	watch, _ := start(t, quick("watch", "tcp://"+b.Addr), func(l *Link) { subscribe(t, l, in.deliver, "status/+") })
	connected(t, watch)
	c := quick("orderly", "tcp://"+b.Addr)
	c.Will = &mqttconn.Will{Topic: "status/orderly", Payload: []byte("orderly offline")}
	l, stop := start(t, c, nil)
	connected(t, l)
	stop()
	in.await(t, "orderly offline")

	// Through a relay that breaks the connection without a word to the broker's client.
	relay := newRelay(t, b.Addr)
	c = quick("broken", "tcp://"+relay.addr)
	c.Will = &mqttconn.Will{Topic: "status/broken", Payload: []byte("broken offline")}
	l, _ = start(t, c, nil)
	connected(t, l)
	relay.breakAll()
	in.await(t, "broken offline")
}

// relay passes TCP on until it is told to break the connections.
type relay struct {
	addr string
	mu   sync.Mutex
	all  []net.Conn // guarded by mu
}

func newRelay(t testing.TB, to string) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: listener.Addr().String()}
	t.Cleanup(func() {
		listener.Close()
		r.breakAll()
	})
	pass := func(a, b net.Conn) {
		buf := make([]byte, 32<<10)
		for {
			n, err := a.Read(buf)
			if err != nil {
				break
			}
			if _, err := b.Write(buf[:n]); err != nil {
				break
			}
		}
		a.Close()
		b.Close()
	}
	go func() {
		for {
			a, err := listener.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			r.mu.Lock()
			r.all = append(r.all, a, b)
			r.mu.Unlock()
			go pass(a, b)
			go pass(b, a)
		}
	}()
	return r
}

func (r *relay) breakAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.all {
		c.Close()
	}
}

// A link to which nothing would come says so.
func TestALinkThatIsRefusedASubscriptionIsNotConnected(t *testing.T) {
	l, _ := start(t, quick("c", "tcp://"+refusing(t)), func(l *Link) { subscribe(t, l, new(inbox).deliver, "p/+/head") })
	await(t, "the refusal to be told", func() bool {
		st := l.Status()
		return st.Connections > 0 && !st.Connected && strings.Contains(st.LastError, "p/+/head")
	})
}

// refusing starts a broker that accepts every connection and refuses every subscription, and returns its address.
func refusing(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go refuse(c)
		}
	}()
	return listener.Addr().String()
}

func refuse(c net.Conn) {
	defer c.Close()
	for {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			err = packets.NewControlPacket(packets.Connack).Write(c)
		case *packets.SubscribePacket:
			ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			ack.MessageID = p.MessageID
			for range p.Topics {
				ack.ReturnCodes = append(ack.ReturnCodes, mqttconn.Refusal)
			}
			err = ack.Write(c)
		case *packets.PingreqPacket:
			err = packets.NewControlPacket(packets.Pingresp).Write(c)
		}
		if err != nil {
			return
		}
	}
}

func TestABadConfigurationIsRefusedInWords(t *testing.T) {
	if _, err := New(Config{Config: mqttconn.Config{Name: "office", Servers: []mqttconn.Server{"tcp://x"}}}); err == nil || !strings.Contains(err.Error(), "broker office: client_id") {
		t.Errorf("no client id: %v", err)
	}
	if l, err := New(Config{Config: mqttconn.Config{Servers: []mqttconn.Server{"tcp://x"}, ClientID: "c"}}); err != nil || l.cfg.KeepAlive != mqttconn.DefaultKeepAlive {
		t.Errorf("the zero value of all else: %v", err)
	}
	l, _ := New(quick("c", "tcp://x"))
	if err := l.Subscribe([]string{"$share/g"}, nil); err == nil {
		t.Error("a filter that is none")
	}
}
