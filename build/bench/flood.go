package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// flood publishes as fast as it is let to. It writes packets that were encoded before, since a client library would
// cost more than the brokers that are to be measured.
type flood struct {
	Address  string
	Conns    int
	QoS      byte
	Messages int // over all connections
	Window   int // messages of a connection that may be unacknowledged

	Every time.Duration // between two messages of a connection; 0: as fast as the window allows
}

const floodWindow = 500

// variety is how many different messages a connection has: few where its own memory must not count, else so many that no
// compressor remembers them when they come again.
func (f flood) variety() int {
	if f.Every > 0 {
		return stagingPool
	}
	return 500
}

// floodConn is one device.
type floodConn struct {
	nc       net.Conn
	in       *bufio.Reader
	packets  []byte // several hundred PUBLISH packets, one behind the other
	starts   []int  // of each packet, and the end of the last
	ids      []int  // of each packet id, for QoS 1
	messages int
	begin    time.Time // of sending one by one

	acked atomic.Int64
	moved chan struct{} // told when acked has grown
}

// run publishes, and with QoS 1 waits for every acknowledgement; with QoS 0 it returns when all is written. The
// connections are made before the clock starts.
func (f flood) run(ctx context.Context) (took time.Duration, err error) {
	conns := make([]*floodConn, f.Conns)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.nc.Close()
			}
		}
	}()
	for i := range conns {
		messages := f.Messages / f.Conns
		if i < f.Messages%f.Conns {
			messages++
		}
		if conns[i], err = f.connect(i, messages); err != nil {
			return 0, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.nc.Close()
		}
	})
	defer stop()
	begin := time.Now()
	var wg sync.WaitGroup
	failed := make(chan error, 2*f.Conns)
	for _, c := range conns {
		wg.Go(func() { failed <- c.write(f) })
		if f.QoS > 0 {
			wg.Go(func() { failed <- c.read() })
		}
	}
	wg.Wait()
	took = time.Since(begin)
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return took, errors.Join(err, ctx.Err())
}

func (f flood) connect(n, messages int) (*floodConn, error) {
	nc, err := net.Dial("tcp", f.Address)
	if err != nil {
		return nil, err
	}
	device := fmt.Sprintf("press-%02d", n)
	c := &floodConn{nc: nc, in: bufio.NewReaderSize(nc, 64<<10), messages: messages, moved: make(chan struct{}, 1)}
	c.encode(machineMessages(f.variety(), device), f.QoS)
	connect := []byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0} // 3.1.1, clean session, no keep-alive
	connect = appendText(connect, device)
	if _, err := nc.Write(append([]byte{0x10, byte(len(connect))}, connect...)); err != nil {
		return nil, err
	}
	var answer [4]byte
	if _, err := io.ReadFull(c.in, answer[:]); err != nil {
		return nil, err
	}
	if answer != [4]byte{0x20, 2, 0, 0} {
		return nil, fmt.Errorf("CONNECT is answered by % x", answer)
	}
	return c, nil
}

// encode makes the PUBLISH packets.
func (c *floodConn) encode(messages []message, qos byte) {
	for _, m := range messages {
		body := appendText(nil, m.topic)
		id := len(body)
		if qos > 0 {
			body = append(body, 0, 0)
		}
		body = append(body, m.payload...)
		c.starts = append(c.starts, len(c.packets))
		c.packets = append(c.packets, 0x30|qos<<1)
		c.packets = binary.AppendUvarint(c.packets, uint64(len(body))) // MQTT counts lengths as LEB128 does
		c.ids = append(c.ids, len(c.packets)+id)
		c.packets = append(c.packets, body...)
	}
	c.starts = append(c.starts, len(c.packets))
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// write sends the messages in runs, each with one system call, as the window allows.
func (c *floodConn) write(f flood) error {
	const most = 128
	for sent := 0; sent < c.messages; {
		at := sent % (len(c.starts) - 1)
		n := min(most, c.messages-sent, len(c.starts)-1-at)
		if f.Every > 0 {
			n = c.awaitDue(n, sent, f.Every)
		}
		if f.QoS > 0 {
			var err error
			if n, err = c.await(n, sent, f.Window); err != nil {
				return err
			}
			for i := range n {
				binary.BigEndian.PutUint16(c.packets[c.ids[at+i]:], uint16((sent+i)%65_535+1))
			}
		}
		if _, err := c.nc.Write(c.packets[c.starts[at]:c.starts[at+n]]); err != nil {
			return err
		}
		sent += n
	}
	return nil
}

// awaitDue waits until the next message is due, and returns how many of n are.
func (c *floodConn) awaitDue(n, sent int, every time.Duration) int {
	if c.begin.IsZero() {
		c.begin = time.Now()
	}
	time.Sleep(time.Until(c.begin.Add(time.Duration(sent) * every)))
	due := int(time.Since(c.begin)/every) + 1 - sent
	return max(1, min(n, due))
}

// await waits until a good part of n messages may be sent, and returns how many.
func (c *floodConn) await(n, sent, window int) (int, error) {
	for {
		acked := c.acked.Load()
		if acked < 0 {
			return 0, errors.New("the connection ended")
		}
		if room := int(acked) + window - sent; room >= min(n, window/4) {
			return min(n, room), nil
		}
		<-c.moved
	}
}

// read counts acknowledgements: PUBACK packets of four bytes, and nothing else.
func (c *floodConn) read() error {
	for acked := 0; acked < c.messages; {
		b, err := c.in.Peek(4)
		if err == nil {
			b, err = c.in.Peek(c.in.Buffered() / 4 * 4)
		}
		if err != nil {
			c.acked.Store(-1)
			tell(c.moved)
			return fmt.Errorf("after %d acknowledgements: %w", acked, err)
		}
		for i := 0; i < len(b); i += 4 {
			if id := binary.BigEndian.Uint16(b[i+2:]); b[i] != 0x40 || b[i+1] != 2 || id != uint16((acked+i/4)%65_535+1) {
				c.nc.Close()
				c.acked.Store(-1)
				tell(c.moved)
				return fmt.Errorf("acknowledgement %d is % x", acked+i/4, b[i:i+4])
			}
		}
		acked += len(b) / 4
		_, _ = c.in.Discard(len(b))
		c.acked.Store(int64(acked))
		tell(c.moved)
	}
	return nil
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
