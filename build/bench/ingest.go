package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ingested is what one flood showed.
type ingested struct {
	rate float64       // messages a second
	cpu  time.Duration // of the receiving process, for each message
	lost float64       // part of the messages that never came
	peak uint64        // bytes of memory of the receiving process
}

func (b *bench) ingest(ctx context.Context) error {
	if err := b.ingestEmbedded(ctx); err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	if err := b.ingestMosquitto(ctx); errors.Is(err, errNoMosquitto) {
		b.leftOut("messages through Mosquitto", err)
	} else if err != nil {
		return fmt.Errorf("through Mosquitto: %w", err)
	}
	return nil
}

// ingestEmbedded compares the agent's broker with mochi by itself.
func (b *bench) ingestEmbedded(ctx context.Context) error {
	const block = 5 * time.Millisecond
	for _, c := range []struct {
		conns    int
		qos      byte
		messages int
		goal     target
	}{{16, 1, 300_000, timesAtLeast(0.5)}, {1, 1, 150_000, none()}, {16, 0, 500_000, none()}, {1, 0, 500_000, none()}} {
		name := fmt.Sprintf("embedded broker, QoS %d, %d connections", c.qos, c.conns)
		if c.conns == 1 {
			name = fmt.Sprintf("embedded broker, QoS %d, 1 connection", c.qos)
		}
		var agent, empty, blocking, cpu, emptyCPU, beyond, lost []float64
		for round := range b.rounds {
			f := flood{Conns: c.conns, QoS: c.qos, Messages: b.scaled(c.messages), Window: floodWindow}
			a, err := b.floodAgent(ctx, f)
			if err != nil {
				return fmt.Errorf("agent: %w", err)
			}
			e, err := b.floodMochi(ctx, f, 0)
			if err != nil {
				return fmt.Errorf("mochi: %w", err)
			}
			agent, empty = append(agent, a.rate), append(empty, e.rate)
			cpu, emptyCPU = append(cpu, micros(a.cpu)), append(emptyCPU, micros(e.cpu))
			beyond = append(beyond, micros(a.cpu-e.cpu))
			lost = append(lost, 100*a.lost)
			fmt.Fprintf(b.log, "   %s, round %d: %s/s, %v CPU each; empty hook %s/s, %v CPU each\n", name, round+1, plain(a.rate), a.cpu, plain(e.rate), e.cpu)
			if c.conns == 1 && c.qos == 1 {
				f.Messages = b.scaled(f.Messages) / 200
				bl, err := b.floodMochi(ctx, f, block)
				if err != nil {
					return fmt.Errorf("blocking mochi: %w", err)
				}
				blocking = append(blocking, bl.rate)
			}
		}
		b.compare("ingest", name, "messages/s", agent, "mochi, empty hook", empty, c.goal)
		if len(blocking) > 0 {
			b.compare("ingest", name, "messages/s", agent, "mochi, hook that blocks 5 ms", blocking, timesAtLeast(20))
		}
		// With QoS 1 mochi writes an acknowledgement for each message and we one for many, which pays for the commit; with
		// QoS 0, where nobody acknowledges, the difference is the commit alone.
		b.compare("ingest", name+", CPU", "µs/message", cpu, "mochi, empty hook", emptyCPU, none())
		b.report("ingest", name+", CPU beyond mochi's", "µs/message", beyond, atMost(6))
		if c.qos == 0 {
			b.report("ingest", name+", lost", "%", lost, none())
		}
	}
	return nil
}

// floodAgent floods the embedded broker of an agent with a new chain.
func (b *bench) floodAgent(ctx context.Context, f flood) (r ingested, err error) {
	g, err := b.startGateway(ctx, brokerConfig)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	f.Address = g.broker
	before := cpuTime(g.pid())
	begin := time.Now()
	took, err := f.run(ctx)
	if err != nil {
		return r, fmt.Errorf("%w; %s", err, &g.output)
	}
	came, last, err := awaitCount(ctx, f.Messages, lostAfter, func() (int, error) { return g.entries(ctx) })
	if err != nil {
		return r, err
	}
	if f.QoS == 0 {
		took = last.Sub(begin)
	} else if came < f.Messages {
		return r, fmt.Errorf("%d messages were acknowledged, %d are in the chain", f.Messages, came)
	}
	r.rate = float64(came) / took.Seconds()
	r.cpu = (cpuTime(g.pid()) - before) / time.Duration(f.Messages)
	r.lost = 1 - float64(came)/float64(f.Messages)
	r.peak = memory(g.pid(), "VmHWM")
	return r, nil
}

