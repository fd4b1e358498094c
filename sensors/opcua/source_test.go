//go:build !noopcua

package opcua

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
)

// configOf returns the configuration of a server without security, with one subscription of those nodes of the press.
func configOf(endpoint string, nodes ...string) Config {
	c := Config{Name: "line-1", Endpoint: endpoint}
	c.SetDefaults()
	c.SecurityPolicy, c.SecurityMode, c.Timeout = policyNone, modeNone, 20*time.Second
	g := Subscribe{Name: "press", Device: "press-07"}
	g.SetDefaults()
	g.Interval = 50 * time.Millisecond
	for _, n := range nodes {
		g.Nodes = append(g.Nodes, NodeConfig{ID: "ns=1;s=" + n, Name: strings.ToLower(n)})
	}
	c.Subscribe = []Subscribe{g}
	return c
}

// heard is what a source gives and tells.
type heard struct {
	mu      sync.Mutex
	took    []*sensors.Message
	changes []poll.Change
	lost    []string
}

func (h *heard) Put(ctx context.Context, m *sensors.Message) error {
	h.mu.Lock()
	h.took = append(h.took, m)
	h.mu.Unlock()
	if m.Done != nil {
		m.Done(nil)
	}
	return ctx.Err()
}

func (h *heard) TryPut(*sensors.Message) bool { return false }

func (h *heard) options(t *testing.T) Options {
	return Options{Folder: filepath.Join(t.TempDir(), "opcua"), Gateway: "gateway 7",
		Lost: func(n int, why string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.lost = append(h.lost, fmt.Sprint(n, " ", why))
		},
		Changed: func(_ context.Context, c poll.Change) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changes = append(h.changes, c)
			return nil
		}}
}

// readings returns the readings so far, in short, each once.
func (h *heard) readings() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.took {
		for i := range m.Readings {
			if line := m.Source + " " + lineOf(&m.Readings[i]); !slices.Contains(all, line) {
				all = append(all, line)
			}
		}
	}
	return all
}

func lineOf(r *lightchain.Reading) string {
	line := fmt.Sprintf("%s %s = %s", r.Device, r.Name, r.Value)
	if r.Unit != "" {
		line += " " + r.Unit
	}
	if r.Timed {
		line += " at " + time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
	}
	if r.Quality&lightchain.Bad != 0 {
		line += " bad"
	}
	return line
}

func (h *heard) told() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.changes {
		for _, f := range c.Failing {
			all = append(all, fmt.Sprintf("%s %s fails: %s", c.Group, f.Read, f.Why))
		}
		for _, r := range c.Recovered {
			all = append(all, fmt.Sprintf("%s %s is back", c.Group, r.Read))
		}
	}
	return all
}

