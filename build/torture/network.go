package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// network puts bad networks and bad brokers before an agent that subscribes. What the broker has acknowledged to the publisher
// must come to be in the chain, or the chain must say that something is missing.
func (t *torture) network(ctx context.Context) error {
	var trials []trial
	rounds := 1
	if !t.short {
		rounds = 5
	}
	for round := range rounds {
		for _, s := range []struct {
			name       string
			persistent bool
			disturb    func(*lineUp, context.Context)
		}{
			{"half-open connections", true, (*lineUp).halfOpen},
			{"broker killed again and again, with persistence", true, (*lineUp).restart},
			{"broker killed again and again, without persistence", false, (*lineUp).restart},
			{"everything delivered twice", true, (*lineUp).double},
			{"one client id twice", true, (*lineUp).twin},
			{"an aggregator that never answers", true, nil},
		} {
			trials = append(trials, trial{class: "network", group: s.name, name: fmt.Sprintf("round %d", round+1),
				run: func(ctx context.Context, o *outcome) { t.lineUp(ctx, s.persistent, s.disturb, o) }})
		}
	}
	return t.each(ctx, trials)
}

// A lineUp is a publisher, a broker, a network, and an agent that subscribes.
type lineUp struct {
	broker *mosquitto
	proxy  *proxy
	g      *gateway
}

const subscribing = `
[[mqtt]]
name = "line"
servers = ["tcp://%s"]
client_id = "gateway"
keep_alive = "5s"
connect_timeout = "2s"
[[mqtt.subscribe]]
topics = ["torture/#"]
qos = 1
`

func (t *torture) lineUp(ctx context.Context, persistent bool, disturb func(*lineUp, context.Context), o *outcome) {
	harness := func(err error) bool {
		if err != nil {
			o.stuck = "the harness: " + err.Error()
		}
		return err != nil
	}
	l := &lineUp{}
	var err error
	if l.broker, err = t.newMosquitto(ctx, persistent); harness(err) {
		return
	}
	defer l.broker.remove()
	if l.proxy, err = newProxy(l.broker.address()); harness(err) {
		return
	}
	defer l.proxy.close()
	extra := fmt.Sprintf(subscribing, l.proxy.address())
	if disturb == nil {
		n, err := t.newNode(ctx, l.broker.address())
		if err == nil {
			err = n.launch()
		}
		if harness(err) {
			return
		}
		defer n.remove()
		_ = n.process.cmd.Process.Signal(syscall.SIGSTOP)
		extra += n.followedBy(l.broker.address())
	}
	if l.g, err = t.newGateway(extra); harness(err) {
		return
	}
	defer l.g.remove()
	if _, err := l.g.must(ctx, "init"); harness(err) {
		return
	}
	if harness(l.g.start(ctx)) {
		return
	}
	if harness(await(ctx, "the agent subscribes", l.g.process, func() bool {
		s, err := l.g.status(ctx)
		if err != nil {
			return false
		}
		for _, source := range s.Live.Sources {
			if !source.Connected {
				return false
			}
		}
		return true
	})) {
		return
	}
	messages := 400
	if t.short {
		messages = 150
	}
	disturbing, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	if disturb != nil {
		others.Go(func() { disturb(l, disturbing) })
	}
	p := newPublisher(l.broker.address(), "line", 1, l.g.ledger.acknowledge)
	p.pace = 10 * time.Millisecond
	publishing, cancel := context.WithTimeout(ctx, 2*patience)
	p.run(publishing, messages)
	failed := publishing.Err()
	cancel()
	stop()
	others.Wait()
	if harness(failed) {
		return
	}
	l.proxy.heal()
	began := time.Now()
	if err := l.g.comeBack(ctx, payload(0)); err != nil {
		o.stuck = err.Error()
		return
	}
	var f *found
	for deadline := time.Now().Add(patience); ctx.Err() == nil; sleep(ctx, 100*time.Millisecond) {
		if f, err = l.g.look(ctx, 0, 0); err != nil {
			o.stuck = err.Error()
			return
		}
		l.g.ledger.mu.Lock()
		l.g.ledger.chain = f.chain
		l.g.ledger.mu.Unlock()
		gone, _ := missing(l.g.ledger, f)
		if len(gone) == 0 || time.Now().After(deadline) || !persistent && f.gaps > 0 && time.Since(began) > 10*time.Second {
			break
		}
	}
	o.back = time.Since(began)
	judge(l.g.ledger, f, o)
	if f.gaps > 0 {
		o.notes = append(o.notes, fmt.Sprintf("%d entries agent:gap without a number", f.gaps))
		o.untold = 0 // how many a broker has lost, nobody knows
	}
}

