package broker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// bubble is a broker for a test of time, whose clients come by pipe.
func bubble(t *testing.T, d sensors.Sink) *Broker {
	t.Helper()
	b, err := New(Config{Listeners: []Listener{{Kind: TCP, Anonymous: true}}, Decode: undecoded})
	if err != nil {
		t.Fatal(err)
	}
	b.sink, b.run = d, t.Context()
	return b
}

func piped(t *testing.T, b *Broker, l login) *wire {
	t.Helper()
	ours, theirs := net.Pipe()
	go b.serve(theirs, true)
	w := connect(t, ours, l)
	_ = ours.SetDeadline(time.Time{})
	return w
}

// cut reads until the connection is closed, and returns what came and how long that took.
func (w *wire) cut() (packets []string, after time.Duration) {
	began := time.Now()
	for {
		kind, body, err := w.tryRead()
		if err != nil {
			return packets, time.Since(began)
		}
		packets = append(packets, w.format(kind, body))
	}
}

func halfWay(length int) []byte { return mqttwire.AppendHeader(nil, typePublish<<4, length) }

func TestASilentClientIsCutAfterOneAndAHalfKeepAlives(t *testing.T) {
	first := func(*wire, *disk) {}
	large := func(w *wire, d *disk) {
		w.publish(1, 1, "x", strings.Repeat("y", 3<<20))
		d.await(1)
		d.commit(1)
		w.wants("PUBACK 1")
	}
	byByte := func(w *wire, _ *disk) {
		go func() { // bytes of a packet are no packet
			for _, b := range append([]byte{typePublish << 4, 100, 0, 1, 'x'}, make([]byte, 90)...) {
				if _, err := w.nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
	}
	for name, before := range map[string]func(*wire, *disk){"at once": first, "after a large packet": large, "in the middle of a packet": byByte} {
		for _, keepAlive := range []uint16{1, 2, 4, 300} {
			t.Run(fmt.Sprint(name, keepAlive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := newDisk(10)
					w := piped(t, bubble(t, d), login{id: "a", v5: true, clean: true, keepAlive: keepAlive})
					before(w, d)
					packets, after := w.cut()
					least := time.Duration(keepAlive) * 3 / 2 * time.Second
					if keepAlive == 1 {
						least = 1500 * time.Millisecond
					}
					if after < least || after > least+least/10 || fmt.Sprint(packets) != "[DISCONNECT 8d]" {
						t.Errorf("cut after %v with %s, want %v", after, packets, least)
					}
					time.Sleep(time.Minute) // all that was begun ends
				})
			})
		}
	}
}

func TestALargePacketMustComeOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		length int
		piece  int // bytes a second
		after  time.Duration
	}{
		{"nothing", 16 << 20, 0, stretchTimeout},
		{"nothing of a little one", smallPacket + 1, 0, stretchTimeout},
		{"a byte a second", 1 << 20, 1, stretchTimeout},
		{"half the rate", 4 << 20, slowest / 2, connectTimeout + 4<<20/slowest*time.Second},
		{"the rate", 4 << 20, slowest, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(10)
				b := bubble(t, d)
				w := piped(t, b, login{id: "a", v5: true, clean: true, keepAlive: 2})
				began := time.Now()
				go func() {
					packet := append(halfWay(c.length), 0, 1, 'x', 0)
					packet = append(packet, make([]byte, c.length-4)...)
					if c.piece == 0 {
						packet = packet[:10]
					}
					for len(packet) > 0 {
						n := min(max(c.piece, 10), len(packet))
						if c.piece == 1 {
							n = 1
						}
						if _, err := w.nc.Write(packet[:n]); err != nil {
							return
						}
						packet = packet[n:]
						time.Sleep(time.Second)
					}
				}()
				if c.after == 0 {
					d.await(1) // a client that sends is alive, whatever its keep-alive
					d.commit(1)
					w.send(typeDisconnect<<4, nil)
				}
				packets, _ := w.cut()
				took := time.Since(began)
				switch {
				case c.after == 0 && len(packets) > 0:
					t.Errorf("cut after %v with %s", took, packets)
				case c.after > 0 && (took < c.after || took > c.after+5*time.Second || fmt.Sprint(packets) != "[DISCONNECT 97]"):
					t.Errorf("cut after %v with %s, want %v", took, packets, c.after)
				}
				time.Sleep(time.Minute)
				for i := range b.reading {
					if g := &b.reading[i]; g.taken != 0 || len(g.under) != 0 {
						t.Errorf("room %d: %d bytes of %d packets are still taken", i, g.taken, len(g.under))
					}
				}
			})
		})
	}
}

