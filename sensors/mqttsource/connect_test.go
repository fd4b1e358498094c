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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/mqttconn"
	"edgechain.example/tomlconf"
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
	cfg.TLSCA, cfg.TLSCert, cfg.TLSKey, cfg.TLSServerName = a.file("ca.pem"), a.file("gateway.pem"), a.file("gateway.key"), "broker.plant.example"
	cfg.Now = func() time.Time { return time.Unix(1000, 0) }

	t.Run("not without a floor, and it says why", func(t *testing.T) {
		s := run(t, cfg, newDisk(t, everything))
		s.await("a failure", func(st Stats) bool { return st.LastError != "" })
		if said := s.Stats().LastError; !strings.Contains(said, "is not reached: at 1970-01-01T00:16:40Z by this machine's clock") {
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
		renewed := floored
		renewed.TLSCert, renewed.TLSKey = stranger.file("gateway.pem"), stranger.file("gateway.key")
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
		foreign.TLSCA, foreign.TLSCert, foreign.TLSKey = "", "", ""
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
			port := testenv.FreePort(t)
			m := startBroker(t, fmt.Sprintf("protocol websockets\n%slistener %d 127.0.0.1\n%s", extra, port, durableBroker))
			cfg := config(scheme+"://"+m.Addr+"/mqtt", 1)
			cfg.TLSCA, cfg.TLSServerName = a.file("ca.pem"), "broker.plant.example"
			d := newDisk(t, everything)
			s := run(t, cfg, d)
			s.awaitReady()
			send(t, publisher(t, fmt.Sprintf("tcp://127.0.0.1:%d", port)), "line/1", 1, false, numbered(0, 500)...)
			d.awaitDurable(t, 500)
			s.await("all acknowledged", func(st Stats) bool { return st.Acknowledged == 500 })
		})
	}
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
	for _, c := range []struct {
		user     string
		password tomlconf.Secret
		want     string
	}{
		{"gateway", "wrong", `answers, and refuses user "gateway" with this password`},
		{"", "", "answers, and refuses a client without user and password"},
	} {
		cfg := config(m.url, 1)
		cfg.Username, cfg.Password = c.user, c.password
		s := run(t, cfg, newDisk(t, everything))
		s.await("a failure", func(st Stats) bool { return st.LastError != "" })
		if said := s.Stats().LastError; !strings.Contains(said, c.want) || strings.Contains(said, "wrong") {
			t.Errorf("it says %q", said)
		}
		s.stop()
	}
	cfg := config(m.url, 1)
	cfg.Username, cfg.Password = "gateway", "right"
	run(t, cfg, newDisk(t, everything)).awaitReady()
}

func TestTheServersAreTriedInTurn(t *testing.T) {
	t.Parallel()
	m := startBroker(t, durableBroker)
	cfg := config(m.url, 1)
	cfg.Servers = []mqttconn.Server{mqttconn.Server(fmt.Sprintf("tcp://127.0.0.1:%d", testenv.FreePort(t))), mqttconn.Server(m.url)}
	s := run(t, cfg, newDisk(t, everything))
	s.awaitReady()
	if st := s.Stats(); st.Server != m.url || st.Failures != 1 {
		t.Errorf("%+v", st)
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		`name "a:b"`:                    func(c *Config) { c.Name = "a:b" },
		"servers: none":                 func(c *Config) { c.Servers = nil },
		"client_id":                     func(c *Config) { c.Gateway = "" },
		"there is none":                 func(c *Config) { c.Subscriptions = nil },
		`filter "a#"`:                   func(c *Config) { c.Subscriptions[0].Filter = "a#" },
		"QoS 3":                         func(c *Config) { c.Subscriptions[0].QoS = 3 },
		"drain_timeout: -1s is below 0": func(c *Config) { c.DrainTimeout = -time.Second },
	} {
		cfg := config("tcp://localhost", 1)
		change(&cfg)
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("want %s\ngot  %v", want, err)
		}
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
