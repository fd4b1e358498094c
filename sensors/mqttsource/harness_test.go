package mqttsource

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
)

const patience = testenv.Patience

// durableBroker keeps what it queued over a kill, as docs/operate/brokers.md asks for.
const durableBroker = testenv.Persistent + testenv.KeepsAll

// broker is a real Mosquitto.
type broker struct {
	*testenv.Broker
	url string
}

func startBroker(t *testing.T, extra string) *broker {
	t.Helper()
	b := testenv.Mosquitto(t, extra)
	return &broker{Broker: b, url: "tcp://" + b.Addr}
}

// publisher is a device.
func publisher(t *testing.T, server string) mqtt.Client {
	t.Helper()
	opt := mqtt.NewClientOptions().AddBroker(server).SetClientID("device-" + crand.Text())
	c := mqtt.NewClient(opt)
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("device: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(100) })
	return c
}

func send(t *testing.T, c mqtt.Client, topic string, qos byte, retained bool, payloads ...string) {
	t.Helper()
	var tokens []mqtt.Token
	for _, p := range payloads {
		tokens = append(tokens, c.Publish(topic, qos, retained, p))
	}
	for _, token := range tokens {
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("publishing: %v", token.Error())
		}
	}
}

func numbered(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("m%05d", i))
	}
	return out
}

// disk is a sink whose fsync is a test's to give: what it took becomes durable, in order, as far as allowed.
type disk struct {
	mu      sync.Mutex
	changed *sync.Cond
	budget  int // bytes in flight
	used    int
	allowed int // messages that may still become durable
	failing error
	pending []*sensors.Message
	durable []*sensors.Message
	closed  bool
}

const everything = 1 << 30

func newDisk(t *testing.T, allowed int) *disk {
	d := &disk{budget: 16 << 20, allowed: allowed}
	d.changed = sync.NewCond(&d.mu)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.commit()
	}()
	t.Cleanup(func() {
		d.mu.Lock()
		d.closed = true
		d.changed.Broadcast()
		d.mu.Unlock()
		<-done
	})
	return d
}

func (d *disk) commit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.closed {
		if len(d.pending) == 0 || d.allowed == 0 {
			d.changed.Wait()
			continue
		}
		m := d.pending[0]
		d.pending = d.pending[1:]
		d.allowed--
		d.used -= m.Size()
		err := d.failing
		if err == nil {
			d.durable = append(d.durable, m)
		}
		d.changed.Broadcast()
		d.mu.Unlock()
		m.Done(err)
		d.mu.Lock()
	}
}

func (d *disk) allow(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allowed = n
	d.changed.Broadcast()
}

func (d *disk) full(m *sensors.Message) bool { return d.used > 0 && d.used+m.Size() > d.budget }

func (d *disk) Put(ctx context.Context, m *sensors.Message) error {
	stop := context.AfterFunc(ctx, d.changed.Broadcast)
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for ctx.Err() == nil && !d.closed && d.full(m) {
		d.changed.Wait()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case d.closed:
		return errors.New("the sink is closed")
	}
	d.take(m)
	return nil
}

func (d *disk) TryPut(m *sensors.Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.full(m) {
		return false
	}
	d.take(m)
	return true
}

func (d *disk) take(m *sensors.Message) {
	d.used += m.Size()
	d.pending = append(d.pending, m)
	d.changed.Broadcast()
}

// counts returns how many are taken and not durable, and how many are durable.
func (d *disk) counts() (pending, durable int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending), len(d.durable)
}

func (d *disk) entries() []*sensors.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*sensors.Message(nil), d.durable...)
}

func (d *disk) payloads() (out []string) {
	for _, m := range d.entries() {
		out = append(out, string(m.Payload))
	}
	return out
}

// eventually waits for what other goroutines and processes will bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	testenv.Await(t, what, is)
}

func (d *disk) awaitPending(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages taken", n), func() bool { p, _ := d.counts(); return p >= n })
}

func (d *disk) awaitDurable(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d entries", n), func() bool { _, c := d.counts(); return c >= n })
}

// raw keeps payloads as they are.
func raw(topic string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message {
	return &sensors.Message{Flags: flags, Payload: payload}
}

// config is of a source whose connections end only where a test ends them, however long this machine lets it wait.
func config(server string, qos byte) Config {
	return Config{
		Config:        mqttconn.Config{Name: "plant", Servers: []mqttconn.Server{mqttconn.Server(server)}, KeepAlive: time.Hour, ConnectTimeout: time.Minute},
		Options:       mqttconn.Options{BackoffMin: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond},
		Gateway:       "gw-1",
		Subscriptions: []Subscription{{Filter: "line/#", QoS: qos, Decode: raw}},
		IgnoreDrops:   true,
	}
}

// logged gives the configuration a log that a test can read.
func logged(c *Config) *testenv.Log {
	b := new(testenv.Log)
	c.Log = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return b
}

// running is a Source that runs.
type running struct {
	*Source
	t    *testing.T
	end  context.CancelFunc
	done chan error
}

func run(t *testing.T, cfg Config, sink sensors.Sink) *running {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Source: s, t: t, end: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx, sink) }()
	t.Cleanup(r.stop)
	return r
}

// stop ends the source and returns when it has ended.
func (r *running) stop() {
	if r.end == nil {
		return
	}
	r.end()
	r.end = nil
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		r.t.Error("Run does not end")
	}
}

func (r *running) awaitReady() {
	r.t.Helper()
	select {
	case <-r.Ready():
	case <-time.After(patience):
		r.t.Fatalf("not subscribed: %+v", r.Stats())
	}
}

func (r *running) await(what string, is func(Stats) bool) {
	r.t.Helper()
	eventually(r.t, what, func() bool { return is(r.Stats()) })
}

// wire is a network between source and broker that can break.
type wire struct {
	t        *testing.T
	url      string
	to       string
	listener net.Listener

	mu    sync.Mutex
	open  map[net.Conn]bool
	deaf  bool // what the client sends is swallowed
	mute  bool // and what the broker does, behind the bytes that are still let through
	let   int
	apart bool // no connection comes about
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, url: "tcp://" + l.Addr().String(), to: to, listener: l, open: make(map[net.Conn]bool)}
	go w.accept()
	t.Cleanup(func() {
		l.Close()
		w.cut()
	})
	return w
}

func (w *wire) accept() {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", w.to)
		w.mu.Lock()
		if err != nil || w.apart {
			w.mu.Unlock()
			in.Close()
			if err == nil {
				out.Close()
			}
			continue
		}
		w.open[in], w.open[out] = true, true
		w.mu.Unlock()
		go w.carry(out, in, true)
		go w.carry(in, out, false)
	}
}

func (w *wire) carry(to io.WriteCloser, from io.ReadCloser, fromClient bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		switch {
		case fromClient && w.deaf:
			n = 0
		case !fromClient && w.mute:
			n = min(n, w.let)
			w.let -= n
		}
		w.mu.Unlock()
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (w *wire) set(deaf, apart bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf, w.apart = deaf, apart
}

// hush swallows what the broker sends behind so many bytes.
func (w *wire) hush(behind int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute, w.let = true, behind
}

// mend has everything come through again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf, w.mute, w.apart = false, false, false
}

// cut resets every connection.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		c.Close()
	}
	clear(w.open)
}
