package mqttconn

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/build/testenv"
	"edgechain.example/tomlconf"
)

// await waits for what other goroutines and processes will bring about.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// quick is a broker that is not waited for long.
func quick(id string, servers ...Server) (Config, Options) {
	return Config{Name: id, ClientID: id, Servers: servers, KeepAlive: time.Minute, ConnectTimeout: time.Minute},
		Options{BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond}
}

// keep connects until the test ends. Each connection stands until it is lost.
func keep(t testing.TB, c Config, o Options) (b *Broker, connections <-chan *Connection) {
	t.Helper()
	b, err := New(&c, &o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, made := make(chan struct{}), make(chan *Connection, 100)
	go func() {
		defer close(done)
		b.Keep(ctx, func(ctx context.Context, dial Dial) error {
			lost := make(chan error, 1)
			conn, err := dial(Terms{Receive: func(m mqtt.Message) { m.Ack() }, Lost: func(err error) { lost <- err }})
			if err != nil {
				return err
			}
			defer conn.Disconnect(100)
			made <- conn
			select {
			case err := <-lost:
				return err
			case <-ctx.Done():
				return nil
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b, made
}

// roundTrip shows that a connection carries messages.
func roundTrip(t testing.TB, c *Connection) {
	t.Helper()
	back := make(chan string, 1)
	if token := c.Subscribe("t", 1, func(_ mqtt.Client, m mqtt.Message) { back <- string(m.Payload()) }); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	c.Publish("t", 1, false, "hello")
	if got := <-back; got != "hello" {
		t.Errorf("received %q", got)
	}
}

func TestConnectionsInEveryForm(t *testing.T) {
	pki := newPKI(t, t.TempDir())
	tlsLines := fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\n", pki.ca, pki.server, pki.serverKey)
	trusted, known := Config{TLSCA: pki.ca}, Config{TLSCA: pki.ca, TLSCert: pki.client, TLSKey: pki.clientKey}
	// Mosquitto does not run with listeners for WebSocket alone.
	webSocket := fmt.Sprintf("protocol websockets\nlistener %d 127.0.0.1\n", testenv.FreePort(t))
	for _, c := range []struct {
		name, scheme, config string
		tls                  Config
		refused              string // part of why there is no connection; "" where there is one
	}{
		{"tcp", "tcp", "", Config{}, ""},
		{"mqtt", "mqtt", "", Config{}, ""},
		{"WebSocket", "ws", webSocket, Config{}, ""},
		{"TLS", "ssl", tlsLines, trusted, ""},
		{"TLS with a client's certificate", "mqtts", tlsLines + "require_certificate true\n", known, ""},
		{"TLS without the certificate asked for", "ssl", tlsLines + "require_certificate true\n", trusted, "gives no MQTT answer"},
		{"TLS of an authority that is not trusted", "ssl", tlsLines, Config{}, "certificate"},
		{"TLS of another name", "ssl", tlsLines, Config{TLSCA: pki.ca, TLSServerName: "elsewhere.example"}, "elsewhere.example"},
		{"WebSocket over TLS", "wss", tlsLines + webSocket, trusted, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, o := quick("c", Server(c.scheme+"://"+testenv.Mosquitto(t, c.config).Addr))
			cfg.TLSCA, cfg.TLSCert, cfg.TLSKey, cfg.TLSServerName = c.tls.TLSCA, c.tls.TLSCert, c.tls.TLSKey, c.tls.TLSServerName
			b, connections := keep(t, cfg, o)
			if c.refused != "" {
				await(t, "the reason", func() bool { return b.Status().LastError != "" })
				if why := b.Status().LastError; !strings.Contains(why, c.refused) && !strings.Contains(why, "certificate required") {
					t.Errorf("no connection because %q, want %q", why, c.refused)
				}
				return
			}
			roundTrip(t, <-connections)
		})
	}
}

func TestACertificateIsCheckedAtAPlausibleTime(t *testing.T) {
	pki := newPKI(t, t.TempDir())
	m := testenv.Mosquitto(t, fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\n", pki.ca, pki.server, pki.serverKey))
	c, o := quick("c", Server("ssl://"+m.Addr))
	c.TLSCA = pki.ca
	o.Now = func() time.Time { return time.Unix(0, 0) }
	b, _ := keep(t, c, o)
	await(t, "the refusal", func() bool {
		return strings.Contains(b.Status().LastError, "is not reached: at 1970-01-01T00:00:00Z by this machine's clock")
	})
	c.ClientID, o.TimeFloor = "d", time.Now
	_, connections := keep(t, c, o)
	<-connections
}

func TestARenewedCertificateIsUsedFromTheNextConnectionOn(t *testing.T) {
	dir := t.TempDir()
	pki, strangers := newPKI(t, dir), newPKI(t, t.TempDir())
	m := testenv.Mosquitto(t, fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\n", pki.ca, pki.server, pki.serverKey))
	c, o := quick("c", Server("ssl://"+m.Addr))
	c.TLSCA, c.TLSCert, c.TLSKey = pki.ca, strangers.client, strangers.clientKey
	b, connections := keep(t, c, o)
	await(t, "the refusal", func() bool { return b.Status().LastError != "" })
	for from, to := range map[string]string{pki.client: c.TLSCert, pki.clientKey: c.TLSKey} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	<-connections
}

func TestUsersAndPasswordFilesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if out, err := exec.Command(testenv.Program(t, "mosquitto_passwd"), "-b", "-c", users, "agg", "right").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(users, 0o644); err != nil {
		t.Fatal(err)
	}
	m := testenv.Mosquitto(t, "allow_anonymous false\npassword_file "+users+"\n")
	c, o := quick("agg", Server("tcp://"+m.Addr))
	c.Username, c.PasswordFile = "agg", filepath.Join(dir, "password")
	write := func(password string) {
		// Whole at once: a connection may be made at any moment.
		if err := os.WriteFile(c.PasswordFile+".new", []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(c.PasswordFile+".new", c.PasswordFile); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	b, connections := keep(t, c, o)
	await(t, "the refusal", func() bool {
		return strings.Contains(b.Status().LastError, `answers, and refuses user "agg" with this password`)
	})
	write("right")
	<-connections
	c, o = quick("nobody", Server("tcp://"+m.Addr))
	b, _ = keep(t, c, o)
	await(t, "the refusal", func() bool {
		return strings.Contains(b.Status().LastError, "answers, and refuses a client without user and password")
	})
}

func TestServersAreTriedInTurn(t *testing.T) {
	m := testenv.Mosquitto(t, "")
	c, o := quick("c", Server(fmt.Sprintf("tcp://127.0.0.1:%d", testenv.FreePort(t))), Server("tcp://"+m.Addr))
	b, connections := keep(t, c, o)
	<-connections
	if st := b.Status(); st.Server != "tcp://"+m.Addr || st.Failures != 1 || st.Connections != 1 || st.LastError != "" {
		t.Errorf("%+v", st)
	}
}

// A server that accepts and says nothing must not be waited for longer than the timeout, and the next one is tried.
func TestASilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	m := testenv.Mosquitto(t, "")
	c, o := quick("c", Server("tcp://"+silent.Addr().String()), Server("tcp://"+m.Addr))
	c.ConnectTimeout = 5 * time.Second // the other one gets as long, again and again
	b, connections := keep(t, c, o)
	<-connections
	if st := b.Status(); st.Failures == 0 {
		t.Errorf("%+v", st)
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config, *Options){
		"servers: none": func(c *Config, _ *Options) { c.Servers = nil },
		"servers: http:// is not a way to a broker":      func(c *Config, _ *Options) { c.Servers = []Server{"http://h"} },
		"servers: expected user and password in":         func(c *Config, _ *Options) { c.Servers = []Server{"tcp://u:secret@h"} },
		"servers: expected tcp://":                       func(c *Config, _ *Options) { c.Servers = []Server{"tcp://u:secret@h:port"} },
		"only ws:// and wss:// have one":                 func(c *Config, _ *Options) { c.Servers = []Server{"tcp://h/mqtt"} },
		"client_id":                                      func(c *Config, _ *Options) { c.ClientID = "" },
		"keep_alive: 1ms is not in 1s to 18h12m15s":      func(c *Config, _ *Options) { c.KeepAlive = time.Millisecond },
		"tls: cert and key go together":                  func(c *Config, _ *Options) { c.TLSCert = "x" },
		"tls: reading the authorities":                   func(c *Config, _ *Options) { c.TLSCA = "nowhere" },
		"sends none without a user":                      func(c *Config, _ *Options) { c.Password = "secret" },
		"reading the password of c":                      func(c *Config, _ *Options) { c.Username, c.PasswordFile = "u", "nowhere" },
		"backoff_max: 1s is not in 1m0s to 24h0m0s":      func(_ *Config, o *Options) { o.BackoffMin, o.BackoffMax = time.Minute, time.Second },
		"connect_timeout: 1ns is not in 1ms to 1h0m0s":   func(c *Config, _ *Options) { c.ConnectTimeout = 1 },
		"backoff_min: 2h0m0s is not in 1ms to 1h0m0s":    func(_ *Config, o *Options) { o.BackoffMin = 2 * time.Hour },
		"tls: pki_test.go holds no certificate in PEM f": func(c *Config, _ *Options) { c.TLSCA = "pki_test.go" },
	} {
		c, o := quick("c", "tcp://x")
		change(&c, &o)
		if _, err := New(&c, &o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("want %s\ngot  %v", want, err)
		}
	}
}

func TestAddressesGetTheirUsualPorts(t *testing.T) {
	for text, want := range map[Server]string{
		"mqtt://broker":        "tcp://broker:1883",
		"tcp://broker:1":       "tcp://broker:1",
		"mqtts://broker":       "ssl://broker:8883",
		"ssl://[::1]":          "ssl://[::1]:8883",
		"ws://broker/mqtt":     "ws://broker:80/mqtt",
		"wss://broker:8/a?b=c": "wss://broker:8/a?b=c",
	} {
		if got, err := text.parse(); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestBackoffDoublesToItsBoundAndVaries(t *testing.T) {
	jitter := 0.5
	c, o := quick("c", "tcp://x")
	o.BackoffMin, o.BackoffMax, o.Jitter = time.Second, time.Minute, func() float64 { return jitter }
	b, err := New(&c, &o)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 6: time.Minute, 1000: time.Minute} {
		if got := b.backoff(n); got != want {
			t.Errorf("attempt %d waits %v, want %v", n, got, want)
		}
	}
	jitter = 0
	if got := b.backoff(0); got != time.Second/2 {
		t.Errorf("at least %v", got)
	}
}

func TestAPasswordFileIsReadWithoutItsLineBreak(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p")
	for text, want := range map[string]string{" pass \r\n": " pass ", "pass\n\n": "pass\n", "pass": "pass"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Config{Username: "u", PasswordFile: file}
		if user, password, err := c.Credentials(); err != nil || user != "u" || password != want {
			t.Errorf("%q: %q, %q, %v", text, user, password, err)
		}
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (&Config{Username: "u", PasswordFile: file}).Credentials(); err == nil {
		t.Error("an empty password file is a mistake")
	}
	if _, password, err := (&Config{Username: "u", Password: tomlconf.Secret("in place")}).Credentials(); err != nil || password != "in place" {
		t.Errorf("%q, %v", password, err)
	}
}
