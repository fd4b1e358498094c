// Package nats_test holds the MQTT connection to a broker that grants shared subscriptions and then delivers nothing.
// It is a module of its own, so that nothing else depends on that broker.
package nats_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/mqttlink"
)

// patience is for a machine with more to do than the test; what is awaited is noticed at once.
const patience = 5 * time.Minute

func startNATS(t *testing.T) (address string) {
	t.Helper()
	options := &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT},
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("nats-server is not ready")
	}
	return fmt.Sprintf("tcp://127.0.0.1:%d", options.MQTT.Port) // the server has put there the one that it took
}

// connect connects a client that hears what is published below a filter.
func connect(t *testing.T, broker, id, filter string, hear func(payload string)) *mqttlink.Link {
	t.Helper()
	l, err := mqttlink.New(mqttlink.Config{
		Config:       mqttconn.Config{Name: "nats", ClientID: id, Servers: []mqttconn.Server{mqttconn.Server(broker)}},
		Options:      mqttconn.Options{BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond},
		CleanSession: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Subscribe([]string{filter}, func(m headersync.Message) {
		m.Done()
		hear(string(m.Payload))
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for deadline := time.Now().Add(patience); !l.Status().Connected; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no connection: %s", l.Status().LastError)
		}
	}
	return l
}

func TestASharedSubscriptionThatDeliversNothingIsFoundOut(t *testing.T) {
	broker := startNATS(t)
	plain, delivered := make(chan string, 16), make(chan string, 16)
	l := connect(t, broker, "probe", "edgechain/v1/+/head", func(payload string) { plain <- payload })
	witness := connect(t, broker, "witness", "edgechain/v1/probe/agg-1/#", func(payload string) { delivered <- payload })
	await := func(what string, from <-chan string, want string) {
		t.Helper()
		select {
		case got := <-from:
			if got != want {
				t.Errorf("%s: %q came, want %q", what, got, want)
			}
		case <-time.After(patience):
			t.Errorf("%s: nothing came", what)
		}
	}
	// The probe is over once the broker has delivered it, and what came after it, to somebody who subscribed plainly.
	probing, over := context.WithCancel(t.Context())
	defer over()
	go func() {
		defer over()
		await("the probe", delivered, "probe")
		if err := witness.Publish("edgechain/v1/probe/agg-1/after", []byte("after"), false); err != nil {
			t.Error(err)
		}
		await("after the probe", delivered, "after")
	}()
	works, err := l.ProbeShared(probing, "edgechain-agg-1", "edgechain/v1/probe/agg-1")
	if works || err != nil {
		t.Errorf("the shared subscription works: %t, %v", works, err)
	}
	<-probing.Done()
	// What is subscribed to plainly arrives all the same.
	if err := l.Publish("edgechain/v1/c/head", []byte("head"), false); err != nil {
		t.Fatal(err)
	}
	await("a head", plain, "head")
}
