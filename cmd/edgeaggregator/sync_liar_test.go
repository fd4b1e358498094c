package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/fxamacker/cbor/v2"

	"edgechain.example/agent/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// Here stands what an aggregator cannot do to those who trust it, or not without being found out.

// A liar is an aggregator that a gateway's configuration names, with a key of its own, and that says what its test wants.
type liar struct {
	t      testing.TB
	name   string
	signer lightchain.Signer
	client mqtt.Client
	chain  lightchain.ChainID

	mu       sync.Mutex
	time     func(height uint64) (seconds uint64, countersign bool) // guarded by mu
	welcome  func(w *headersync.Welcome)                            // guarded by mu: changes its answer to a hello; nil: it is honest
	head     *lightchain.SignedHeader                               // guarded by mu: the newest heard
	sequence uint64                                                 // guarded by mu: of its newest pull
	hellos   int                                                    // guarded by mu: answered
	pages    int                                                    // guarded by mu: received,
	bytes    int                                                    // and their bytes
}

// honestTime is when a test's own aggregator countersigns, as it should.
func honestTime(uint64) (uint64, bool) { return uint64(time.Now().Unix()), true }

// newLiar makes an aggregator of the test's own, and adds it to the configuration of a gateway that does not run yet.
func newLiar(t testing.TB, name, broker string, g *gateway) *liar {
	t.Helper()
	l := &liar{t: t, name: name, signer: newSigner(t), time: honestTime}
	var err error
	if l.chain, err = lightchain.ParseChainID(g.chain); err != nil {
		t.Fatal(err)
	}
	config, err := os.OpenFile(g.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer config.Close()
	if _, err := fmt.Fprintf(config, "[[upstream.aggregator]]\nname = %q\nkey = %q\n", name, lightchain.FormatPublicKey(l.signer.Public())); err != nil {
		t.Fatal(err)
	}
	l.client = join(t, broker, name+g.chain)
	hear(t, l.client, l.heard, l.topic("head"), l.topic("hello"), l.topic("pulled/"+name))
	return l
}

func (l *liar) topic(word string) string {
	return headersync.ChainTopics("edgechain/v1", l.chain) + "/" + word
}

// says changes how the liar behaves from now on.
func (l *liar) says(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *liar) heard(m headersync.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch word(m) {
	case "head":
		head, err := lightchain.DecodeSignedHeader(m.Payload)
		if err != nil {
			l.t.Error(err)
			return
		}
		l.head = head
		l.countersign(head)
	case "hello":
		l.hellos++
		l.answer(m.Payload)
	case "pulled":
		l.pages++
		l.bytes += len(m.Payload)
	}
}

// countersign publishes a receipt. The caller holds mu.
func (l *liar) countersign(head *lightchain.SignedHeader) {
	at, ok := l.time(head.Header.Height)
	if !ok {
		return
	}
	r, err := head.Countersign(l.signer, l.name, at)
	if err != nil {
		l.t.Error(err)
		return
	}
	receipted := *head
	receipted.Receipts = []lightchain.Receipt{r}
	payload, err := receipted.Encode()
	if err != nil {
		l.t.Error(err)
		return
	}
	l.client.Publish(l.topic("receipt/"+l.name), 1, false, payload)
}

// answer welcomes a gateway. The caller holds mu.
func (l *liar) answer(hello []byte) {
	nonce, err := nonceOf(hello)
	if err != nil {
		l.t.Error(err)
		return
	}
	w := headersync.Welcome{Chain: l.chain, Name: l.name, Nonce: nonce, Sequence: l.sequence, Session: headersync.Nonce{1}, Head: l.head}
	if l.welcome != nil {
		l.welcome(&w)
	}
	payload, err := w.Sign(l.signer)
	if err != nil {
		l.t.Error(err)
		return
	}
	l.client.Publish(l.topic("welcome/"+l.name), 1, false, payload)
}

// nonceOf returns the nonce of a hello, whoever signed it.
func nonceOf(hello []byte) (nonce headersync.Nonce, err error) {
	var envelope struct {
		_           struct{} `cbor:",toarray"`
		Protected   []byte
		Unprotected map[int]any
		Payload     []byte
		Signature   []byte
	}
	var said struct {
		Nonce []byte `cbor:"3,keyasint"`
	}
	if err := cbor.Unmarshal(hello[1:], &envelope); err != nil { // behind the tag
		return nonce, err
	}
	if err := cbor.Unmarshal(envelope.Payload, &said); err != nil {
		return nonce, err
	}
	return headersync.Nonce(said.Nonce), nil
}

// pull asks for a page of the whole chain.
func (l *liar) pull() {
	l.mu.Lock()
	l.sequence++
	p := headersync.Pull{Chain: l.chain, Name: l.name, Sequence: l.sequence, Most: headersync.MaxPage, Want: headersync.EveryHeader, Last: 1<<63 - 1}
	l.mu.Unlock()
	payload, err := p.Sign(l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	say(l.t, l.client, l.topic("pull"), payload)
}

func (l *liar) received() (pages, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pages, l.bytes
}

// complaint is what the gateway holds against an aggregator, "" for nothing.
func (g *gateway) complaint(name string) string {
	s, ok := g.ask()
	if !ok || s.Live == nil {
		return ""
	}
	for _, a := range s.Live.Upstreams[0].Aggregators {
		if a.Name == name {
			return a.Complaint
		}
	}
	return ""
}

// receiptedBy waits until the gateway holds receipts of these aggregators on its newest head, and returns that.
func receiptedBy(g *gateway, names ...string) (height uint64) {
	g.t.Helper()
	g.process.Await("the newest head is countersigned by "+strings.Join(names, ", "), func() bool {
		s, ok := g.ask()
		if !ok || s.Open != 0 || s.Live == nil {
			return false
		}
		height = s.Height
		count := 0
		for _, a := range s.Live.Upstreams[0].Aggregators {
			if slices.Contains(names, a.Name) && a.Receipted != nil && *a.Receipted == s.Height {
				count++
			}
		}
		return count == len(names)
	})
	return height
}

// proof writes the proof of the first entry of a block to a file.
func (g *gateway) proof(height uint64, quorum int) (file string) {
	g.t.Helper()
	file = filepath.Join(g.t.TempDir(), "reading.edgeproof")
	for _, b := range g.blocks() {
		if b.Height == height && b.Count > 0 {
			g.must("prove", strconv.FormatUint(b.First, 10), "--quorum", strconv.Itoa(quorum), "--file", file)
			return file
		}
	}
	g.t.Fatalf("there is no block %d with an entry", height)
	return ""
}

// verified is what edgeverify says of one file, as a program reads it.
type verified struct {
	Verified    bool     `json:"verified"`
	Check       string   `json:"check"`
	Error       string   `json:"error"`
	NotBefore   *uint64  `json:"-"` // seconds since the Unix epoch
	NotAfter    *uint64  `json:"-"`
	NotBeforeBy []string `json:"not_before_by"`
	NotAfterBy  []string `json:"not_after_by"`
	Files       []string
	Fork        *struct {
		Height uint64
		Both   []string `json:"receipted_both"`
	}
}

func readVerified(t testing.TB, says string) (all []verified) {
	t.Helper()
	for line := range strings.Lines(says) {
		var v verified
		var bounds struct {
			NotBefore *time.Time `json:"not_before"`
			NotAfter  *time.Time `json:"not_after"`
		}
		if err := errors.Join(json.Unmarshal([]byte(line), &v), json.Unmarshal([]byte(line), &bounds)); err != nil {
			t.Fatalf("%v in %s", err, says)
		}
		for _, b := range []struct {
			from *time.Time
			to   **uint64
		}{{bounds.NotBefore, &v.NotBefore}, {bounds.NotAfter, &v.NotAfter}} {
			if b.from != nil {
				second := uint64(b.from.Unix())
				*b.to = &second
			}
		}
		all = append(all, v)
	}
	return all
}

// trusting is a trust file of the gateway's chain and of some of its aggregators.
func (g *gateway) trusting(quorum int, names ...string) string {
	g.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(g.must("trust")) {
		words := strings.Fields(line)
		if len(words) > 1 && (words[0] == "chain" || words[0] == "aggregator" && slices.Contains(names, words[1])) {
			b.WriteString(line)
		}
	}
	fmt.Fprintf(&b, "quorum %d\n", quorum)
	return b.String()
}

func TestAggregatorsThatLieAboutTimeAreOutvotedAndNamed(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone) // it is honest
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	newLiar(t, "honest", broker.Addr, g)
	past := newLiar(t, "past", broker.Addr, g)
	future := newLiar(t, "future", broker.Addr, g)
	const farPast, farFuture = 5, 4102444800 // in 1970 and 2100
	past.says(func() { past.time = func(uint64) (uint64, bool) { return farPast, true } })
	future.says(func() { future.time = func(uint64) (uint64, bool) { return farFuture, true } })
	began := uint64(time.Now().Unix())
	g.start()
	g.record(2)
	receiptedBy(g, n.name, "honest", "past", "future")
	g.record(1) // its beacon names receipts of all four
	height := receiptedBy(g, n.name, "honest", "past", "future")
	ended := func() uint64 { return uint64(time.Now().Unix()) + 1 }

	for _, c := range []struct {
		quorum int
		trust  []string
		check  func(verified) bool
	}{
		// As long as fewer lie than must agree, the bracket holds, and says on whom it rests.
		{2, []string{n.name, "honest", "past"}, func(v verified) bool {
			return v.Verified && *v.NotBefore >= began-1 && *v.NotBefore <= ended() && *v.NotAfter >= began && *v.NotAfter <= ended() && slices.Contains(v.NotAfterBy, "past")
		}},
		{2, []string{n.name, "honest", "future"}, func(v verified) bool {
			return v.Verified && *v.NotBefore >= began-1 && *v.NotBefore <= ended() && *v.NotAfter >= began && *v.NotAfter <= ended() && slices.Contains(v.NotBeforeBy, "future")
		}},
		{2, []string{n.name, "honest", "past", "future"}, func(v verified) bool {
			return v.Verified && *v.NotBefore <= ended() && *v.NotAfter >= began && len(v.NotBeforeBy) == 2 && len(v.NotAfterBy) == 2
		}},
		// Where one is enough the proof contradicts itself, and it is said by whom.
		{1, []string{n.name, "future"}, func(v verified) bool {
			return !v.Verified && v.Check == "receipts" && strings.Contains(v.Error, "on the word of future")
		}},
		{1, []string{n.name, "past"}, func(v verified) bool {
			return !v.Verified && v.Check == "receipts" && strings.Contains(v.Error, "on that of past")
		}},
		// Whoever trusts nobody but a liar is told that all of it is the liar's word.
		{1, []string{"future"}, func(v verified) bool {
			return v.Verified && *v.NotBefore == farFuture && slices.Equal(v.NotBeforeBy, []string{"future"}) && slices.Equal(v.NotAfterBy, []string{"future"})
		}},
	} {
		says, _ := verifyTrusting(t, g.trusting(c.quorum, c.trust...), "--output", "json", g.proof(height, 4))
		if v := readVerified(t, says)[0]; !c.check(v) {
			t.Errorf("%d of %v must agree, between %d and %d: %s", c.quorum, c.trust, began, ended(), says)
		}
	}

	// A time below the last: the receipt is not taken, and what was taken stays.
	future.says(func() { future.time = func(uint64) (uint64, bool) { return farFuture - 1, true } })
	g.record(1)
	receiptedBy(g, n.name, "honest", "past")
	g.process.Await("the gateway complains of the falling time", func() bool { return strings.Contains(g.complaint("future"), "out of the order of time") })
	for _, r := range g.receipts() {
		if has := slices.Contains(r.Receipts, "future"); has && r.Height > height || r.Height == height && !has {
			t.Errorf("block %d has receipts of %v", r.Height, r.Receipts)
		}
	}
	if says := g.stands(7); !strings.Contains(says, "future is not to be relied on: ") || !strings.Contains(says, "at 2100-01-01T00:00:00Z") {
		t.Errorf("edgeagent status does not say it plainly:\n%s", says)
	}
}

func TestAggregatorThatCountersignsTwoHistoriesIsExposed(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone) // it is honest
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	l := newLiar(t, "liar", broker.Addr, g)
	g.start()
	g.record(2)
	receiptedBy(g, n.name, "liar")
	g.stop()
	image := g.image()
	var old struct{ Height uint64 }
	parse(t, g.stands(5, "--output", "json"), &old)
	at := old.Height + 3
	g.start()
	var newest uint64
	for range 4 { // each header by itself, so that the honest one skips none
		g.record(1)
		newest = receiptedBy(g, n.name, "liar")
	}
	first := g.proof(at, 2)
	g.stop()

	// The honest one is away, and the other denies what it countersigned: the gateway goes on from the old image.
	n.process.Stop()
	l.says(func() { l.welcome = func(w *headersync.Welcome) { w.Head = nil } })
	g.putBack(image)
	g.start()
	g.process.Await("the gateway complains of what was forgotten", func() bool {
		return strings.Contains(g.complaint("liar"), "it knows nothing of this chain, and countersigned header")
	})
	if kept := g.receipts(); !slices.ContainsFunc(kept, func(r receipt) bool { return slices.Contains(r.Receipts, "liar") }) {
		t.Errorf("the receipts of who denies them are gone: %v", kept)
	}
	g.record(10) // beyond what the honest one knows
	receiptedBy(g, "liar")
	second := g.proof(at, 2)

	// Each proof verifies; together they expose the gateway, and the aggregator on both sides alone.
	trust := g.trusting(1, n.name, "liar")
	for _, file := range []string{first, second} {
		if says, code := verifyTrusting(t, trust, file); code != 0 {
			t.Errorf("a proof by itself: %d\n%s", code, says)
		}
	}
	evidence := filepath.Join(t.TempDir(), "found.edgefork")
	says, code := verifyTrusting(t, trust, "--output", "json", "--evidence", evidence, first, second)
	exposed := slices.DeleteFunc(readVerified(t, says), func(v verified) bool { return v.Fork == nil }) // its times may fall too
	if code != 3 || len(exposed) != 1 || exposed[0].Verified || !slices.Equal(exposed[0].Files, []string{first, second}) || !slices.Equal(exposed[0].Fork.Both, []string{"liar"}) {
		t.Errorf("of two histories edgeverify says, ending with %d:\n%s", code, says)
	}
	says, code = verifyTrusting(t, trust, evidence)
	if code != 0 || !strings.Contains(says, "liar countersigned both") || strings.Contains(says, n.name+" countersigned both") || !strings.Contains(says, n.name+" (header") {
		t.Errorf("the evidence: %d\n%s", code, says)
	}

	// So does the honest aggregator, once it is back: it refuses the second history, and holds both sides.
	n.start()
	g.process.Await("the aggregator shows the fork", func() bool {
		known, _ := n.gateway(g.chain)
		return finding(known, registry.Forked)
	})
	if fork := n.evidence(g.chain); fork.Height() <= old.Height {
		t.Errorf("the fork is said to be at %d; the image ended at %d", fork.Height(), old.Height)
	}
	if known, _ := n.gateway(g.chain); known.Receipt.Height > newest {
		t.Errorf("the second history was countersigned up to %d", known.Receipt.Height)
	}
}

