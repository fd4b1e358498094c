package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gatewayapi "edgechain.example/agent/api"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv/program"
	"edgechain.example/localhttp"
)

// listed is what `gateways list` says of one gateway.
func (n *node) listed(chain string) (g api.Gateway) {
	n.t.Helper()
	all := parseLines[api.Gateway](n.t, n.must("gateways", "list", "--output", "json"))
	i := slices.IndexFunc(all, func(g api.Gateway) bool { return g.Chain.String() == chain })
	if i < 0 {
		n.t.Fatalf("%s is not listed", chain)
	}
	return all[i]
}

// restart stops the aggregator and starts it again, whereupon it counts its gateways at once.
func (n *node) restart() {
	n.t.Helper()
	n.process.Stop()
	n.start()
}

// metric is the value of one line of the aggregator's metrics, "" if there is none.
func (n *node) metric(name string) string {
	carrier, err := localhttp.Dial(n.t.Context(), n.socket())
	if err != nil {
		return ""
	}
	answer, err := (&http.Client{Transport: carrier, Timeout: program.Patience}).Get("http://aggregator/metrics")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^" + regexp.QuoteMeta(name) + " (.*)$").FindStringSubmatch(string(text))
	if found == nil {
		return ""
	}
	return found[1]
}

func ailing(kind registry.Kind) string {
	return fmt.Sprintf("edgeaggregator_gateways_ailing{finding=%q}", kind)
}

