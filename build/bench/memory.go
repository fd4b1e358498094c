package main

import (
	"context"
	"fmt"
	"time"
)

// memory measures the agent as it is shipped, with its embedded broker and the machine's own sensors.
func (b *bench) memory(ctx context.Context) error {
	rounds := min(b.rounds, 3)
	var idle, full, after []float64
	for range rounds {
		g, err := b.startGateway(ctx, brokerConfig+"\n[hwmon]\nenabled = true\n")
		if err != nil {
			return err
		}
		const settle = 2 * time.Second
		if !b.short {
			time.Sleep(settle)
		}
		idle = append(idle, float64(memory(g.pid(), "VmRSS"))/1e6)
		f := flood{Address: g.broker, Conns: 16, QoS: 1, Messages: b.scaled(500_000), Window: floodWindow}
		_, err = f.run(ctx)
		full = append(full, float64(memory(g.pid(), "VmHWM"))/1e6)
		after = append(after, float64(memory(g.pid(), "VmRSS"))/1e6)
		if closed := g.close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(b.log, "   idle %.1f MB, at most %.1f MB\n", idle[len(idle)-1], full[len(full)-1])
	}
	b.report("memory", "agent, idle", "MB resident", idle, atMost(30))
	b.report("memory", "agent, 16 connections at full speed, QoS 1, at most", "MB resident", full, atMost(64))
	b.report("memory", "agent, right after that", "MB resident", after, none())
	return nil
}