func TestForgedWelcomesRestoreNothingAndStopNothing(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	g := newGateway(t, "press-hall", broker.Addr, "", &node{name: "nobody", key: lightchain.FormatPublicKey(newSigner(t).Public())})
	l := newLiar(t, "liar", broker.Addr, g)
	g.start()
	g.record(4)
	receiptedBy(g, "liar")

	mallory := newSigner(t)
	key := mallory.Public()
	// newer is a header above the gateway's own that mallory signed.
	newer := func(by uint64, change func(h *lightchain.Header)) *lightchain.SignedHeader {
		h := l.head.Header
		h.Height += by
		change(&h)
		return signed(t, &h, mallory)
	}
	other := signed(t, lightchain.NewGenesis(lightchain.Genesis{}, key, 1, lightchain.Clock{}), mallory)
	for name, lie := range map[string]struct {
		tell func(w *headersync.Welcome)
		why  string
	}{
		"a newer head": {func(w *headersync.Welcome) { w.Head = newer(5, func(*lightchain.Header) {}) }, "that no key of this chain signed"},
		"a newer head behind a smuggled key": {func(w *headersync.Welcome) {
			w.Keys = []*lightchain.SignedHeader{newer(4, func(h *lightchain.Header) { h.NextKey = &key })}
			w.Head = newer(5, func(*lightchain.Header) {})
		}, "that no key of this chain signed"},
		"evidence of a fork that is none": {func(w *headersync.Welcome) {
			side := lightchain.Side{Head: l.head, Leaf: l.head.Hash()}
			forged := newer(0, func(h *lightchain.Header) { h.Sealed++ })
			w.Fork = lightchain.NewFork([]*lightchain.SignedHeader{other}, side, lightchain.Side{Head: forged, Leaf: forged.Hash()})
		}, "fork: not of chain"},
		"an older head": {func(w *headersync.Welcome) {
			old := l.head.Header
			old.Height = 1
			w.Head = signed(t, &old, mallory)
		}, "it knows this chain up to header 1, and countersigned header"},
	} {
		g.stop()
		var before struct {
			Height uint64
			Head   lightchain.Hash
		}
		parse(t, g.stands(5, "--output", "json"), &before)
		l.says(func() { l.welcome, l.hellos = lie.tell, 0 })
		complained := g.said(lie.why)
		g.start()
		g.process.Await("the gateway complains of "+name, func() bool { return g.said(lie.why) > complained })
		// An unasked page that would restore what the welcome claims.
		run := new(lightchain.Run)
		l.says(func() {
			h := newer(1, func(*lightchain.Header) {})
			run.Add(&h.Header, &h.HeaderSignature)
		})
		page, err := (&headersync.Restored{Correlation: 1, Run: run}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		say(t, l.client, l.topic("restore/liar"), page)
		g.record(1)
		after := receiptedBy(g, "liar")
		if b := g.blocks(); after <= before.Height || !slices.ContainsFunc(b, func(b api.Block) bool { return b.Height == before.Height && *b.Hash == before.Head }) {
			t.Errorf("%s: the head went from %d to %d", name, before.Height, after)
		}
		if len(g.events("restore")) != 0 {
			t.Errorf("%s: something was restored", name)
		}
	}
	g.stop()
	g.must("verify")
}

func TestPullsWithoutEndAreAnsweredAtABoundedRate(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	const budget = 160 << 10
	g := newGateway(t, "press-hall", broker.Addr, fmt.Sprintf("bytes_per_day = %d", budget), n)
	l := newLiar(t, "liar", broker.Addr, g)
	g.start()
	g.record(200) // pages worth asking for
	countersigned(g, n)

	began := time.Now()
	const pulls = 400
	for range pulls {
		l.pull()
	}
	g.record(3) // behind them all: the gateway has seen them, and goes on
	countersigned(g, n)
	receiptedBy(g, "liar")
	elapsed := time.Since(began)
	pages, bytes := l.received()
	const burst, each = 16, 500 * time.Millisecond
	if most := burst + 1 + int(elapsed/each); pages == 0 || pages > most {
		t.Errorf("of %d pulls in %v %d were answered, want 1 to %d", pulls, elapsed, pages, most)
	}
	// The day's budget is shared: the liar has used up its own half, and the other aggregator goes on.
	if bytes < budget/4 || bytes > budget/2 {
		t.Errorf("%d bytes were sent to one of two aggregators, whose half is %d", bytes, budget/2)
	}
	g.stop()
	g.must("verify")
}
