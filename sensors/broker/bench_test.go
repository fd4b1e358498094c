package broker

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// BenchmarkQoS1 publishes messages of 100 bytes, with a window of 500 on each connection, with a sink that
// commits in groups of up to 1000 after 2 ms.
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
	}
}

// flood publishes b.N messages over conns connections and waits for their acknowledgements.
func flood(b *testing.B, address string, conns int) {
	const window = 500
	body := append(str(nil, "factory/press-07/temperature"), 0, 0)
	id := len(body) - 2
	body = append(body, `{"time":"2013-12-02T21:15:00Z","temperature":73.96732207,"unit":"[degF]","device":"press-07-line-2"}`[:100]...)
	packet := append([]byte{typePublish<<4 | 2, byte(len(body))&0x7f | 0x80, byte(len(body) >> 7)}, body...)
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
				if _, err := io.ReadFull(w.r, ack[:]); err != nil || ack[0]>>4 != typePuback {
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
