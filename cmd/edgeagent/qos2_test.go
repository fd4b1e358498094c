package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A QoS 2 message is in the chain once, though the program is killed between its PUBREC and the PUBREL.
func TestAQoS2MessageIsRecordedOnceThoughTheAgentIsKilled(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "") // with what subscribers find again on disk, as shipped
	g.start()
	dial := func(present byte) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		exchange(t, c, []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 60, 0, 1, 'w'}, []byte{0x20, 2, present, 0})
		return c
	}
	pubrel, pubcomp := []byte{0x62, 2, 0, 7}, []byte{0x70, 2, 0, 7}
	publish := func(dup byte) []byte { return []byte{0x34 | dup, 9, 0, 3, 'a', '/', 'b', 0, 7, '4', '2'} }
	c := dial(0)
	exchange(t, c, []byte{0x82, 6, 0, 1, 0, 1, 'x', 0}, []byte{0x90, 3, 0, 1, 0}) // with it the session is on disk
	for range 3 {
		exchange(t, c, publish(0), []byte{0x50, 2, 0, 7})
		g.kill()
		g.start()
		c = dial(1)
		exchange(t, c, publish(8), []byte{0x50, 2, 0, 7})
		exchange(t, c, pubrel, pubcomp)
		g.kill()
		g.start()
		c = dial(1)
		exchange(t, c, pubrel, pubcomp) // the PUBCOMP was lost
	}
	if text := g.must("log", "--raw", "-n", "0"); strings.Count(text, "a/b") != 3 || strings.Contains(text, "redelivered") {
		t.Errorf("expected 3 messages:\n%s", text)
	}
}

func exchange(t *testing.T, c net.Conn, send, want []byte) {
	t.Helper()
	if _, err := c.Write(send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("in answer to %x comes %x (%v), want %x", send, got, err, want)
	}
}