// halfOpen takes the network away under connections that stand, again and again: nothing is closed, nothing comes through.
func (l *lineUp) halfOpen(ctx context.Context) {
	for sleep(ctx, 700*time.Millisecond) {
		l.proxy.freeze()
	}
}

func (l *lineUp) restart(ctx context.Context) {
	for sleep(ctx, 600*time.Millisecond) {
		l.broker.process.kill()
		sleep(ctx, 100*time.Millisecond)
		_ = l.broker.start(context.WithoutCancel(ctx))
	}
}

func (l *lineUp) double(ctx context.Context) {
	l.proxy.twice.Store(true)
	l.proxy.heal() // connections from now on
	<-ctx.Done()
}

// twin connects with the agent's client id again and again, as a copied gateway does.
func (l *lineUp) twin(ctx context.Context) {
	for sleep(ctx, 300*time.Millisecond) {
		conn, err := net.Dial("tcp", l.broker.address())
		if err != nil {
			continue
		}
		_, _ = conn.Write(connectPacket("gateway", false))
		sleep(ctx, 50*time.Millisecond)
		conn.Close()
	}
}

// A proxy is the network between an agent and its broker.
type proxy struct {
	listener net.Listener
	to       string
	twice    atomic.Bool // messages of the broker arrive twice

	mu     sync.Mutex
	conns  map[net.Conn]bool
	frozen map[net.Conn]bool // nothing comes through any more
	lines  sync.WaitGroup
}

func newProxy(to string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, to: to, conns: map[net.Conn]bool{}, frozen: map[net.Conn]bool{}}
	p.lines.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.lines.Go(func() { p.line(conn) })
		}
	})
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.heal()
	p.lines.Wait()
}

// freeze takes the network away under all connections that stand.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		p.frozen[conn] = true
	}
}

// heal closes all connections: new ones are sound.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *proxy) passes(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.frozen[conn]
}

// line carries one connection.
func (p *proxy) line(agent net.Conn) {
	defer agent.Close()
	broker, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer broker.Close()
	p.mu.Lock()
	p.conns[agent] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, agent)
		delete(p.frozen, agent)
		p.mu.Unlock()
	}()
	twice := p.twice.Load()
	repeated := &ids{open: map[uint16]int{}}
	up := make(chan struct{})
	go func() {
		defer close(up)
		p.carry(agent, agent, broker, func(kind byte, body []byte) int {
			if twice && kind>>4 == 4 && repeated.second(binary.BigEndian.Uint16(body)) {
				return 0 // the broker has sent it once
			}
			return 1
		})
		broker.Close()
	}()
	p.carry(agent, broker, agent, func(kind byte, body []byte) int {
		if twice && kind>>4 == 3 && kind&6 == 2 {
			repeated.add(binary.BigEndian.Uint16(body[2+binary.BigEndian.Uint16(body):]))
			return 2
		}
		return 1
	})
	if !p.passes(agent) { // neither end hears that the other has gone
		buffer := make([]byte, 1024)
		for {
			if _, err := agent.Read(buffer); err != nil {
				break
			}
		}
	}
	agent.Close()
	<-up
}

// carry passes packets on, each as often as times says, until the connection is frozen or ends.
func (p *proxy) carry(line, from, to net.Conn, times func(kind byte, body []byte) int) {
	for in := bufio.NewReader(from); ; {
		kind, body, err := readPacket(in)
		if err != nil {
			return
		}
		if !p.passes(line) {
			_, _ = io.Copy(io.Discard, in)
			return
		}
		for range times(kind, body) {
			if _, err := to.Write(packet(kind, body)); err != nil {
				return
			}
		}
	}
}

// ids are those of messages that arrived twice, and are acknowledged twice.
type ids struct {
	mu   sync.Mutex
	open map[uint16]int
}

func (i *ids) add(id uint16) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open[id] = 2
}

// second tells whether it is the second acknowledgement of a message.
func (i *ids) second(id uint16) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open[id]--
	return i.open[id] == 0
}
