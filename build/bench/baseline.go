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

// mochiTask is a bare mochi: the broker library that the embedded one was built on once, which keeps nothing.
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
	client, err := connect(t.Address, "idle-subscriber")
	if err != nil {
		return err
	}
	defer client.Disconnect(250)
	if err := finished(client.Subscribe("plant/#", t.QoS, func(paho.Client, paho.Message) { count.Add(1) })); err != nil {
		return err
	}
	if err := out.Encode(true); err != nil {
		return err
	}
	return answerCounts(in, out, &count)
}

// connect returns a client with a persistent session.
func connect(address, id string) (paho.Client, error) {
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID(id).SetCleanSession(false).SetOrderMatters(true))
	if err := finished(client.Connect()); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", address, err)
	}
	return client, nil
}

// finished waits for what a client was asked to do.
func finished(tokens ...paho.Token) error {
	for _, k := range tokens {
		if !k.WaitTimeout(patience) {
			return errors.New("the broker does not answer")
		}
		if k.Error() != nil {
			return k.Error()
		}
	}
	return nil
}
