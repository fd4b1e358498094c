package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// disk is a sink in memory that commits when it is told to, or at once; that can be full, and can fail.
type disk struct {
	mu      sync.Mutex
	changed *sync.Cond
	room    int // messages that may be pending
	auto    bool
	waiting []*sensors.Message // for room; the last one gets it first, which is hard on those who rely on an order
	pending []*sensors.Message
	entries []*sensors.Message

	committing sync.Mutex // one committer at a time, so that Done comes in order
}

var errDisk = errors.New("the disk has failed")

func newDisk(room int) *disk {
	d := &disk{room: room}
	d.changed = sync.NewCond(&d.mu)
	return d
}

// autoDisk commits in groups, each after the delay of a sync.
func autoDisk(t testing.TB, delay time.Duration) *disk {
	d := newDisk(1 << 16)
	d.auto = true
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for d.await(1) {
			time.Sleep(delay)
			d.commit(1000)
		}
	}()
	t.Cleanup(func() {
		d.mu.Lock()
		d.auto = false
		d.changed.Broadcast()
		d.mu.Unlock()
		<-ended
	})
	return d
}

func (d *disk) TryPut(m *sensors.Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) >= d.room {
		return false
	}
	d.pending = append(d.pending, m)
	d.changed.Broadcast()
	return true
}

func (d *disk) Put(ctx context.Context, m *sensors.Message) error {
	defer context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.changed.Broadcast()
	})()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, m)
	defer func() { d.waiting = slices.DeleteFunc(d.waiting, func(w *sensors.Message) bool { return w == m }) }()
	for len(d.pending) >= d.room || d.waiting[len(d.waiting)-1] != m {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.changed.Wait()
	}
	d.pending = append(d.pending, m)
	d.changed.Broadcast()
	return nil
}

// await waits until n messages are pending; false is the end of a disk that commits by itself.
func (d *disk) await(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.auto {
		for len(d.pending) < n && d.auto {
			d.changed.Wait()
		}
		return d.auto
	}
	late := false
	defer time.AfterFunc(testenv.Patience, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		late = true
		d.changed.Broadcast()
	}).Stop()
	for len(d.pending) < n && !late {
		d.changed.Wait()
	}
	if len(d.pending) < n {
		panic(fmt.Sprintf("%d messages are in the sink, waiting for %d", len(d.pending), n))
	}
	return true
}

// awaitEntries waits until n messages are committed.
func (d *disk) awaitEntries(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.entries) < n {
		d.changed.Wait()
	}
}

func (d *disk) commit(n int) { d.end(n, nil) }
func (d *disk) fail(n int)   { d.end(n, errDisk) }

func (d *disk) end(n int, err error) {
	d.committing.Lock()
	defer d.committing.Unlock()
	d.mu.Lock()
	group := d.pending[:min(n, len(d.pending))]
	for i, m := range group {
		m.Entry = uint64(len(d.entries) + i)
	}
	if err == nil { // before anybody is told that it is
		d.entries = append(d.entries, group...)
	}
	d.mu.Unlock()
	for _, m := range group {
		m.Done(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = d.pending[len(group):]
	d.changed.Broadcast()
}

// payloads of the entries, each preceded by a tilde if it is flagged as redelivered.
func (d *disk) payloads() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.entries {
		s := string(m.Payload)
		if m.Flags&lightchain.Redelivered != 0 {
			s = "~" + s
		}
		all = append(all, s)
	}
	return all
}

func (d *disk) sources() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.entries {
		all = append(all, m.Source)
	}
	return all
}

func undecoded(_, _, _ string, _ lightchain.Flags, payload []byte, _ time.Time) *sensors.Message {
	return &sensors.Message{Payload: payload, Flags: lightchain.NotUnderstood}
}

// start runs a broker until the test ends; by default with an anonymous listener on a free port of loopback.
func start(t testing.TB, d sensors.Sink, change func(*Config)) *Broker {
	t.Helper()
	cfg := Config{
		Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}}, Decode: undecoded,
		Grace: 50 * time.Millisecond, // many tests end with messages that nobody commits
	}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, b, d)
	return b
}

// run returns what stops the broker, which is done at the end of the test at the latest.
func run(t testing.TB, b *Broker, d sensors.Sink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, d) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("running the broker: %v", err)
		}
	})
	select {
	case <-b.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return stop
}
