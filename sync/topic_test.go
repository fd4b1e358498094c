package headersync

import (
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// A topic names its chain twice, by the first character and whole; one where these differ is nobody's.
func TestATopicHasItsChainsFirstCharacter(t *testing.T) {
	chain := lightchain.ChainID{7, 8, 9}
	name := chain.String()
	at := topic("a/b", chain, topicPulled, "north")
	if want := "a/b/" + name[:1] + "/" + name + "/pulled/north"; at != want || !matches(AnyChain("a/b", topicPulled+"/north"), at) {
		t.Errorf("%s, want %s", at, want)
	}
	if got, word, aggregator, ok := splitTopic("a/b", at); !ok || got != chain || word != topicPulled || aggregator != "north" || !IsTopic("a/b", at) {
		t.Errorf("%s is of %s, %s, %s (%t)", at, got, word, aggregator, ok)
	}
	for _, bad := range []string{
		strings.Replace(at, "/"+name[:1]+"/", "/7/", 1), strings.Replace(at, "/"+name[:1]+"/", "/", 1), strings.Replace(at, "/"+name[:1]+"/", "//", 1),
		strings.Replace(at, name, name[:51], 1), "a/" + at, "a/b", "a/b/", "",
	} {
		if _, ok := ChainOf("a/b", bad); ok || IsTopic("a/b", bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}
