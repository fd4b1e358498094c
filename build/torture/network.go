package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// network puts bad networks and bad brokers before an agent that subscribes. What the broker has acknowledged to the publisher
// must come to be in the chain, or the chain must say that something is missing. A broker that is killed loses now and then
// what it has acknowledged, which nobody can know: there, what the agent has acknowledged to the broker must be in the chain.
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
			killed     bool
			disturb    func(*lineUp, context.Context)
		}{
			{"half-open connections", true, false, (*lineUp).halfOpen},
			{"broker killed again and again, with persistence", true, true, (*lineUp).restart},
			{"broker killed again and again, without persistence", false, true, (*lineUp).restart},
			{"everything delivered twice", true, false, (*lineUp).double},
			{"one client id twice", true, false, (*lineUp).twin},
			{"an aggregator that never answers", true, false, nil},
		} {
			trials = append(trials, trial{class: "network", group: s.name, name: fmt.Sprintf("round %d", round+1),
				run: func(ctx context.Context, o *outcome) { t.lineUp(ctx, s.persistent, s.killed, s.disturb, o) }})
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

func (t *torture) lineUp(ctx context.Context, persistent, killed bool, disturb func(*lineUp, context.Context), o *outcome) {
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
	f, err := l.delivered(ctx, !persistent)
	if err != nil {
		o.stuck = err.Error()
	}
	if f == nil {
		return
	}
	o.back = time.Since(began)
	if killed {
		o.unknown = l.forgetUntaken(f)
	}
	judge(l.g.ledger, f, o)
	o.lost += o.unknown
	if f.gaps > 0 {
		o.notes = append(o.notes, fmt.Sprintf("%d entries agent:gap without a number", f.gaps))
	}
}

// delivered waits until the agent has recorded what the broker holds for it, and looks: a broker delivers in order, so that
// of messages that are published now one shows that all before it are through. Where the broker forgets its sessions, what
// is missing must be told of as well.
func (l *lineUp) delivered(ctx context.Context, forgets bool) (f *found, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last := map[string]bool{}
	for round := 0; sleep(ctx, 100*time.Millisecond); round++ {
		if round%10 == 0 { // again and again: one that comes before the agent has subscribed again may be lost
			p := payload(0)
			if publishOnce(ctx, l.broker.address(), p, patience) != nil {
				continue
			}
			last[p] = true
		}
		now, err := l.g.look(ctx, 0, 0)
		if err != nil {
			continue
		}
		f = now
		l.g.ledger.mu.Lock()
		l.g.ledger.chain = f.chain
		l.g.ledger.mu.Unlock()
		if !slices.ContainsFunc(f.entries, func(e entry) bool { return last[string(e.Payload)] }) {
			continue
		}
		if gone, _ := missing(l.g.ledger, f); len(gone) == 0 || !forgets || f.gaps > 0 {
			return f, nil
		}
	}
	return f, errors.New("what the broker holds does not come to be recorded, or what it forgot is not told of")
}

// forgetUntaken drops what is missing and was never acknowledged by the agent, and returns how much that is.
func (l *lineUp) forgetUntaken(f *found) (n int) {
	gone, _ := missing(l.g.ledger, f)
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.g.ledger.mu.Lock()
	defer l.g.ledger.mu.Unlock()
	for _, payload := range gone {
		if !l.proxy.taken[payload] {
			delete(l.g.ledger.acked, payload)
			n++
		}
	}
	return n
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
	taken  map[string]bool   // payloads that the agent has acknowledged
	lines  sync.WaitGroup
}

func newProxy(to string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, to: to, conns: map[net.Conn]bool{}, frozen: map[net.Conn]bool{}, taken: map[string]bool{}}
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
	flying := map[uint16]string{} // guarded by p.mu: delivered and not acknowledged
	up := make(chan struct{})
	go func() {
		defer close(up)
		p.carry(agent, agent, broker, func(kind byte, body []byte) int {
			if kind>>4 == 4 {
				p.mu.Lock()
				p.taken[flying[binary.BigEndian.Uint16(body)]] = true
				p.mu.Unlock()
			}
			if twice && kind>>4 == 4 && repeated.second(binary.BigEndian.Uint16(body)) {
				return 0 // the broker has sent it once
			}
			return 1
		})
		broker.Close()
	}()
	p.carry(agent, broker, agent, func(kind byte, body []byte) int {
		if kind>>4 == 3 && kind&6 == 2 {
			at := 2 + int(binary.BigEndian.Uint16(body))
			p.mu.Lock()
			flying[binary.BigEndian.Uint16(body[at:])] = string(body[at+2:])
			p.mu.Unlock()
		}
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
