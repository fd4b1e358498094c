package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// A publisher is an MQTT 3.1.1 client that publishes until it is told to stop, each message once for good: what was not
// acknowledged is repeated, with the same packet id and DUP, as soon as the broker is there again. Unlike a finished client
// library it tells exactly what was acknowledged, and never takes a message back.
type publisher struct {
	address, clientID string
	qos               int
	window            int                     // messages that wait for their acknowledgement, at most
	pace              time.Duration           // between two messages; 0: as fast as they are acknowledged
	next              func() (payload string) // the next message
	acknowledged      func(payload string)    // told once for each
	clean             bool                    // a session that the broker does not keep

	mu      sync.Mutex
	room    sync.Cond // on mu: a message was acknowledged, or the connection ended
	waiting []pending // in the order in which they were sent first
	lastID  uint16
	count   int // acknowledged
}

type pending struct {
	id       uint16
	payload  string
	received bool // PUBREC came: the message is the broker's, and its id not free yet
}

const topic = "torture/line"

// payload makes a message that no other is like, and in whose bytes nothing repeats, so that it is found on a disk by looking.
func payload(n int) string {
	id := make([]byte, 24)
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	return fmt.Sprintf(`{"n":%d,"id":"%s"}`, n, base64.RawURLEncoding.EncodeToString(id))
}

// idOf returns the part of a payload by which it is found on a disk, nil if it is none of the harness.
func idOf(payload string) []byte {
	var p struct{ ID string }
	if json.Unmarshal([]byte(payload), &p) != nil || len(p.ID) != 32 {
		return nil
	}
	return []byte(p.ID)
}

func newPublisher(address, clientID string, qos int, acknowledged func(string)) *publisher {
	n := 0
	p := &publisher{address: address, clientID: clientID, qos: qos, window: 20, next: func() string { n++; return payload(n) },
		acknowledged: acknowledged}
	p.room.L = &p.mu
	return p
}

// run publishes until ctx ends or total messages are acknowledged, whatever happens to the broker; 0 is without end.
func (p *publisher) run(ctx context.Context, total int) {
	if p.room.L == nil {
		p.room.L = &p.mu
	}
	for ctx.Err() == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", p.address)
		if err == nil {
			closed := context.AfterFunc(ctx, func() { conn.Close() })
			err = p.converse(ctx, conn, total)
			closed()
			conn.Close()
		}
		if err == nil {
			return
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// total returns how many messages were acknowledged.
func (p *publisher) total() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// converse holds one connection. It returns nil when all is acknowledged.
func (p *publisher) converse(ctx context.Context, conn net.Conn, total int) error {
	in := bufio.NewReader(conn)
	conn.SetReadDeadline(time.Now().Add(patience)) // a program that is stopped may take the connection and say nothing
	if _, err := conn.Write(connectPacket(p.clientID, p.clean)); err != nil {
		return err
	}
	kind, body, err := readPacket(in)
	if err != nil {
		return err
	}
	if kind>>4 != 2 || len(body) != 2 || body[1] != 0 {
		return fmt.Errorf("the broker refuses the connection: %x %x", kind, body)
	}
	conn.SetReadDeadline(time.Time{})
	p.mu.Lock()
	// What the broker has taken over is its own, whether or not it still knows the id.
	p.waiting = slices.DeleteFunc(p.waiting, func(w pending) bool { return w.received })
	repeat := slices.Clone(p.waiting)
	p.mu.Unlock()

	broken := false // guarded by mu
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.listen(conn, in)
		conn.Close()
		p.mu.Lock()
		broken = true
		p.room.Broadcast()
		p.mu.Unlock()
	}()
	defer func() {
		conn.Close()
		<-ended
	}()
	for _, w := range repeat {
		if _, err := conn.Write(publishPacket(topic, w.id, p.qos, true, w.payload)); err != nil {
			return err
		}
	}
	for {
		p.mu.Lock()
		for !broken && len(p.waiting) >= p.window || total > 0 && p.count+len(p.waiting) >= total && len(p.waiting) > 0 && !broken {
			p.room.Wait()
		}
		if broken {
			p.mu.Unlock()
			return io.ErrUnexpectedEOF
		}
		if total > 0 && p.count >= total {
			p.mu.Unlock()
			return nil
		}
		w := pending{id: p.freeID(), payload: p.next()}
		p.waiting = append(p.waiting, w)
		p.mu.Unlock()
		if _, err := conn.Write(publishPacket(topic, w.id, p.qos, false, w.payload)); err != nil {
			return err
		}
		if p.pace > 0 {
			sleep(ctx, p.pace)
		}
	}
}

// freeID returns an id that no message has which waits. mu is held.
func (p *publisher) freeID() uint16 {
	for {
		if p.lastID++; p.lastID > 0 && !slices.ContainsFunc(p.waiting, func(w pending) bool { return w.id == p.lastID }) {
			return p.lastID
		}
	}
}

// listen takes acknowledgements until the connection ends.
func (p *publisher) listen(conn net.Conn, in *bufio.Reader) error {
	for {
		kind, body, err := readPacket(in)
		if err != nil {
			return err
		}
		if len(body) < 2 {
			return fmt.Errorf("a packet that is not expected: %x %x", kind, body)
		}
		id := binary.BigEndian.Uint16(body)
		switch kind >> 4 {
		case 4: // PUBACK
			p.settle(id, true, true)
		case 5: // PUBREC: from here on the message is the broker's
			p.settle(id, true, false)
			if _, err := conn.Write(packet(0x62, binary.BigEndian.AppendUint16(nil, id))); err != nil {
				return err
			}
		case 7: // PUBCOMP
			p.settle(id, false, true)
		default:
			return fmt.Errorf("a packet that is not expected: %x %x", kind, body)
		}
	}
}

func (p *publisher) settle(id uint16, acknowledged, free bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.waiting, func(w pending) bool { return w.id == id })
	if i < 0 {
		return
	}
	w := &p.waiting[i]
	if acknowledged && !w.received {
		w.received = true
		p.count++
		p.acknowledged(w.payload)
	}
	if free {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.room.Broadcast()
}

// publishOnce has one message acknowledged with QoS 1, or says why it is not.
func publishOnce(ctx context.Context, address, payload string, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	closed := context.AfterFunc(ctx, func() { conn.Close() })
	defer closed()
	in := bufio.NewReader(conn)
	if _, err := conn.Write(append(connectPacket("probe", true), publishPacket(topic, 1, 1, false, payload)...)); err != nil {
		return err
	}
	for _, want := range []byte{2, 4} {
		kind, body, err := readPacket(in)
		if err != nil {
			return err
		}
		if kind>>4 != want {
			return fmt.Errorf("a packet that is not expected: %x %x", kind, body)
		}
	}
	return nil
}

func connectPacket(clientID string, clean bool) []byte {
	const keepAlive = 60
	flags := byte(0)
	if clean {
		flags = 2
	}
	body := append(mqttText("MQTT"), 4, flags, 0, keepAlive)
	return packet(0x10, append(body, mqttText(clientID)...))
}

func publishPacket(topic string, id uint16, qos int, dup bool, payload string) []byte {
	kind := 0x30 | byte(qos)<<1
	if dup {
		kind |= 8
	}
	body := mqttText(topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	return packet(kind, append(body, payload...))
}

func mqttText(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func packet(kind byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{kind}, uint64(len(body))), body...)
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

// sleep waits, and reports whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
