package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A publisher is an MQTT 3.1.1 client with a persistent session that publishes with QoS 1, each message once for good:
// what was not acknowledged is repeated, with the same packet id and DUP, as soon as the broker is there again. Unlike a
// finished client library it tells exactly what was acknowledged, and never takes a message back.
type publisher struct {
	address  string // host:port
	clientID string
	topic    string
	payloads []string
	window   int // messages that wait for their acknowledgement, at most

	mu    sync.Mutex
	moved sync.Cond // on mu: an acknowledgement came, more is allowed, or the connection ended
	limit int       // so many may be sent
	sent  int       // so many were sent at least once
	acked []bool    // by index
	done  int       // how many of acked are set
	first int       // the lowest index that is not acknowledged

	stopped bool // run has returned
}

func newPublisher(address, clientID, topic string, payloads []string) *publisher {
	p := &publisher{address: address, clientID: clientID, topic: topic, payloads: payloads, window: 100, acked: make([]bool, len(payloads))}
	p.moved.L = &p.mu
	return p
}

// run publishes until all is acknowledged or stop is closed, whatever happens to the broker. It tries again without
// end: the test has the deadline.
func (p *publisher) run(stop <-chan struct{}) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stopped = true
		p.moved.Broadcast()
	}()
	for {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			closed := make(chan struct{})
			go func() {
				select {
				case <-stop:
				case <-closed:
				}
				conn.Close()
			}()
			err = p.converse(conn)
			close(closed)
		}
		if err == nil {
			return
		}
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// allow lets the publisher send its first n messages; before, it sends none.
func (p *publisher) allow(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = min(n, len(p.payloads))
	p.moved.Broadcast()
}

// await returns a channel that is closed once n messages are acknowledged.
func (p *publisher) await(n int) <-chan struct{} {
	reached := make(chan struct{})
	go func() {
		defer close(reached)
		p.mu.Lock()
		defer p.mu.Unlock()
		for p.done < n && !p.stopped {
			p.moved.Wait()
		}
	}()
	return reached
}

// inBackground publishes from a goroutine of its own, as far as the publisher is allowed.
func inBackground(t testing.TB, p *publisher) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		p.run(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// progress returns how many messages are acknowledged.
func (p *publisher) progress() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// promised returns, by index, what was acknowledged, and how many messages were sent.
func (p *publisher) promised() (acked []bool, sent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]bool(nil), p.acked...), p.sent
}

// converse holds one connection. It returns nil when everything is acknowledged.
func (p *publisher) converse(conn net.Conn) error {
	in := bufio.NewReader(conn)
	if _, err := conn.Write(connectPacket(p.clientID)); err != nil {
		return err
	}
	kind, body, err := readPacket(in)
	if err != nil {
		return err
	}
	if kind>>4 != 2 || len(body) != 2 || body[1] != 0 {
		return fmt.Errorf("the broker refuses the connection: %x %x", kind, body)
	}
	ended := make(chan error, 1)
	broken := false // guarded by mu
	go func() {
		err := p.listen(in)
		p.mu.Lock()
		broken = true
		p.moved.Broadcast()
		p.mu.Unlock()
		ended <- err
	}()
	defer func() {
		conn.Close()
		<-ended
	}()

	p.mu.Lock()
	defer p.mu.Unlock()
	next, repeated := p.first, p.sent // from next on, what lies below repeated was sent before
	for p.done < len(p.payloads) {
		switch {
		case broken:
			return io.ErrUnexpectedEOF
		case next < repeated && p.acked[next]:
			next++
		case next < min(p.limit, p.first+p.window):
			i := next
			next++
			p.sent = max(p.sent, next)
			p.mu.Unlock()
			_, err := conn.Write(publishPacket(p.topic, packetID(i), i < repeated, p.payloads[i]))
			p.mu.Lock()
			if err != nil {
				return err
			}
		default:
			p.moved.Wait()
		}
	}
	return nil
}

// listen takes acknowledgements until the connection ends.
func (p *publisher) listen(in *bufio.Reader) error {
	for {
		kind, body, err := readPacket(in)
		if err != nil {
			return err
		}
		if kind != 0x40 || len(body) != 2 { // PUBACK
			return fmt.Errorf("a packet that nobody asked for: %x %x", kind, body)
		}
		id := binary.BigEndian.Uint16(body)
		p.mu.Lock()
		for i := p.first; i < p.sent; i++ { // ids repeat after 65535, but never within the window
			if packetID(i) == id && !p.acked[i] {
				p.acked[i] = true
				p.done++
				break
			}
		}
		for p.first < len(p.acked) && p.acked[p.first] {
			p.first++
		}
		p.moved.Broadcast()
		p.mu.Unlock()
	}
}

func packetID(i int) uint16 { return uint16(i%65535) + 1 }

func connectPacket(clientID string) []byte {
	const noCleanSession, keepAlive = 0, 60
	body := append(mqttText("MQTT"), 4, noCleanSession, 0, keepAlive)
	return packet(0x10, append(body, mqttText(clientID)...))
}

func publishPacket(topic string, id uint16, dup bool, payload string) []byte {
	kind := byte(0x32) // PUBLISH, QoS 1
	if dup {
		kind |= 8
	}
	body := binary.BigEndian.AppendUint16(mqttText(topic), id)
	return packet(kind, append(body, payload...))
}

func mqttText(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func packet(kind byte, body []byte) []byte {
	b := []byte{kind}
	for n := len(body); ; {
		digit := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			b = append(b, digit)
			break
		}
		b = append(b, digit|0x80)
	}
	return append(b, body...)
}

func readPacket(in *bufio.Reader) (kind byte, body []byte, err error) {
	if kind, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	length, err := binary.ReadUvarint(in) // the same encoding as MQTT's
	if err != nil || length > 1<<20 {
		return 0, nil, fmt.Errorf("a packet of %d bytes: %w", length, err)
	}
	body = make([]byte, length)
	_, err = io.ReadFull(in, body)
	return kind, body, err
}

// spectra returns payloads of about 2 KB that do not compress well, and of which no two are the same.
func spectra(n int) (payloads []string) {
	random := rand.NewChaCha8([32]byte{1})
	bins := make([]byte, 1500)
	for i := range n {
		_, _ = random.Read(bins)
		payloads = append(payloads, fmt.Sprintf(`{"count":%d,"spectrum":%q}`, i, base64.StdEncoding.EncodeToString(bins)))
	}
	return payloads
}

// acknowledged waits until the running agent has acknowledged n of the publisher's messages, as long as it goes on.
func (g *gateway) acknowledged(p *publisher, n int) {
	g.t.Helper()
	reached := p.await(n)
	for before := p.progress(); ; {
		select {
		case <-reached:
			return
		case <-g.process.Gone():
			g.t.Fatalf("waiting until %d messages are acknowledged: the agent ended with %v", n, g.process.State())
		case <-time.After(patience):
			done := p.progress()
			if done == before {
				g.t.Fatalf("%d of %d messages are acknowledged, and in %v none more", done, n, patience)
			}
			before = done
		}
	}
}

func count(acked []bool) (n int) {
	for _, a := range acked {
		if a {
			n++
		}
	}
	return n
}
