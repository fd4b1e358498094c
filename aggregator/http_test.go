package aggregator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// newServer returns the interface of a store with one gateway, of 20 blocks and one receipt, that runs nowhere.
func newServer(t testing.TB) (*api.Server, *chain) {
	t.Helper()
	store, clock := openPebble(t), newClock()
	c := newChain(t, "press-1")
	c.sealMany(20)
	config := aggregator.DefaultConfig()
	config.Aggregator.Name = "agg-1"
	s := aggregator.NewServer(config, aggregator.Options{Version: "test", Store: store, Signer: testSigner("aggregator agg-1"), Now: clock.Now})
	if err := s.Registry.Approve(t.Context(), c.id(), registry.Settings{}, "test"); err != nil {
		t.Fatal(err)
	}
	l := registry.NewLedger(store, clock.Now, nil)
	if _, err := take(l, c.id(), &headersync.Pulled{Head: 20, Genesis: c.headers[0], Run: c.run(1, 20)}, true); err != nil {
		t.Fatal(err)
	}
	if err := countersign(l, c.id(), chainTime+5); err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestTheInterfaceAnswersWhatIsStored(t *testing.T) {
	s, c := newServer(t)
	asked := api.Local(s)
	st, err := asked.Status(t.Context())
	if err != nil || st.Running || st.Gateways[registry.Approved] != 1 || st.Name != "agg-1" {
		t.Errorf("status: %+v, %v", st, err)
	}
	g, err := asked.Gateway(t.Context(), c.id().String()[:8])
	if err != nil || g.Chain != c.id() || g.Head.Height != 20 || g.Head.Next != c.tip.Next || g.Key != lightchain.FormatPublicKey(c.signer.Public()) {
		t.Errorf("the gateway: %+v, %v", g, err)
	}
	height := uint64(5)
	for h, err := range asked.Headers(t.Context(), c.id().String(), map[string][]string{"from": {"5"}, "to": {"9"}}) {
		if err != nil || h.Height != height || h.Hash != c.leaves[height] {
			t.Errorf("header %d: %+v, %v", height, h, err)
		}
		height++
	}
	if height != 10 {
		t.Errorf("headers end before %d", height)
	}
	b, err := asked.Receipt(t.Context(), c.id().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := lightchain.DecodeSignedHeader(b)
	if err != nil || signed.Hash() != c.tip.Hash || signed.CheckReceipt(&signed.Receipts[0], testSigner("aggregator agg-1").Public()) != nil {
		t.Errorf("the receipt: %+v, %v", signed, err)
	}
	token, err := asked.NewToken(t.Context(), api.TokenRequest{Life: 1e9})
	if err != nil || token.Text == "" {
		t.Errorf("a token: %+v, %v", token, err)
	}
	for listed, err := range asked.Tokens(t.Context()) {
		if err != nil || listed.ID != token.ID || listed.Text != "" {
			t.Errorf("a token in the list: %+v, %v", listed, err)
		}
	}
	if err := asked.RemoveToken(t.Context(), token.ID); err != nil {
		t.Error(err)
	}
}

// What is told of is written as everywhere: names in snake_case, times as RFC 3339 has them, and no number that a reader of JSON
// would round.
func TestAnswersAreWrittenAlike(t *testing.T) {
	s, c := newServer(t)
	err := s.Store.Update(t.Context(), c.id(), func(r *registry.Record) (*registry.Change, error) {
		r.Note(registry.Gap, chainTime, 3, "messages are missing")
		r.Report = &registry.ReportNote{At: chainTime, Condition: headersync.Condition{Version: "1.0"}}
		r.Traffic.Day, r.Traffic.Bytes = chainTime/86400, 7
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Registry.NewToken(t.Context(), 1e9, nil); err != nil {
		t.Fatal(err)
	}
	s.Live = func() *api.Live {
		return &api.Live{Brokers: []api.Broker{}, Database: &registry.Database{System: 7629871423857236481, Standbys: []registry.Standby{}}}
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	times, gateway := map[string]bool{}, "/v1/gateways/"+c.id().String()
	for _, path := range []string{"/v1/status", "/v1/gateways", gateway, gateway + "/headers", "/v1/tokens"} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		in := json.NewDecoder(response.Body)
		in.UseNumber()
		for {
			var v any
			if err := in.Decode(&v); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(path, err)
			}
			lookAt(t, path, v, times)
		}
		response.Body.Close()
	}
	for _, name := range []string{"added", "decided", "seen", "sealed", "time", "first", "last", "at", "genesis", "made", "expires"} {
		if !times[name] {
			t.Errorf("%s is no time anywhere", name)
		}
	}
}

// lookAt looks at all members of a value, and notes the names of those that are times.
func lookAt(t *testing.T, path string, v any, times map[string]bool) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			at := path + " " + name
			if !regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`).MatchString(name) { // a finding is called clock-step
				t.Errorf("%s: not in snake_case", at)
			}
			if text, ok := member.(string); ok {
				if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
					times[name] = true
				}
			}
			lookAt(t, at, member, times)
		}
	case []any:
		for _, member := range v {
			lookAt(t, path, member, times)
		}
	case json.Number:
		if n, err := v.Int64(); err != nil || n >= 1<<53 || n > 1e9 && n < 1e10 {
			t.Errorf("%s: %s is rounded by readers of JSON, or a time in seconds", path, v)
		}
	}
}

func TestNothingCanBeChangedOverTCP(t *testing.T) {
	s, c := newServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(ctx, l)
	}()
	defer func() { stop(); <-served }()
	url := "http://" + l.Addr().String()
	for _, path := range []string{"/v1/gateways/" + c.id().String() + "/forget", "/v1/gateways/" + c.id().String() + "/approve", "/v1/approve?name=*", "/v1/tokens"} {
		response, err := http.Post(url+path, "application/json", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %s", path, response.Status)
		}
	}
	response, err := http.Get(url + "/v1/gateways")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var g api.Gateway
	if err := json.NewDecoder(response.Body).Decode(&g); err != nil || g.Chain != c.id() || g.Standing != registry.Approved {
		t.Errorf("the gateway: %+v, %v", g, err)
	}
}

func TestWrongQuestionsAreAnsweredAsSuch(t *testing.T) {
	s, c := newServer(t)
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	for path, want := range map[string]int{
		"/v1/gateways/abc": 400, "/v1/gateways/aaaaaaaa": 404, "/v1/gateways/" + c.id().String() + "/headers?from=x": 400,
		"/v1/gateways/" + c.id().String() + "/receipt?height=21":      404,
		"/v1/gateways/" + c.id().String() + "/forks/0011223344556677": 404,
		"/healthz": 503, "/readyz": 503,
	} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != want || want < 500 && !bytes.HasPrefix(body, []byte(`{"error":"`)) {
			t.Errorf("%s: %s %s, want %d", path, response.Status, body, want)
		}
	}
}

func TestMetricsAreAsPrometheusWantsThem(t *testing.T) {
	promtool := testenv.Promtool(t)
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), func(c *aggregator.Config, _ *aggregator.Options) { c.Trust.Gateways = registry.TrustAll })
	g := newGateway(t, broker.Addr, newChain(t, "counted"), "", n.self)
	g.seal(3)
	g.awaitReceipt(n.self)
	server := httptest.NewServer(n.Server().Handler())
	defer server.Close()
	response, err := http.Get(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	for _, want := range []string{
		`edgeaggregator_receipts_total `, `edgeaggregator_pages_total{verdict="extended"}`, `edgeaggregator_broker_connected{broker="test"} 1`,
		`edgeaggregator_gateways_ailing{finding="fork"} 0`, `edgeaggregator_clock_synchronised 1`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is missing", want)
		}
	}
	if response, err := http.Get(server.URL + "/readyz"); err != nil || response.StatusCode != 200 {
		t.Errorf("readyz: %v, %v", response, err)
	}
}