// floodMochi floods mochi by itself.
func (b *bench) floodMochi(ctx context.Context, f flood, block time.Duration) (r ingested, err error) {
	c, err := b.startChild(ctx, "mochi", mochiTask{block})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	if err := c.hear(&f.Address); err != nil {
		return r, err
	}
	pid := fmt.Sprint(c.cmd.Process.Pid)
	before := cpuTime(pid)
	begin := time.Now()
	took, err := f.run(ctx)
	if err != nil {
		return r, err
	}
	came, last, err := awaitCount(ctx, f.Messages, lostAfter, c.count)
	if err != nil {
		return r, err
	}
	if f.QoS == 0 {
		took = last.Sub(begin)
	}
	r.rate = float64(came) / took.Seconds()
	r.cpu = (cpuTime(pid) - before) / time.Duration(f.Messages)
	return r, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// lostAfter is the time after which what has not come is taken for lost, which is a figure too.
const lostAfter = 2 * time.Second

// awaitCount waits until count has reached want, or nothing more came for a while, and returns what came and when.
func awaitCount(ctx context.Context, want int, quiet time.Duration, count func() (int, error)) (came int, last time.Time, err error) {
	last = time.Now()
	for {
		n, err := count()
		if err != nil {
			return came, last, err
		}
		if n != came {
			came, last = n, time.Now()
		}
		if came >= want || time.Since(last) > quiet {
			return came, last, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return came, last, ctx.Err()
		}
	}
}

// ingestMosquitto compares the agent with an idle subscriber, each alone at a Mosquitto of its own.
func (b *bench) ingestMosquitto(ctx context.Context) error {
	for _, c := range []struct {
		qos      byte
		messages int
		goal     target
	}{{1, 200_000, timesAtLeast(0.9)}, {0, 400_000, none()}} {
		name := fmt.Sprintf("through Mosquitto, QoS %d", c.qos)
		var agent, idle, cpu, idleCPU, lost, idleLost []float64
		for round := range b.rounds {
			f := flood{Conns: 4, QoS: c.qos, Messages: b.scaled(c.messages), Window: floodWindow}
			a, err := b.throughMosquitto(ctx, f, b.subscribeAgent)
			if err != nil {
				return fmt.Errorf("agent: %w", err)
			}
			i, err := b.throughMosquitto(ctx, f, b.subscribeIdle)
			if err != nil {
				return fmt.Errorf("idle subscriber: %w", err)
			}
			agent, idle = append(agent, a.rate), append(idle, i.rate)
			cpu, idleCPU = append(cpu, micros(a.cpu)), append(idleCPU, micros(i.cpu))
			lost, idleLost = append(lost, 100*a.lost), append(idleLost, 100*i.lost)
			fmt.Fprintf(b.log, "   %s, round %d: %s/s, idle subscriber %s/s\n", name, round+1, plain(a.rate), plain(i.rate))
		}
		b.compare("ingest", name, "messages/s", agent, "idle subscriber", idle, c.goal)
		b.compare("ingest", name+", CPU of the subscriber", "µs/message", cpu, "idle subscriber", idleCPU, none())
		b.report("ingest", name+", lost", "%", lost, none())
		b.report("ingest", name+", lost by the idle subscriber", "%", idleLost, none())
	}
	return nil
}

// subscriber is one that counts.
type subscriber struct {
	pid   string
	count func() (int, error)
	close func() error
}

func (b *bench) subscribeAgent(ctx context.Context, address string, qos byte) (s subscriber, err error) {
	g, err := b.startGateway(ctx, fmt.Sprintf(mqttConfig, address, qos))
	if err != nil {
		return s, err
	}
	return subscriber{g.pid(), func() (int, error) { return g.entries(ctx) }, g.close}, nil
}

func (b *bench) subscribeIdle(ctx context.Context, address string, qos byte) (s subscriber, err error) {
	c, err := b.startChild(ctx, "subscriber", subscriberTask{address, qos})
	if err != nil {
		return s, err
	}
	var ready bool
	if err := c.hear(&ready); err != nil {
		return s, err
	}
	return subscriber{fmt.Sprint(c.cmd.Process.Pid), c.count, c.end}, nil
}

func (b *bench) throughMosquitto(ctx context.Context, f flood, subscribe func(context.Context, string, byte) (subscriber, error)) (r ingested, err error) {
	m, err := b.startMosquitto(ctx, 10_000)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	s, err := subscribe(ctx, m.address, f.QoS)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	f.Address = m.address
	before := cpuTime(s.pid)
	begin := time.Now()
	published := make(chan error, 1)
	go func() {
		_, err := f.run(ctx)
		published <- err
	}()
	came, last, err := awaitCount(ctx, f.Messages, lostAfter, s.count)
	if err := errors.Join(err, <-published); err != nil {
		return r, err
	}
	r.rate = float64(came) / last.Sub(begin).Seconds()
	r.cpu = (cpuTime(s.pid) - before) / time.Duration(max(1, came))
	r.lost = 1 - float64(came)/float64(f.Messages)
	r.peak = memory(s.pid, "VmHWM")
	return r, nil
}
