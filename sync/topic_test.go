package headersync_test

import (
	"strings"
	"testing"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// A topic names its chain twice, by the first character and whole; one where these differ is nobody's.
func TestATopicHasItsChainsFirstCharacter(t *testing.T) {
	chain := lightchain.ChainID{7, 8, 9}
	name := chain.String()
	at := headersync.Topic("a/b", chain, headersync.TopicPulled, "north")
	if want := "a/b/" + name[:1] + "/" + name + "/pulled/north"; at != want {
		t.Errorf("%s, want %s", at, want)
	}
	if got := headersync.AnyChain("a/b", headersync.TopicPulled+"/north"); got != "a/b/+/+/pulled/north" {
		t.Errorf("%s is the filter of all chains", got)
	}
	if got, word, aggregator, ok := headersync.SplitTopic("a/b", at); !ok || got != chain || word != headersync.TopicPulled || aggregator != "north" || !headersync.IsTopic("a/b", at) {
		t.Errorf("%s is of %s, %s, %s (%t)", at, got, word, aggregator, ok)
	}
	for _, bad := range []string{
		strings.Replace(at, "/"+name[:1]+"/", "/7/", 1), strings.Replace(at, "/"+name[:1]+"/", "/", 1), strings.Replace(at, "/"+name[:1]+"/", "//", 1),
		strings.Replace(at, name, name[:51], 1), "a/" + at, "a/b", "a/b/", "",
	} {
		if _, ok := headersync.ChainOf("a/b", bad); ok || headersync.IsTopic("a/b", bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}
