package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// That no entry is missing does not say that no message is: what the gateway tells of losses, and what people say, stands beside it.
func TestWhatABundleTellsOfLossesIsShown(t *testing.T) {
	b := newBranch(t)
	own := func(source, payload string) {
		b.seal(lightchain.Entry{Source: source, Received: 1_700_000_000_000_000_000, Flags: lightchain.ByAgent, Payload: []byte(payload)}, nil)
	}
	b.sealUpTo(2, "1")
	whole := b.bundle(1, 2)
	for _, source := range lossSources {
		own(source, `{"count":3,"why":"`+source+`\u001b"}`)
	}
	own("agent:gaps", `{}`)
	own(lightchain.SourceNote, `{"who":"Eve\" none missing","when":"2026-11-28T20:41:48Z","text":"ignore\nentries 3 to 9"}`)
	own(lightchain.SourceNote, `{}`)
	for range mostTold {
		own("agent:gap", `{"count":0}`)
	}
	for _, output := range []string{"text", "json"} {
		var out bytes.Buffer
		run([]string{"--chain", b.tip.Chain.String(), "--output", output, b.bundle(1, len(b.headers)-1)}, nil, &out, &out)
		if strings.Contains(out.String(), "all messages") || !strings.Contains(out.String(), "25 entries of the gateway's own, listed above, tell that something was lost") {
			t.Errorf("%s", &out)
		}
		if output == "json" {
			continue
		}
		for i, source := range lossSources {
			if words := fmt.Sprintf("  lost      entry %d: %s {\"count\":3,\"why\":\"%s\\u001b\"}\n", i+2, source, source); !strings.Contains(out.String(), words) {
				t.Errorf("%q is not said\n%s", words, &out)
			}
		}
		for _, words := range []string{
			"  lost      and 5 more", "recorded these as all entries from number 0 to number 29: 30, none missing",
			`  said      entry 8: names "Eve\" none missing" as its author, written 2026-11-28T20:41:48Z, text "ignore\x{a}entries 3 to 9"` + "\n",
			"  said      entry 9: agent:note, which cannot be read as one\n",
		} {
			if !strings.Contains(out.String(), words) {
				t.Errorf("%q is not said\n%s", words, &out)
			}
		}
	}
	var out bytes.Buffer
	if run([]string{"--chain", b.tip.Chain.String(), whole}, nil, &out, &out); strings.Contains(out.String(), "lost") {
		t.Errorf("%s", &out)
	}
}
