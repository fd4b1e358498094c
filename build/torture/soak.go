package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What must stay as it is while the agent runs for long.
var flat = []string{"process_resident_memory_bytes", "go_goroutines", "process_open_fds", "edgeagent_store_bytes"}

// soak records 500 messages a second for long, with a kill a minute, retention and changes of key, and looks whether anything
// grows.
func (t *torture) soak(ctx context.Context) error {
	total, life := t.duration, time.Minute
	switch {
	case t.short:
		total, life = 6*time.Second, 2*time.Second
	case total == 0:
		total = 30 * time.Minute
	}
	k, err := t.newKiller(ctx, 0)
	if err != nil {
		return err
	}
	defer k.remove()
	k.random = rand.New(rand.NewPCG(t.seed, 500))
	if err := k.g.start(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for line := range 5 {
		p := newPublisher(k.g.address(), fmt.Sprintf("line-%d", line), 1+line%2, k.g.ledger.acknowledge)
		p.pace = 10 * time.Millisecond
		n := 0
		p.next = func() string { n++; return padded(n, 300) }
		others.Go(func() { p.run(running, 0) })
	}
	others.Go(func() { k.watch(running) })
	var lives []map[string]float64
	for began := time.Now(); time.Since(began) < total && ctx.Err() == nil; {
		sleep(ctx, life/2)
		_, _, _ = output(ctx, k.g.command("key", "rotate"))
		sleep(ctx, life/2)
		if now := k.g.metrics(ctx); now != nil {
			lives = append(lives, now)
		}
		k.g.kill()
		t.try(ctx, trial{class: "soak", group: "500 a second", name: fmt.Sprintf("life %d", len(lives)), run: k.judge})
	}
	stop()
	others.Wait()
	t.try(ctx, trial{class: "soak", group: "whole chain", name: fmt.Sprintf("after %d lives", len(lives)), run: func(ctx context.Context, o *outcome) {
		k.judgeAll(ctx, o)
		if !t.short { // too short to tell
			grown(lives, o)
		}
	}})
	return nil
}

// grown notes what is larger in the last third of the lives than in the first by more than what comes and goes.
func grown(lives []map[string]float64, o *outcome) {
	third := len(lives) / 3
	if third < 2 {
		return
	}
	for _, name := range flat {
		early, late := median(lives[:third], name), median(lives[len(lives)-third:], name)
		o.notes = append(o.notes, fmt.Sprintf("%s from %.0f to %.0f", name, early, late))
		if late > 1.5*early && name != "edgeagent_store_bytes" || name == "edgeagent_store_bytes" && late > 3*early {
			o.stuck = name + " grows"
		}
	}
}

func median(lives []map[string]float64, name string) float64 {
	var values []float64
	for _, l := range lives {
		values = append(values, l[name])
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// metrics returns what the running agent measures, nil if it does not answer.
func (g *gateway) metrics(ctx context.Context) map[string]float64 {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", g.socket())
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway/metrics", nil)
	if err != nil {
		return nil
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if name, value, found := strings.Cut(lines.Text(), " "); found && slices.Contains(flat, name) {
			values[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return values
}
