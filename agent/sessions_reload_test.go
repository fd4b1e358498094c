package agent

import (
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/mqttsource"
)

// played is a broker that grants everything, or answers nothing.
type played struct {
	l net.Listener

	mu      sync.Mutex
	mute    bool
	present bool
	open    []net.Conn
	asked   int // CONNECTs that got no answer
}

func (p *played) serve(conn net.Conn) {
	defer conn.Close()
	for {
		cp, err := packets.ReadPacket(conn)
		if err != nil {
			p.mu.Lock()
			if p.asked > 0 { // the one that got no answer goes: whoever comes next gets one
				p.mute = false
			}
			p.mu.Unlock()
			return
		}
		p.mu.Lock()
		mute, present := p.mute, p.present
		if _, is := cp.(*packets.ConnectPacket); is && mute {
			p.asked++
		}
		p.mu.Unlock()
		if mute {
			continue
		}
		switch cp := cp.(type) {
		case *packets.ConnectPacket:
			ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
			ack.SessionPresent = present
			_ = ack.Write(conn)
		case *packets.SubscribePacket:
			ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			ack.MessageID = cp.MessageID
			ack.ReturnCodes = cp.Qoss
			_ = ack.Write(conn)
		case *packets.UnsubscribePacket:
			ack := packets.NewControlPacket(packets.Unsuback).(*packets.UnsubackPacket)
			ack.MessageID = cp.MessageID
			_ = ack.Write(conn)
		case *packets.PingreqPacket:
			_ = packets.NewControlPacket(packets.Pingresp).Write(conn)
		}
	}
}

// A source that a reload makes anew goes on with what its predecessor has learned of their session until it ended.
func TestAReloadForgetsNoDoubtAboutASession(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &played{l: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.open = append(p.open, conn)
			p.mu.Unlock()
			go p.serve(conn)
		}
	}()
	c := quickConfig(t)
	var m MQTTConfig
	m.SetDefaults()
	m.Name, m.Servers = "plant", []mqttconn.Server{mqttconn.Server("tcp://" + l.Addr().String())}
	m.Subscribe = []SubscribeConfig{{Topics: []string{"line/#"}, QoS: 1}}
	c.MQTT = []MQTTConfig{m}
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	name := sessionOf(a.store.Chain(), &c.MQTT[0].Config)
	await(t, "its note", func() bool { return a.sessions.state(name) == mqttsource.SessionKept })
	// The broker is started again without its memory, and answers no CONNECT.
	p.mu.Lock()
	p.mute, p.present = true, true
	for _, conn := range p.open {
		conn.Close()
	}
	p.mu.Unlock()
	await(t, "a CONNECT", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.asked > 0 })
	next := *c
	m.Subscribe = []SubscribeConfig{{Topics: []string{"line/#", "more/#"}, QoS: 1}}
	next.MQTT = []MQTTConfig{m}
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	await(t, "the source again", func() bool { return a.ready() == nil })
	await(t, "what may be lost to be told", func() bool {
		for _, err := range a.store.Find(store.Query{Source: "agent:gap"}) {
			return err == nil
		}
		return false
	})
	if state := a.sessions.state(name); state != mqttsource.SessionKept {
		t.Errorf("the note says %d", state)
	}
}
