// Package headersync is the protocol between a gateway and the aggregators that countersign its chain: who may ask
// for what, what travels, and what either side may conclude from it.
//
// This package is what both sides share: messages, their topics and encodings, accusations. The sides live in sync/gateway and
// sync/collector, and never import each other. No part knows an MQTT library: whoever runs a side brings a [Conn]; or a store:
// the gateway's chain and the aggregator's records are interfaces. The protocol decides neither when a gateway seals nor
// which gateways an aggregator follows. Both sides are machines that react to a message (Receive) and to the passing of time
// (Tick); [Drive] drives them with a real clock. Everything may be lost, doubled, late, out of order, old or forged:
// nothing is believed because of the topic it came on, and whatever matters is asked for again.
package headersync

// Message is one message as it arrived.
type Message struct {
	Topic   string
	Payload []byte

	// Done is called once when the message has been dealt with, and may then be acknowledged; nil means that nobody
	// waits for that.
	Done func()
}

// Conn is a connection to a broker, or to several.
//
// Nothing is promised of delivery: the protocol asks again. What arrives is given to deliver from one goroutine, in
// the order in which it came; deliver does not block.
type Conn interface {
	// Publish hands a message over, at QoS 1. It may return before the message has gone out, and does not wait while
	// there is no connection. It does not keep payload.
	Publish(topic string, payload []byte, retained bool) error
	// Subscribe asks for what comes on the topics that match one of the filters, from now on and after each
	// reconnection.
	Subscribe(filters []string, deliver func(Message)) error
}

// Limits of a page, in bytes of its payload.
const (
	DefaultPage = 64 << 10
	MaxPage     = 128 << 10
	MinPage     = 2 << 10 // less holds no signed head with its proof
)
