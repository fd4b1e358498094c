package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// What the judge must notice is planted with the programs as they are: by a network that lies, and by a disk that forgets
// everything behind a moment, the head mark included, which no program can notice.

func TestJudgeNoticesAGroupThatWasAcknowledgedAndDropped(t *testing.T) {
	g := planted(t)
	address := liar(t)
	p := newPublisher(address, "line", 1, g.ledger.acknowledge)
	p.run(t.Context(), 7)
	o := verdict(t, g)
	if o.lost != 7 || o.untold != 7 || len(o.forks) > 0 || !o.failed() {
		t.Errorf("7 messages were acknowledged and dropped: %v", o)
	}
}

func TestJudgeNoticesAHeightUsedTwice(t *testing.T) {
	g := planted(t)
	before, err := g.copyOf()
	ok(t, err)
	defer before.remove()
	goOn(t, g)
	rollBack(t, g, before)
	o := verdict(t, g)
	if len(o.forks) == 0 || o.untold == 0 || !o.failed() {
		t.Errorf("the disk forgot blocks, and their heights were signed again: %v", o)
	}
}

func TestJudgeNoticesDamageSwallowed(t *testing.T) {
	g := planted(t)
	before, err := g.copyOf()
	ok(t, err)
	defer before.remove()
	ok(t, g.start(t.Context(), "--set", "block.interval=1h"))
	ok(t, g.publish(t.Context(), 3, 1))
	g.kill()
	rollBack(t, g, before)
	o := verdict(t, g)
	if o.lost != 3 || o.untold != 3 || len(o.forks) > 0 || !o.failed() {
		t.Errorf("the disk forgot 3 messages of the open block, and nothing is said: %v", o)
	}
}

func TestJudgeIsContentWithASoundChain(t *testing.T) {
	g := planted(t)
	goOn(t, g)
	if o := verdict(t, g); o.failed() || o.lost > 0 {
		t.Error(o)
	}
}

// planted returns a gateway with a small chain that does not run.
func planted(t *testing.T) *gateway {
	t.Helper()
	h := &torture{dir: t.TempDir(), programs: programs(t), native: programs(t)}
	g, err := h.newGateway("")
	ok(t, err)
	t.Cleanup(g.remove)
	_, err = g.must(t.Context(), "init")
	ok(t, err)
	goOn(t, g)
	return g
}

// goOn has the gateway record, and the world see it.
func goOn(t *testing.T, g *gateway) {
	t.Helper()
	ok(t, g.start(t.Context()))
	ok(t, g.publish(t.Context(), 40, 1))
	f, err := g.settle(t.Context())
	ok(t, err)
	g.ledger.see(f)
	ok(t, g.stop())
}

func rollBack(t *testing.T, g, before *gateway) {
	t.Helper()
	ok(t, os.RemoveAll(g.data))
	ok(t, copyTree(before.data, g.data))
}

func verdict(t *testing.T, g *gateway) *outcome {
	t.Helper()
	o := &outcome{class: "judge", group: "planted", name: t.Name()}
	ok(t, g.comeBack(t.Context(), payload(0)))
	f, err := g.settle(t.Context())
	ok(t, err)
	judge(g.ledger, f, o)
	return o
}

// liar acknowledges every message, and keeps none.
func liar(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go lie(conn)
		}
	}()
	return listener.Addr().String()
}

func lie(conn net.Conn) {
	defer conn.Close()
	for in := bufio.NewReader(conn); ; {
		kind, body, err := readPacket(in)
		switch {
		case err != nil:
			return
		case kind>>4 == 1:
			_, _ = conn.Write([]byte{0x20, 2, 0, 0})
		case kind>>4 == 3:
			id := body[2+binary.BigEndian.Uint16(body):][:2]
			_, _ = conn.Write(append([]byte{0x40, 2}, id...))
		}
	}
}

func TestOutcomeCountsOnce(t *testing.T) {
	var r report
	r.add(&outcome{class: "a", group: "x", lost: 2, back: time.Second})
	r.add(&outcome{class: "a", group: "x", lost: 1, untold: 1, stuck: "why"})
	r.add(&outcome{class: "b", group: "y", said: true})
	if !r.print(io.Discard) || len(r.rows) != 2 || *r.rows[0] != (row{class: "a", group: "x", tried: 2, survived: 1, lost: 3, untold: 1, stuck: 1, slowest: time.Second}) {
		t.Errorf("%+v", r.rows[0])
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A port that two trials share has one acknowledge what the other is asked for.
func TestNoTwoTrialsGetOnePort(t *testing.T) {
	seen := map[int]bool{}
	for range 300 {
		port, err := freePort()
		ok(t, err)
		defer freedPort(port)
		if seen[port] {
			t.Fatalf("port %d twice", port)
		}
		seen[port] = true
	}
}
