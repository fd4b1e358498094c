// Package nats_test holds the MQTT connection to a broker that grants shared subscriptions and then delivers nothing.
// It is a module of its own, so that nothing else depends on that broker.
package nats_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"edgechain/mqttconn"
	headersync "edgechain/sync"
	"edgechain/sync/mqttlink"
)

func startNATS(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	s, err := server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: port},
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("nats-server is not ready")
	}
	return fmt.Sprintf("tcp://127.0.0.1:%d", port)
}

func TestASharedSubscriptionThatDeliversNothingIsFoundOut(t *testing.T) {
	l, err := mqttlink.New(mqttlink.Config{
		Config:       mqttconn.Config{Name: "nats", ClientID: "probe", Servers: []mqttconn.Server{mqttconn.Server(startNATS(t))}},
		Options:      mqttconn.Options{BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond},
		CleanSession: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	plain := make(chan string, 16)
	err = l.Subscribe([]string{"edgechain/v1/+/head"}, func(m headersync.Message) {
		m.Done()
		plain <- string(m.Payload)
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
	defer func() {
		cancel()
		<-ended
	}()
	for deadline := time.Now().Add(time.Minute); !l.Status().Connected; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no connection: %s", l.Status().LastError)
		}
	}
	probing, done := context.WithTimeout(t.Context(), 3*time.Second)
	defer done()
	works, err := l.ProbeShared(probing, "edgechain-agg-1", "edgechain/v1/probe/agg-1")
	if works || err != nil {
		t.Errorf("the shared subscription works: %t, %v", works, err)
	}
	// What is subscribed to plainly arrives all the same.
	if err := l.Publish("edgechain/v1/c/head", []byte("head"), false); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-plain:
		if got != "head" {
			t.Errorf("came: %q", got)
		}
	case <-time.After(time.Minute):
		t.Error("nothing came")
	}
}
