package headersync

import (
	"fmt"
	"strings"

	"edgechain.example/lightchain"
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
	TopicHead    = "head"
	TopicStatus  = "status"
	TopicHello   = "hello"
	TopicWelcome = "welcome"
	TopicPull    = "pull"
	TopicPulled  = "pulled"
	TopicReceipt = "receipt"
	TopicRestore = "restore"
)

// ChainTopics returns what the topics of one chain begin with: the prefix, the first character of the chain, the chain. By
// the character a filter divides the chains into 32 parts, which no filter could by the chain's name.
func ChainTopics(prefix string, chain lightchain.ChainID) string {
	name := chain.String()
	return prefix + "/" + name[:1] + "/" + name
}

// AnyChain returns a filter of one kind of topics of every chain.
func AnyChain(prefix, word string) string { return prefix + "/+/+/" + word }

// Topic names what one gateway and, where it is not "", one aggregator speak of.
func Topic(prefix string, chain lightchain.ChainID, word, aggregator string) string {
	t := ChainTopics(prefix, chain) + "/" + word
	if aggregator != "" {
		t += "/" + aggregator
	}
	return t
}

// StatusTopic returns the topic of a gateway's "online" and "offline", for the connection's last will.
func StatusTopic(prefix string, chain lightchain.ChainID) string {
	return Topic(prefix, chain, TopicStatus, "")
}

// IsTopic reports whether a topic is one of the protocol's under the prefix, whichever gateway it is of.
func IsTopic(prefix, topic string) bool {
	_, word, _, ok := SplitTopic(prefix, topic)
	switch word {
	case TopicHead, TopicStatus, TopicHello, TopicWelcome, TopicPull, TopicPulled, TopicReceipt, TopicRestore:
		return ok
	}
	return false
}

// ChainOf returns the chain that a topic under the prefix is of.
func ChainOf(prefix, topic string) (lightchain.ChainID, bool) {
	chain, _, _, ok := SplitTopic(prefix, topic)
	return chain, ok
}

// SplitTopic is the inverse of topic.
func SplitTopic(prefix, t string) (chain lightchain.ChainID, word, aggregator string, ok bool) {
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
