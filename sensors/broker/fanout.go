package broker

import (
	"context"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// What may wait to be passed on. Beyond it messages are not passed on, and counted; the chain has them.
const (
	fanoutMessages = 4096
	fanoutBytes    = 16 << 20
	fanoutLargest  = 1 << 20 // a subscriber's own queue holds many, and is bounded by their number only
)

// fanout is the queue between the committer and those who subscribed.
type fanout struct {
	queue chan *forward
	bytes atomic.Int64 // of payload in queue
}

// forward is a message on its way to those who subscribed.
type forward struct {
	origin     string // client id of the publisher
	topic      string
	payload    []byte
	properties *packets.Properties // of MQTT 5, else nil
	qos        byte
	retain     bool
	version    byte // of the protocol that it came with
}

// passable is what passing the message on takes, or nil if nobody could want it.
func (b *Broker) passable(c *conn, pk *packets.Packet, topic string) *forward {
	if !pk.FixedHeader.Retain && !b.hasSubscriptions() || b.reserved(c, topic) {
		return nil
	}
	f := &forward{
		origin: c.clientID, topic: topic, payload: pk.Payload,
		qos: pk.FixedHeader.Qos, retain: pk.FixedHeader.Retain, version: pk.ProtocolVersion,
	}
	if c.v5 {
		p := pk.Properties.Copy(false)
		f.properties = &p
	}
	return f
}

// Publish passes a message of the program's own on to those who subscribed, and keeps it if it is retained. It is never
// recorded, and what waits for subscribers when the broker ends is lost. It does not block.
func (b *Broker) Publish(topic string, payload []byte, retained bool) {
	const own = "" // no client's id, so that none is taken for the publisher
	b.fanout.offer(b, &forward{origin: own, topic: topic, payload: payload, qos: 1, retain: retained, version: 4})
}

func (b *Broker) hasSubscriptions() bool { return atomic.LoadInt64(&b.srv.Info.Subscriptions) > 0 }

// offer hands a committed message over, or drops it. It is called by the committer, and never waits.
func (f *fanout) offer(b *Broker, m *forward) {
	if m == nil {
		return
	}
	n := int64(len(m.payload))
	if n <= fanoutLargest && f.bytes.Add(n) <= fanoutBytes {
		select {
		case f.queue <- m:
			return
		default:
		}
	}
	if n <= fanoutLargest {
		f.bytes.Add(-n)
	}
	b.stats.undelivered.Add(1)
}

// passOn gives committed messages to mochi, which knows who subscribed and keeps the retained ones.
func (b *Broker) passOn(ctx context.Context) {
	// As the publisher's own: mochi compares the id with the subscriber's where that wants none of its own messages. It
	// is not among mochi's clients.
	inline := b.srv.NewClient(nil, mqtt.LocalListener, "", true)
	for {
		select {
		case m := <-b.fanout.queue:
			b.fanout.bytes.Add(-int64(len(m.payload)))
			inline.ID = m.origin
			inline.Properties.ProtocolVersion = m.version
			// It refuses what a client may not publish, which was refused before.
			_ = b.srv.InjectPacket(inline, b.packet(m))
		case <-ctx.Done():
			return
		}
	}
}

func (b *Broker) packet(m *forward) packets.Packet {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: m.qos, Retain: m.retain},
		TopicName:   m.topic,
		Payload:     m.payload,
	}
	if m.qos > 0 {
		pk.PacketID = 1 // any but 0: subscribers get ids of their own
	}
	if m.properties != nil {
		pk.Properties = *m.properties
		pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 0, false
	}
	if m.retain && len(m.payload) > 0 && b.srv.Topics.Retained.Len() >= maxRetained {
		if _, replaces := b.srv.Topics.Retained.Get(m.topic); !replaces {
			pk.FixedHeader.Retain = false
			b.stats.unretained.Add(1)
		}
	}
	return pk
}
