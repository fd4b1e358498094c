package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/recorder"
	"edgechain.example/build/testenv"
	"edgechain.example/sensors"
	"edgechain.example/sensors/broker"
)

// unlucky is a source that cannot listen so many times, and then does.
func unlucky(times int) (s *source, tries *[]time.Time) {
	ready, tries := make(chan struct{}), new([]time.Time)
	s = &source{name: "broker", ready: ready, listens: true, stats: func() api.Source {
		select {
		case <-ready:
			return api.Source{Name: "broker", Connected: true}
		default:
			return api.Source{Name: "broker"}
		}
	}}
	s.run = func(ctx context.Context, _ sensors.Sink) error {
		if *tries = append(*tries, time.Now()); len(*tries) <= times {
			return &broker.ListenError{Address: "gateway:1883", Err: errors.New("the address is not up")}
		}
		close(ready)
		<-ctx.Done()
		return nil
	}
	return s, tries
}

func TestASourceThatCannotListenIsTriedForEverAndToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := &Agent{log: slog.New(slog.NewTextHandler(&log, nil)), failed: make(chan error, 1), queue: recorder.NewQueue(1<<20, 4)}
		began := time.Now()
		s, tries := unlucky(100)
		if state := s.status().State; state != api.SourceStarting {
			t.Errorf("before it starts it is %s", state)
		}
		a.startSource(t.Context(), s)
		failing := notListening(t.Context(), []*source{s})
		if len(failing) != 1 || failing[0].String() != "the source broker cannot listen: listening on gateway:1883: the address is not up; it is tried again" {
			t.Errorf("%v", failing)
		}
		if st := s.status(); st.State != api.SourceFailing || !st.Since.Equal(began) || !strings.Contains(st.Detail, "not up") {
			t.Errorf("%+v", st)
		}
		<-s.ready
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			if pause := (*tries)[i+1].Sub((*tries)[i]); pause != want*time.Second {
				t.Errorf("pause %d is %v, want %v", i, pause, want*time.Second)
			}
		}
		if told, minutes := strings.Count(log.String(), "failed to listen"), int(time.Since(began)/time.Minute)+1; told < minutes/2 || told > minutes {
			t.Errorf("told %d times in %d minutes", told, minutes)
		}
		if st := s.status(); st.State != api.SourceUp || notListening(t.Context(), []*source{s}) != nil {
			t.Errorf("%+v", st)
		}
		stopSources([]*source{s})
		if len(a.failed) != 0 {
			t.Error(<-a.failed)
		}
	})
}

func TestASourceThatTheSinkRefusesEndsTheAgent(t *testing.T) {
	a := &Agent{log: slog.New(slog.DiscardHandler), failed: make(chan error, 1), queue: recorder.NewQueue(1<<20, 4)}
	s, _ := unlucky(0)
	s.run = func(context.Context, sensors.Sink) error { return recorder.ErrStopping }
	a.startSource(t.Context(), s)
	if err := <-a.failed; !errors.Is(err, recorder.ErrStopping) || !strings.Contains(err.Error(), "source broker") {
		t.Error(err)
	}
}

// The address comes up, or the port is free: the same broker listens.
func TestTheAgentRecordsAndReloadsWhileABrokerCannotListen(t *testing.T) {
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := quickConfig(t)
	a := startAgent(t, c)
	next := *c
	next.Broker.Enabled, next.Broker.AllowAnonymous, next.Broker.Listen = true, true, taken.Addr().String()
	reloaded, err := a.Reload(&next)
	if err != nil || len(reloaded.Failing) != 1 {
		t.Fatalf("%+v, %v", reloaded, err)
	}
	if err := a.ready(); err == nil || !strings.Contains(err.Error(), "source broker: failing since ") {
		t.Errorf("it says of its readiness: %v", err)
	}
	awaitBlock(t, a)
	taken.Close()
	await(t, "the broker to listen", func() bool { return a.ready() == nil })
}

// A broker that listens and is to be moved goes on while its new address cannot be had, as if nothing had been asked; where it can
// be, nobody who connects meanwhile is refused. What stays the same is taken over.
func TestTheBrokerListensAnewBeforeItGivesUpTheOld(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := quickConfig(t)
	c.Broker = openBroker()
	c.Broker.Listen = fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	running := a.running()[0]
	client := connect(t, c.Broker.Listen, "press-07")
	next := *c
	next.Block.MaxEntries, next.Broker.WSListen = 7, taken.Addr().String()
	reloaded, err := a.Reload(&next)
	if err == nil || !strings.Contains(err.Error(), "listening on "+next.Broker.WSListen) || !strings.Contains(err.Error(), "the old configuration stays in force") {
		t.Errorf("%+v, %v", reloaded, err)
	}
	if a.running()[0] != running || a.inForce() != c || a.ready() != nil {
		t.Error("something changed")
	}
	client.publish(t, "plant/x", "1")
	taken.Close()
	if reloaded, err := a.Reload(&next); err != nil || len(reloaded.Failing) > 0 {
		t.Fatalf("%+v, %v", reloaded, err)
	}
	connect(t, c.Broker.Listen, "press-08").publish(t, "plant/x", "2")
	conn, err := net.Dial("tcp", next.Broker.WSListen)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	// It is given up when the next one is there.
	last := next
	last.Broker.Listen, last.Broker.WSListen = fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)), ""
	if _, err := a.Reload(&last); err != nil {
		t.Fatal(err)
	}
	connect(t, last.Broker.Listen, "press-09").publish(t, "plant/x", "3")
	for _, old := range []string{c.Broker.Listen, next.Broker.WSListen} {
		if conn, err := net.Dial("tcp", old); err == nil {
			conn.Close()
			t.Errorf("%s is still listened on", old)
		}
	}
}

// A broker that is down, at the start or after a reload, keeps nobody waiting.
func TestReadyIsSignalledThoughABrokerIsDown(t *testing.T) {
	c := quickConfig(t)
	plant := plantAt(&testenv.Broker{Addr: fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))}, "line/#")
	c.MQTT = []MQTTConfig{plant}
	a := startAgent(t, c) // returns when Ready was called
	await(t, "the source to fail", func() bool { return sourceOf(a, "mqtt:plant").State == api.SourceFailing })
	if err := a.ready(); err == nil || !strings.Contains(err.Error(), "source mqtt:plant: failing since ") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("it says of its readiness: %v", err)
	}
	awaitBlock(t, a)
	next := *c
	second := plant
	second.Name = "hall"
	next.MQTT = []MQTTConfig{plant, second}
	if reloaded, err := a.Reload(&next); err != nil || reloaded.Failing != nil {
		t.Errorf("%+v, %v", reloaded, err)
	}
}
