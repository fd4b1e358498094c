package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv/program"
	syncgateway "edgechain.example/sync/gateway"
)

const everyone = "[trust]\ngateways = \"all\"\n"

func TestHeadsAreCountersignedAndAllProgramsAgree(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	g.start()
	countersigned(g, n)
	g.record(3)
	head := countersigned(g, n)
	if s := syncgateway.Standing(g.standing()); s != syncgateway.Agreed {
		t.Errorf("the gateway says that its head is %q to an aggregator that countersigned it", s)
	}
	number := head.Entries // of the next entry: its block will name the receipts that are there by now
	head = g.record(2)
	head = countersigned(g, n)

	// The gateway's list: the newest block is receipted, and each below is covered by it or an older one.
	list := g.receipts()
	if uint64(len(list)) != head.Height+1 || list[0].Height != head.Height || !slices.Contains(list[0].Receipts, n.name) {
		t.Fatalf("edgeagent receipts does not begin with a receipted block %d:\n%v", head.Height, list[0])
	}
	for _, r := range list {
		if covered, ok := r.Covered[n.name]; !ok || covered < r.Height {
			t.Errorf("block %d is covered by %d, %v", r.Height, covered, ok)
		}
	}

	// The aggregator's side.
	var known api.Gateway
	n.read(&known, "gateways", "show", g.chain)
	if known.Name != g.name || known.Standing != registry.Approved || known.Head.Next != head.Entries || known.Key != head.Key {
		t.Errorf("gateways show: %+v, want the gateway's name, key and %d entries", known, head.Entries)
	}
	if listed := n.must("gateways", "list"); !strings.Contains(listed, g.chain[:16]) {
		t.Errorf("gateways list leaves the gateway out:\n%s", listed)
	}
	headers := n.headers(g.chain)
	if uint64(len(headers)) != head.Height+1 {
		t.Fatalf("the aggregator holds %d headers, want all %d", len(headers), head.Height+1)
	}
	for i, h := range headers {
		if h.Height != uint64(i) {
			t.Fatalf("header %d stands in place %d", h.Height, i)
		}
	}
	if last := headers[head.Height]; last.Hash != head.Head {
		t.Errorf("the newest header is %s, want %s", last.Hash, head.Head)
	}

	// The auditor's.
	proof := filepath.Join(t.TempDir(), "reading.edgeproof")
	g.must("prove", strconv.FormatUint(number, 10), "--file", proof)
	says, code := verify(g, "--output", "json", proof)
	var report verified
	if code == 0 {
		report = readVerified(t, says)[0]
	}
	if code != 0 || report.NotBefore == nil || report.NotAfter == nil || *report.NotBefore > *report.NotAfter {
		t.Errorf("the proof's report has not both bounds: exit code %d\n%s", code, says)
	}
	bundle := filepath.Join(t.TempDir(), "all.edgebundle")
	g.must("export", "--bundle", "0-"+strconv.FormatUint(head.Height, 10), "--file", bundle)
	says, code = verify(g, bundle)
	if want := "recorded these as all entries from number 0 to number " + strconv.FormatUint(head.Entries-1, 10); code != 0 || !strings.Contains(says, want) {
		t.Errorf("exit code %d; want %q in\n%s", code, want, says)
	}

	// A proof is worth nothing to whom another aggregator's receipts count.
	trust := strings.ReplaceAll(g.must("trust"), "aggregator "+n.name, "aggregator agg-2")
	file := filepath.Join(t.TempDir(), "trust")
	if err := os.WriteFile(file, []byte(trust), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(builds.Native(t), "edgeverify"), "--trust", file, proof)
	if says, _, code := program.Output(t, cmd); code != 8 {
		t.Errorf("with another aggregator's name in the trust file the exit code is %d, want 8\n%s", code, says)
	}
}

func TestUnknownGatewayWaitsUntilApproved(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, "")
	n.start()
	waiting := newGateway(t, "press-hall", broker.Addr, "", n)
	waiting.start()
	waiting.record(2)
	waiting.process.Await("the gateway stands in the inbox", func() bool {
		g, known := n.gateway(waiting.chain)
		return known && g.Standing == registry.Waiting && g.Name == waiting.name
	})

	// Somebody with a token passes it by.
	var token struct{ Text string }
	n.read(&token, "gateways", "token", "--label", "site=north")
	text, _ := json.Marshal(token.Text)
	invited := newGateway(t, "paint-shop", broker.Addr, "enrol_token = "+string(text), n)
	invited.start()
	invited.record(2)
	countersigned(invited, n)
	if g, _ := n.gateway(invited.chain); g.Standing != registry.Approved || g.Labels["site"] != "north" || !strings.HasPrefix(g.By, "token ") {
		t.Errorf("the gateway that brought a token is %s by %s with labels %v", g.Standing, g.By, g.Labels)
	}

	// The same token lets nobody else in.
	second := newGateway(t, "press-hall-2", broker.Addr, "enrol_token = "+string(text), n)
	second.start()
	second.process.Await("the second gateway with one token stands in the inbox", func() bool {
		g, known := n.gateway(second.chain)
		return known && g.Standing == registry.Waiting
	})

	g, _ := n.gateway(waiting.chain)
	if g.Standing != registry.Waiting || g.Receipt != (api.Receipt{}) {
		t.Fatalf("before anybody approved it the gateway is %s, receipt %+v", g.Standing, g.Receipt)
	}
	if s, _ := waiting.ask(); s.Live.Upstreams[0].Aggregators[0].Receipted != nil {
		t.Fatal("before anybody approved it the gateway has a receipt")
	}
	n.must("gateways", "approve", "--name", waiting.name)
	countersigned(waiting, n)
}
