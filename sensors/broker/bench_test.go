package broker

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// BenchmarkQoS1 publishes messages of 100 bytes, with a window of 500 on each connection: to this broker with a sink that
// commits in groups of up to 1000 after 2 ms, to mochi with a hook that does nothing, and to mochi with a hook that
// blocks for such a commit.
func BenchmarkQoS1(b *testing.B) {
	for _, conns := range []int{1, 16} {
		b.Run(fmt.Sprintf("broker/conns=%d", conns), func(b *testing.B) {
			br := start(b, autoDisk(b, 2*time.Millisecond), nil)
			flood(b, br.Addrs()[0].String(), conns)
		})
		b.Run(fmt.Sprintf("subscribed/conns=%d", conns), func(b *testing.B) {
			br := start(b, autoDisk(b, 2*time.Millisecond), nil)
			w := dial(b, br, login{id: "elsewhere", clean: true})
			w.subscribe(1, "none/+/of/them", 1)
			w.wants("SUBACK 1 1")
			flood(b, br.Addrs()[0].String(), conns)
		})
		b.Run(fmt.Sprintf("empty/conns=%d", conns), func(b *testing.B) {
			flood(b, bareMochi(b, func() {}), conns)
		})
		b.Run(fmt.Sprintf("blocking/conns=%d", conns), func(b *testing.B) {
			flood(b, bareMochi(b, func() { time.Sleep(2 * time.Millisecond) }), conns)
		})
	}
}

type bareHook struct {
	mqtt.HookBase
	publish func()
}

func (*bareHook) ID() string { return "bare" }
func (*bareHook) Provides(call byte) bool {
	return call == mqtt.OnPublish || call == mqtt.OnConnectAuthenticate || call == mqtt.OnACLCheck
}
func (*bareHook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (*bareHook) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }
func (h *bareHook) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.publish()
	return pk, nil
}

func bareMochi(b *testing.B, publish func()) (address string) {
	srv := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = srv.AddHook(&bareHook{publish: publish}, nil)
	}
	if err == nil {
		err = srv.AddListener(listeners.NewNet("tcp", ln))
	}
	if err == nil {
		err = srv.Serve()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// flood publishes b.N messages over conns connections and waits for their acknowledgements.
func flood(b *testing.B, address string, conns int) {
	const window = 500
	body := append(str(nil, "factory/press-07/temperature"), 0, 0)
	id := len(body) - 2
	body = append(body, `{"time":"2013-12-02T21:15:00Z","temperature":73.96732207,"unit":"[degF]","device":"press-07-line-2"}`[:100]...)
	packet := append([]byte{packets.Publish<<4 | 2, byte(len(body))&0x7f | 0x80, byte(len(body) >> 7)}, body...)
	id += 3
	var clients []*wire
	for i := range conns {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		w := connect(b, nc, login{id: fmt.Sprint("bench-", i), clean: true})
		_ = nc.SetDeadline(time.Time{})
		clients = append(clients, w)
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, w := range clients {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		free := make(chan struct{}, window)
		failed := make(chan struct{})
		wg.Go(func() {
			var ack [4]byte
			for range n {
				if _, err := io.ReadFull(w.r, ack[:]); err != nil || ack[0]>>4 != packets.Puback {
					b.Errorf("got % x, %v", ack, err)
					close(failed)
					return
				}
				<-free
			}
		})
		wg.Go(func() {
			out := bufio.NewWriterSize(w.nc, 4096)
			p := append([]byte(nil), packet...)
			for i := range n {
				select {
				case free <- struct{}{}:
				default:
					out.Flush()
					select {
					case free <- struct{}{}:
					case <-failed:
						return
					}
				}
				binary.BigEndian.PutUint16(p[id:], uint16(i%65_535+1))
				_, _ = out.Write(p)
			}
			out.Flush()
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
