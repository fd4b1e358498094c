// Package headersync is the protocol between a gateway and the aggregators that countersign its chain: who may ask
// for what, what travels, and what either side may conclude from it.
//
// It knows no MQTT library: whoever runs it brings a [Conn]. It knows no store: the gateway's chain is a [Chain], the
// aggregator's records a [Store]. It decides neither when a gateway seals nor which gateways an aggregator follows.
// Both sides are machines that react to a message ([Gateway.Receive], [Collector.Receive]) and to the passing of time
// (Tick); Run drives them with a real clock. Everything here may be lost, doubled, late, out of order, old or forged:
// nothing is believed because of the topic it came on, and whatever matters is asked for again.
package headersync

import (
	"fmt"
	"strings"

	"edgechain.example/lightchain"
)

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
	minPage     = 2 << 10 // less holds no signed head with its proof
)

// DefaultPrefix is what topics begin with unless configured otherwise.
const DefaultPrefix = "edgechain/v1"

// CheckPrefix refuses what cannot stand before the chain in a topic.
//
// SPEC: Under a configurable prefix of at most 3 levels
func CheckPrefix(prefix string) error {
	levels := strings.Split(prefix, "/")
	for _, level := range levels {
		if level == "" || strings.ContainsAny(level, "+#$\x00") {
			return fmt.Errorf("topic prefix %q: 1 to 3 levels, none empty, without '+', '#' and '$'", prefix)
		}
	}
	if len(levels) > 3 {
		return fmt.Errorf("topic prefix %q: at most 3 levels", prefix)
	}
	return nil
}

// The words that follow the chain in a topic.
const (
	topicHead    = "head"
	topicStatus  = "status"
	topicHello   = "hello"
	topicWelcome = "welcome"
	topicPull    = "pull"
	topicPulled  = "pulled"
	topicReceipt = "receipt"
	topicRestore = "restore"
)

// ChainTopics returns what the topics of one chain begin with: the prefix, the first character of the chain, the chain. By
// the character a filter divides the chains into 32 parts, which no filter could by the chain's name.
func ChainTopics(prefix string, chain lightchain.ChainID) string {
	name := chain.String()
	return prefix + "/" + name[:1] + "/" + name
}

// AnyChain returns a filter of one kind of topics of every chain.
func AnyChain(prefix, word string) string { return prefix + "/+/+/" + word }

// topic names what one gateway and, where it is not "", one aggregator speak of.
func topic(prefix string, chain lightchain.ChainID, word, aggregator string) string {
	t := ChainTopics(prefix, chain) + "/" + word
	if aggregator != "" {
		t += "/" + aggregator
	}
	return t
}

// StatusTopic returns the topic of a gateway's "online" and "offline", for the connection's last will.
func StatusTopic(prefix string, chain lightchain.ChainID) string {
	return topic(prefix, chain, topicStatus, "")
}

// IsTopic reports whether a topic is one of the protocol's under the prefix, whichever gateway it is of.
func IsTopic(prefix, topic string) bool {
	_, word, _, ok := splitTopic(prefix, topic)
	switch word {
	case topicHead, topicStatus, topicHello, topicWelcome, topicPull, topicPulled, topicReceipt, topicRestore:
		return ok
	}
	return false
}

// ChainOf returns the chain that a topic under the prefix is of.
func ChainOf(prefix, topic string) (lightchain.ChainID, bool) {
	chain, _, _, ok := splitTopic(prefix, topic)
	return chain, ok
}

// splitTopic is the inverse of topic.
func splitTopic(prefix, t string) (chain lightchain.ChainID, word, aggregator string, ok bool) {
	rest, ok := strings.CutPrefix(t, prefix+"/")
	if !ok {
		return chain, "", "", false
	}
	first, rest, _ := strings.Cut(rest, "/")
	name, rest, _ := strings.Cut(rest, "/")
	word, aggregator, _ = strings.Cut(rest, "/")
	chain, err := lightchain.ParseChainID(name)
	return chain, word, aggregator, err == nil && first == name[:1]
}
