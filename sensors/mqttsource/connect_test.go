package mqttsource

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority issues certificates into a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", nil, nil)
	return a
}

func (a *authority) issue(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.n),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, by = c, key
	} else {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		c.DNSNames = []string{"broker.plant.example"}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", pkcs8)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func TestTLSWithOwnAuthorityAndClientCertificateWorksWithAClockIn1970(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server", a.cert, a.key)
	a.issue("gateway", a.cert, a.key)
	m := startBroker(t, fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nallow_anonymous false\nuse_identity_as_username true\n",
		a.file("ca.pem"), a.file("server.pem"), a.file("server.key")))

	cfg := config("mqtts://"+m.Addr, 1)
	cfg.TLS = &TLS{CAFile: a.file("ca.pem"), CertFile: a.file("gateway.pem"), KeyFile: a.file("gateway.key"), ServerName: "broker.plant.example"}
	cfg.Now = func() time.Time { return time.Unix(1000, 0) }

	t.Run("not without a floor, and it says why", func(t *testing.T) {
		s := run(t, cfg, newDisk(t, everything))
		s.await("a failure", func(st Stats) bool { return st.LastError != "" })
		if said := s.Stats().LastError; !strings.Contains(said, "is not reached: at 1970-01-01T00:16:40Z by this gateway's clock") {
			t.Errorf("it says %q", said)
		}
	})
	floored := cfg
	floored.TimeFloor = time.Now
	t.Run("with a floor", func(t *testing.T) {
		s := run(t, floored, newDisk(t, everything))
		s.awaitReady()
	})
	t.Run("with a renewed certificate from the next connection on", func(t *testing.T) {
		stranger := newAuthority(t)
		stranger.issue("gateway", stranger.cert, stranger.key)
		own := *cfg.TLS
		own.CertFile, own.KeyFile = stranger.file("gateway.pem"), stranger.file("gateway.key")
		renewed := floored
		renewed.TLS = &own
		s := run(t, renewed, newDisk(t, everything))
		s.await("a refusal", func(st Stats) bool { return strings.Contains(st.LastError, "tls:") })
		for _, name := range []string{"gateway.key", "gateway.pem"} {
			b, err := os.ReadFile(a.file(name))
			if err == nil {
				err = os.WriteFile(stranger.file(name), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s.awaitReady()
	})
	t.Run("not with the system's authorities", func(t *testing.T) {
		foreign := floored
		foreign.TLS = &TLS{ServerName: "broker.plant.example"}
		s := run(t, foreign, newDisk(t, everything))
		s.await("a failure", func(st Stats) bool { return strings.Contains(st.LastError, "unknown authority") })
	})
}

func TestWebSockets(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server", a.cert, a.key)
	for scheme, extra := range map[string]string{
		"ws":  "",
		"wss": fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\n", a.file("ca.pem"), a.file("server.pem"), a.file("server.key")),
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			// Mosquitto's own listener serves WebSockets, and the devices another one.
			port := freePort(t)
			m := startBroker(t, fmt.Sprintf("protocol websockets\n%slistener %d 127.0.0.1\n%s", extra, port, durableBroker))
			cfg := config(scheme+"://"+m.Addr+"/mqtt", 1)
			cfg.TLS = &TLS{CAFile: a.file("ca.pem"), ServerName: "broker.plant.example"}
			d := newDisk(t, everything)
			s := run(t, cfg, d)
			s.awaitReady()
			send(t, publisher(t, fmt.Sprintf("tcp://127.0.0.1:%d", port)), "line/1", 1, false, numbered(0, 500)...)
			d.awaitDurable(t, 500)
			s.await("all acknowledged", func(st Stats) bool { return st.Acknowledged == 500 })
		})
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAWrongPasswordIsToldFromABrokerThatIsNotReached(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("mosquitto_passwd is not installed")
	}
	passwords := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command(program, "-b", "-c", passwords, "gateway", "right").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := startBroker(t, "allow_anonymous false\npassword_file "+passwords+"\n")
	for _, c := range []struct{ user, password, want string }{
		{"gateway", "wrong", `answers, and refuses user "gateway" with this password`},
		{"", "", "answers, and refuses a client without user and password"},
	} {
		cfg := config(m.url, 1)
		cfg.User, cfg.Password = c.user, c.password
		s := run(t, cfg, newDisk(t, everything))
		s.await("a failure", func(st Stats) bool { return st.LastError != "" })
		if said := s.Stats().LastError; !strings.Contains(said, c.want) || strings.Contains(said, "wrong") {
			t.Errorf("it says %q", said)
		}
		s.stop()
	}
	cfg := config(m.url, 1)
	cfg.User, cfg.Password = "gateway", "right"
	run(t, cfg, newDisk(t, everything)).awaitReady()
}

func TestTheServersAreTriedInTurn(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	cfg := config(m.url, 1)
	cfg.Servers = []string{fmt.Sprintf("tcp://127.0.0.1:%d", freePort(t)), m.url}
	s := run(t, cfg, newDisk(t, everything))
	s.awaitReady()
	if st := s.Stats(); st.Server != m.url || st.Failures != 1 {
		t.Errorf("%+v", st)
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		`name "a:b"`:                   func(c *Config) { c.Name = "a:b" },
		"servers: none":                func(c *Config) { c.Servers = nil },
		`"http://h": an address is`:    func(c *Config) { c.Servers = []string{"http://h"} },
		"user and password stand in":   func(c *Config) { c.Servers = []string{"tcp://u:secret@h"} },
		"only ws:// and wss://":        func(c *Config) { c.Servers = []string{"tcp://h/mqtt"} },
		"client_id":                    func(c *Config) { c.Gateway = "" },
		"there is none":                func(c *Config) { c.Subscriptions = nil },
		`filter "a#"`:                  func(c *Config) { c.Subscriptions[0].Filter = "a#" },
		"QoS 3":                        func(c *Config) { c.Subscriptions[0].QoS = 3 },
		"keep_alive: 1ms is below 1s":  func(c *Config) { c.KeepAlive = time.Millisecond },
		"cert and key go together":     func(c *Config) { c.TLS = &TLS{CertFile: "x"} },
		"reading the authorities":      func(c *Config) { c.TLS = &TLS{CAFile: "/nowhere/ca.pem"} },
		"sends none without a user":    func(c *Config) { c.Password = "x" },
		"backoff_max: 1ms is below 1s": func(c *Config) { c.BackoffMin, c.BackoffMax = time.Second, time.Millisecond },
	} {
		cfg := config("tcp://localhost", 1)
		change(&cfg)
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("want %s\ngot  %v", want, err)
		}
	}
}

func TestAddressesGetTheirUsualPorts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"mqtt://broker":        "tcp://broker:1883",
		"tcp://broker:1":       "tcp://broker:1",
		"mqtts://broker":       "ssl://broker:8883",
		"ssl://[::1]":          "ssl://[::1]:8883",
		"ws://broker/mqtt":     "ws://broker:80/mqtt",
		"wss://broker:8/a?b=c": "wss://broker:8/a?b=c",
	} {
		if got, err := parseServer(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestBackoffDoublesToItsBoundAndVaries(t *testing.T) {
	t.Parallel()
	s, err := New(func() Config {
		c := config("tcp://localhost", 1)
		c.BackoffMin, c.BackoffMax = time.Second, time.Minute
		c.Jitter = func() float64 { return 0.5 }
		return c
	}())
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 6: time.Minute, 1000: time.Minute} {
		if got := s.backoff(n); got != want {
			t.Errorf("attempt %d waits %v, want %v", n, got, want)
		}
	}
	s.cfg.Jitter = func() float64 { return 0 }
	if got := s.backoff(0); got != time.Second/2 {
		t.Errorf("at least %v", got)
	}
}

func contains(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}