// run runs a source until the test ends.
func run(t *testing.T, c Config) (*Source, *heard) {
	t.Helper()
	h := new(heard)
	s := New(c, h.options(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, h
}

func has(t *testing.T, h *heard, lines ...string) {
	t.Helper()
	testenv.Await(t, strings.Join(lines, ", "), func() bool {
		all := h.readings()
		return !slices.ContainsFunc(lines, func(line string) bool { return !slices.Contains(all, line) })
	})
}

func TestValuesAreRecordedWithTheirTimesAndStatus(t *testing.T) {
	server := testenv.NewOPCUA(t, nil, nil)
	c := configOf(server.Endpoint, "Temperature", "Count", "Model", "Axes", "Guard", "Doubtful", "Broken", "Nowhere")
	c.Subscribe[0].Nodes[0].Unit = "°C"
	s, h := run(t, c)
	has(t, h,
		"opcua:line-1:ns=1;s=Temperature press-07 temperature = 21.7 Cel at 2026-03-01T08:00:00.125Z",
		"opcua:line-1:ns=1;s=Doubtful press-07 doubtful = 1.5 at 2026-03-01T08:00:00.125Z bad")
	testenv.Await(t, "all values", func() bool {
		all := strings.Join(h.readings(), "\n")
		for _, part := range []string{"opcua:line-1:i=2255 line-1 NamespaceArray.1 = urn:edgechain:test:server", "press-07 model = Press 07", "press-07 count = 7", "press-07 axes.1 = -2", "press-07 guard = true", "press-07 broken = "} {
			if !strings.Contains(all, part) {
				return false
			}
		}
		return true
	})
	for _, line := range h.readings() {
		if strings.Contains(line, "broken = ") && !strings.HasSuffix(line, " bad") {
			t.Error(line)
		}
	}
	// What is in an entry gives its readings again, and has the status and both times.
	h.mu.Lock()
	for _, m := range h.took {
		_, v, err := parsePayload(m.Payload)
		if err != nil {
			t.Fatal(m.Source, err)
		}
		if strings.HasSuffix(m.Source, "Doubtful") && (v.Status != 0x40900000 || v.SourceTimestamp.IsZero() || v.ServerTimestamp.IsZero()) {
			t.Errorf("%+v", v)
		}
	}
	h.mu.Unlock()
	if told := h.told(); len(told) != 1 || !strings.HasPrefix(told[0], "press ns=1;s=Nowhere fails: ") || !strings.Contains(told[0], "BadNodeIDUnknown") {
		t.Errorf("told %q", told)
	}
	if st := s.Stats(); !st.Open || st.Groups[0].Nodes != 8 || st.Groups[0].Failing != 1 || st.Messages < 8 {
		t.Errorf("%+v", st)
	}

	server.Set("Temperature", 30, 30)
	testenv.Await(t, "the new value", func() bool { return strings.Contains(strings.Join(h.readings(), "\n"), "temperature = 30.0 Cel") })
	testenv.Await(t, "an acknowledgement's way", func() bool { return s.Stats().Groups[0].Came >= 2 })

	answers, err := s.Once(t.Context(), "press")
	if err != nil || len(answers) != 8 || answers[0].Err != nil || answers[0].Message.Readings[0].Value != lightchain.Float(30) || !errors.As(answers[7].Err, new(*poll.RefusedError)) {
		t.Errorf("%+v, %v", answers, err)
	}
	if _, err := s.Once(t.Context(), "oven"); !errors.Is(err, poll.ErrNoGroup) {
		t.Error(err)
	}
	nodes, err := Browse(t.Context(), &c, s.options, "", 2)
	if err != nil || !slices.Contains(nodes, Node{ID: "ns=1;s=Press", Class: "Object", Name: "Press", Depth: 1}) || !slices.Contains(nodes, Node{ID: "ns=1;s=Temperature", Class: "Variable", Name: "Temperature", Depth: 2}) {
		t.Errorf("%v, %v", nodes, err)
	}

	// A server that is away is told once, and nothing old is recorded.
	server.Stop()
	testenv.Await(t, "the failure", func() bool { return s.Stats().Failed > 1 })
	if told := h.told(); len(told) != 2 || !strings.HasPrefix(told[1], "  fails: ") {
		t.Errorf("told %q", told)
	}
	if answers, err := s.Once(t.Context(), ""); err != nil || len(answers) != 1 || answers[0].Err == nil {
		t.Errorf("%+v, %v", answers, err)
	}
	server.Start()
	testenv.Await(t, "the recovery", func() bool { return s.Stats().Open })
	server.Set("Temperature", 31, 31)
	testenv.Await(t, "a value after it", func() bool { return strings.Contains(strings.Join(h.readings(), "\n"), "temperature = 31.0 Cel") })
	if told := h.told(); len(told) != 3 || told[2] != "  is back" {
		t.Errorf("told %q", told)
	}
}

func TestAQueueThatOverflowsIsALoss(t *testing.T) {
	server := testenv.NewOPCUA(t, nil, nil)
	c := configOf(server.Endpoint, "Temperature")
	c.Subscribe[0].Interval, c.Subscribe[0].Sampling, c.Subscribe[0].Queue = time.Second, 10*time.Millisecond, 2
	_, h := run(t, c)
	has(t, h, "opcua:line-1:ns=1;s=Temperature press-07 temperature = 21.7 at 2026-03-01T08:00:00.125Z")
	from := 100
	testenv.Await(t, "the loss", func() bool {
		server.Set("Temperature", from, from)
		from++
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.lost) > 0
	})
	if !strings.HasPrefix(h.lost[0], "0 the server kept no more than its queue holds") {
		t.Errorf("%q", h.lost)
	}
}

// With security both sides show certificates, and each must be trusted by the other.
func TestServersAndUsersAreToldApart(t *testing.T) {
	folder := t.TempDir()
	o := (&heard{}).options(t)
	own, err := ownIdentity(&Config{}, &o)
	if err != nil {
		t.Fatal(err)
	}
	if stat, err := os.Stat(filepath.Join(o.Folder, keyFile)); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", stat, err)
	}
	if again, err := ownIdentity(&Config{}, &o); err != nil || string(again.certificate) != string(own.certificate) || own.uri != "urn:edgechain:edgeagent:gateway%207" {
		t.Errorf("another one: %v, %q", err, own.uri)
	}
	userCert, userKey := filepath.Join(folder, "user.pem"), filepath.Join(folder, "user.key")
	user := testenv.RSACertificate(t, "urn:user", userCert, userKey)
	strangerCert, strangerKey := filepath.Join(folder, "stranger.pem"), filepath.Join(folder, "stranger.key")
	testenv.RSACertificate(t, "urn:stranger", strangerCert, strangerKey)
	server := testenv.NewOPCUA(t, [][]byte{own.certificate}, [][]byte{user})
	sum := sha256.Sum256(server.Certificate)
	fingerprint := hex.EncodeToString(sum[:])
	file := filepath.Join(folder, "server.pem")
	if err := os.WriteFile(file, server.Certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(folder, "password")
	if err := os.WriteFile(password, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string // in the error; "": the value is read
	}{
		"nothing says who the server is":     {func(c *Config) { c.ServerFingerprint = "" }, fmt.Sprintf("write server_fingerprint = %q", fingerprint)},
		"another fingerprint":                {func(c *Config) { c.ServerFingerprint = strings.Repeat("0", 64) }, "the server shows another certificate than the one that is trusted"},
		"another file":                       {func(c *Config) { c.ServerFingerprint, c.ServerCertificate = "", userCert }, "the server shows another certificate than the one that is trusted"},
		"signed and encrypted":               {func(c *Config) {}, ""},
		"signed":                             {func(c *Config) { c.SecurityMode = modeSign }, ""},
		"the server's file":                  {func(c *Config) { c.ServerFingerprint, c.ServerCertificate = "", file }, ""},
		"a user":                             {func(c *Config) { c.Username, c.Password = "reader", "right" }, ""},
		"a user whose password is in a file": {func(c *Config) { c.Username, c.PasswordFile = "reader", password }, ""},
		"a wrong password":                   {func(c *Config) { c.Username, c.Password = "reader", "wrong" }, "the server does not let the gateway in: are user and password, or the user's certificate, right?"},
		"a user's certificate":               {func(c *Config) { c.UserCertificate, c.UserPrivateKey = userCert, userKey }, ""},
		"a stranger's certificate":           {func(c *Config) { c.UserCertificate, c.UserPrivateKey = strangerCert, strangerKey }, "the server does not let the gateway in"},
		"a gateway that nobody trusts":       {func(c *Config) { c.Certificate, c.PrivateKey = strangerCert, strangerKey }, "does the server trust the gateway's certificate?"},
		"a user without security": {func(c *Config) {
			c.SecurityPolicy, c.SecurityMode, c.ServerFingerprint, c.Username, c.Password = policyNone, modeNone, "", "reader", "right"
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := configOf(server.Endpoint, "Temperature")
			c.SecurityPolicy, c.SecurityMode, c.ServerFingerprint = policyBasic, modeBoth, fingerprint
			test.change(&c)
			answers, err := ReadOnce(t.Context(), &c, o, "press")
			if err != nil || len(answers) != 1 {
				t.Fatalf("%+v, %v", answers, err)
			}
			switch a := answers[0]; {
			case test.want == "" && (a.Err != nil || lineOf(&a.Message.Readings[0]) != "press-07 temperature = 21.7 at 2026-03-01T08:00:00.125Z"):
				t.Errorf("%+v", a)
			case test.want != "" && (a.Err == nil || !strings.Contains(a.Err.Error(), test.want)):
				t.Errorf("got %v, want %s", a.Err, test.want)
			}
		})
	}
	c := configOf(server.Endpoint, "Temperature")
	c.SecurityPolicy, c.SecurityMode, c.ServerFingerprint = policyBasic, modeBoth, fingerprint
	h := new(heard)
	o.Changed, o.Lost = h.options(t).Changed, nil
	s := New(c, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h) }()
	testenv.Await(t, "a value over the secured channel", func() bool { return strings.Contains(strings.Join(h.readings(), "\n"), "temperature = 21.7") })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