// damageLog flips bits in the last quarter of the newest write-ahead log, as a card does that loses its power.
func damageLog(t testing.TB, data string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(data, "chain", "*", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log to damage: %v", err)
	}
	newest := slices.Max(logs)
	b, err := os.ReadFile(newest)
	written := len(bytes.TrimRight(b, "\x00")) // a log has its size before it is written
	if err != nil || written < 1000 {
		t.Fatalf("%s has %d bytes: %v", newest, written, err)
	}
	for i := range 64 {
		b[written*3/4+i] ^= 0x55
	}
	if err := os.WriteFile(newest, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatGatewayLostShowsUntilItIsAcknowledged(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	g.start()
	g.record(3)
	countersigned(g, n)
	g.process.Await("the gateway reports", func() bool {
		known, _ := n.gateway(g.chain)
		return known.Report != nil && known.Report.Start > 0
	})
	if sound := n.listed(g.chain); finding(sound, registry.Gap) || finding(sound, registry.Damage) || sound.Report.Gaps.Times != 0 {
		t.Fatalf("a gateway that lost nothing: %+v, %+v", sound.Report, sound.Findings)
	}
	g.stop()

	// Entries that no block holds yet, and a power cut on a card that lies.
	g.start("--set", "block.interval=1h", "--set", "block.max_entries=4096")
	g.process.Await("the gateway records", func() bool { return g.standing() != "" })
	g.publish(200)
	g.process.Kill()
	damageLog(t, g.data())
	g.start()
	g.process.Await("the damage is listed", func() bool {
		known, _ := n.gateway(g.chain)
		return finding(known, registry.Damage) && finding(known, registry.Gap)
	})
	lost := n.listed(g.chain)
	gap := lost.Finding(registry.Gap)
	if recorded := g.eventsSoFar("gap"); gap.Lost == 0 || gap.Lost != recorded || lost.Report.Gaps.Count != recorded || lost.Report.Unclean == 0 {
		t.Errorf("the chain records %d missing; the aggregator has %+v, %+v", recorded, gap, lost.Report)
	}
	if says := n.must("gateways", "show", g.chain); !strings.Contains(says, "messages missing at most") || !strings.Contains(says, "damage") {
		t.Errorf("gateways show does not say it:\n%s", says)
	}

	// It stays, over restarts of both and new heads, until somebody has taken note of it.
	n.restart()
	n.process.Await("the metrics count it", func() bool {
		return n.metric(ailing(registry.Damage)) == "1" && n.metric(ailing(registry.Gap)) == "1" &&
			n.metric(`edgeaggregator_lost{finding="gap"}`) == fmt.Sprint(gap.Lost)
	})
	g.stop()
	g.start()
	g.record(2)
	countersigned(g, n)
	if still := n.listed(g.chain); !finding(still, registry.Damage) || still.Finding(registry.Gap).Lost != gap.Lost {
		t.Errorf("nobody has acknowledged it; listed are %+v", still.Findings)
	}
	n.must("gateways", "acknowledge", g.chain)
	g.stop()
	g.start()
	g.record(2)
	countersigned(g, n)
	if after := n.listed(g.chain); finding(after, registry.Damage) || finding(after, registry.Gap) || after.Report.Gaps.Count != gap.Lost {
		t.Errorf("after it was acknowledged: %+v, %+v", after.Report, after.Findings)
	}
}

// eventsSoFar is what the newest entry of a kind says is missing since the chain began.
func (g *gateway) eventsSoFar(word string) uint64 {
	g.t.Helper()
	all := g.events(word)
	if len(all) == 0 {
		g.t.Fatalf("the chain records no agent:%s", word)
	}
	return uint64(all[len(all)-1]["so_far"].(map[string]any)["count"].(float64))
}

func TestGatewayThatStopsIsOverdueByItsOwnPromise(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	g.start("--set", "block.heartbeat=4s")
	slow := newGateway(t, "paint-shop", broker.Addr, "", n) // promises a head an hour
	slow.start()
	for _, one := range []*gateway{g, slow} {
		one.record(1)
		one.process.Await("the gateway reports", func() bool {
			known, _ := n.gateway(one.chain)
			return known.Report != nil && known.Receipt != (api.Receipt{})
		})
	}
	if within := n.listed(g.chain).Report.Within; within != 6 { // heartbeat, interval and announcement
		t.Errorf("it promises a head within %d seconds", within)
	}
	g.process.Await("heartbeats come", func() bool {
		known, _ := n.gateway(g.chain)
		return known.Head.Height >= 4 && !finding(known, registry.Silent)
	})
	g.stop()
	slow.stop()
	n.process.Await("the gateway is overdue", func() bool { return finding(n.listed(g.chain), registry.Silent) })
	n.restart()
	n.process.Await("the metrics count it", func() bool { return n.metric(ailing(registry.Silent)) == "1" })
	n.process.Await("the other one is offline", func() bool { return finding(n.listed(slow.chain), registry.Away) })
	if other := n.listed(slow.chain); finding(other, registry.Silent) {
		t.Errorf("the other one is not overdue yet: %+v", other.Findings)
	}
	g.start("--set", "block.heartbeat=4s")
	g.process.Await("it is heard again", func() bool {
		known, _ := n.gateway(g.chain)
		return !finding(known, registry.Silent) && !finding(known, registry.Away)
	})
}

// A gateway tells an aggregator that waits for somebody to approve it from one that does not answer: by these two facts its status
// says which. Once it is approved it has a receipt, and waits for nothing.
func TestAGatewayKnowsThatItsAggregatorHasNotApprovedIt(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, "")
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	g.start()
	aggregator := func() gatewayapi.Aggregator {
		s, ok := g.ask()
		if !ok || s.Live == nil || len(s.Live.Upstreams) == 0 {
			return gatewayapi.Aggregator{}
		}
		return s.Live.Upstreams[0].Aggregators[0]
	}
	g.process.Await("the gateway reaches the broker", func() bool {
		s, ok := g.ask()
		return ok && s.Live != nil && s.Live.Upstreams[0].Connected
	})
	if a := aggregator(); a.Answered || a.WaitingSince.IsZero() {
		t.Errorf("of an aggregator that does not run the gateway says %+v", a)
	}
	n.start()
	g.process.Await("the aggregator has answered", func() bool { return aggregator().Answered })
	if a := aggregator(); a.Receipted != nil || a.WaitingSince.IsZero() {
		t.Errorf("of an aggregator that has not approved it the gateway says %+v", a)
	}
	n.must("gateways", "approve", g.chain)
	g.process.Await("the gateway has a receipt", func() bool { return aggregator().Receipted != nil })
}
