package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// mochiTask is a bare mochi: the broker that the embedded one is built on, which keeps nothing.
type mochiTask struct {
	Block time.Duration // that its hook waits before each acknowledgement, as one that commits each message would
}

// serveMochi says where it listens, then answers as [answerCounts] does.
func serveMochi(in *json.Decoder, out *json.Encoder) error {
	var t mochiTask
	if err := in.Decode(&t); err != nil {
		return err
	}
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	hook := &bareHook{block: t.Block}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = server.AddHook(hook, nil)
	}
	if err == nil {
		err = server.AddListener(listeners.NewNet("tcp", listener))
	}
	if err == nil {
		err = server.Serve()
	}
	if err == nil {
		err = out.Encode(listener.Addr().String())
	}
	if err != nil {
		return err
	}
	return errors.Join(answerCounts(in, out, &hook.count), server.Close())
}

// answerCounts answers each value with the number of messages that came so far, until the input ends.
func answerCounts(in *json.Decoder, out *json.Encoder, count *atomic.Int64) error {
	for {
		switch err := in.Decode(new(any)); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := out.Encode(count.Load()); err != nil {
			return err
		}
	}
}

// count asks a child that answers counts.
func (c *child) count() (n int, err error) {
	if err := c.tell("count"); err != nil {
		return 0, err
	}
	return n, c.hear(&n)
}

type bareHook struct {
	mochi.HookBase
	block time.Duration
	count atomic.Int64
}

func (*bareHook) ID() string { return "bare" }

func (*bareHook) Provides(call byte) bool {
	return call == mochi.OnPublish || call == mochi.OnConnectAuthenticate || call == mochi.OnACLCheck
}

func (*bareHook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (*bareHook) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func (h *bareHook) OnPublish(_ *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if h.block > 0 {
		time.Sleep(h.block)
	}
	h.count.Add(1)
	return pk, nil
}

// subscriberTask is a subscriber that counts messages, and does nothing else about them.
type subscriberTask struct {
	Address string
	QoS     byte
}

// subscribe says true when it is subscribed, then answers as [answerCounts] does.
func subscribe(in *json.Decoder, out *json.Encoder) error {
	var t subscriberTask
	if err := in.Decode(&t); err != nil {
		return err
	}
	var count atomic.Int64
	options := paho.NewClientOptions().AddBroker("tcp://" + t.Address).SetClientID("idle-subscriber").SetCleanSession(false).SetOrderMatters(true)
	client := paho.NewClient(options)
	for _, token := range []func() paho.Token{
		client.Connect,
		func() paho.Token {
			return client.Subscribe("plant/#", t.QoS, func(paho.Client, paho.Message) { count.Add(1) })
		},
	} {
		if k := token(); !k.WaitTimeout(30*time.Second) || k.Error() != nil {
			return fmt.Errorf("subscribing at %s: %w", t.Address, k.Error())
		}
	}
	defer client.Disconnect(250)
	if err := out.Encode(true); err != nil {
		return err
	}
	return answerCounts(in, out, &count)
}