const hugeRoom = 48 << 20 / 12 * 5

// What packets that do not come on hold up: nothing, while little of them has come, and nothing smaller, however much.
func TestLargePacketsHoldUpNothingSmaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, autoDisk(t, 0))
		goes := func(w *wire, id uint16, length int) {
			t.Helper()
			began := time.Now()
			w.publish(id, 1, "x", strings.Repeat("y", length))
			w.wants(fmt.Sprintf("PUBACK %d", id))
			if took := time.Since(began); took > time.Second {
				t.Errorf("%d bytes took %v", length, took)
			}
		}
		good := piped(t, b, login{id: "good", clean: true})
		begin := func(id string, sent int) {
			w := piped(t, b, login{id: id, clean: true})
			go func() {
				_, _ = w.nc.Write(append(halfWay(16<<20-5), append([]byte{0, 1, 'x'}, make([]byte, sent-3)...)...))
			}()
		}
		holds := func(packets, least, most int) {
			t.Helper()
			synctest.Wait()
			if n, under := b.reading.held(); under != packets || n < least || n > most {
				t.Errorf("%d packets have taken %d bytes, want %d packets and %d to %d bytes", under, n, packets, least, most)
			}
		}
		for i := range 10 {
			begin(fmt.Sprint("silent", i), smallPacket-100)
		}
		holds(10, 0, 0) // nothing for what has not come
		for i, length := range []int{10, smallPacket, 20_000, 100_000, 300_000, 1_000_000, 2 << 20, 16<<20 - 10} {
			goes(good, uint16(i+1), length)
		}
		// The largest come half-way and fill their room.
		for i := range 5 {
			begin(fmt.Sprint("half", i), 9<<20)
		}
		holds(15, hugeRoom-8<<20, hugeRoom+16<<20)
		for i, length := range []int{10, smallPacket, 20_000, 100_000, 300_000, 1_000_000} {
			goes(good, uint16(i+1), length)
		}
		time.Sleep(time.Hour) // whatever does not come on has been cut
		holds(0, 0, 0)
		goes(good, 1, 16<<20-10)
		holds(0, 0, 0)
	})
}

// More than fit come at once: none waits for another for ever, and each arrives.
func TestLargePacketsThatShareARoomAllArrive(t *testing.T) {
	for _, length := range []int{100_000, 900_000, 6 << 20} {
		d := autoDisk(t, 0)
		b := start(t, d, func(c *Config) {
			c.Decode = func(_, _, _ string, _ lightchain.Flags, _ []byte, _ time.Time) *sensors.Message {
				return new(sensors.Message)
			}
		})
		for i := range b.reading {
			b.reading[i].most /= 4
		}
		const n = 20
		ended := make(chan error, n)
		payload := strings.Repeat("y", length)
		for i := range n {
			w := dial(t, b, login{id: fmt.Sprint(i), clean: true})
			go func() {
				body := append(append(str(nil, "x"), 0, 1), payload...)
				_, err := w.nc.Write(append(mqttwire.AppendHeader(nil, typePublish<<4|2, len(body)), body...))
				kind, _, err2 := w.tryRead()
				for ; kind == typePingresp && err2 == nil; kind, _, err2 = w.tryRead() {
				}
				if kind != typePuback {
					err2 = errors.Join(err2, errors.New("no PUBACK"))
				}
				ended <- errors.Join(err, err2)
			}()
		}
		for range n {
			if err := <-ended; err != nil && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
		await(t, func() bool { bytes, _ := b.reading.held(); return bytes == 0 })
	}
}

// A client that is silent after a large message costs what a client costs.
func TestAnIdleConnectionKeepsNoPacket(t *testing.T) {
	b := start(t, autoDisk(t, 0), func(c *Config) {
		c.Decode = func(_, _, _ string, _ lightchain.Flags, _ []byte, _ time.Time) *sensors.Message {
			return new(sensors.Message)
		}
	})
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	payload := strings.Repeat("y", 4<<20)
	before := heap()
	for i, v5 := range []bool{false, true, false, true, false, true} {
		w := dial(t, b, login{id: fmt.Sprint(i), clean: true, v5: v5, will: "x " + payload[:60_000]})
		w.publish(1, 1, "x", payload)
		w.wants("PUBACK 1")
	}
	await(t, func() bool { return heap() < before+len(payload) })
}
