package broker

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	pahopackets "github.com/eclipse/paho.mqtt.golang/packets"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
)

func pahoClient(t testing.TB, url string, change func(*paho.ClientOptions)) paho.Client {
	t.Helper()
	o := paho.NewClientOptions().AddBroker(url).SetClientID("paho").SetOrderMatters(true).SetMaxReconnectInterval(10 * time.Millisecond)
	if change != nil {
		change(o)
	}
	c := paho.NewClient(o)
	finish(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func finish(t testing.TB, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(testenv.Patience) {
		t.Fatal("no answer from the broker")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key to two files.
func selfSigned(t testing.TB, certFile, keyFile string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

func TestEveryKindOfListenerTakesARealClient(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := selfSigned(t, cert, key, 1)
	conf, err := Certificate(TLSFiles{Cert: cert, Key: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := autoDisk(t, 0)
	b := start(t, d, func(c *Config) {
		c.TLS, c.Listeners = conf, nil
		for _, kind := range []Kind{TCP, TLS, WS, WSS} {
			c.Listeners = append(c.Listeners, Listener{Kind: kind, Address: "127.0.0.1:0", Anonymous: true})
		}
	})
	urls := []string{"tcp://%s", "ssl://%s", "ws://%s/mqtt", "wss://%s/mqtt"}
	for i, addr := range b.Addrs() {
		url := fmt.Sprintf(urls[i], addr)
		t.Run(strings.SplitN(url, ":", 2)[0], func(t *testing.T) {
			c := pahoClient(t, url, func(o *paho.ClientOptions) { o.SetTLSConfig(&tls.Config{RootCAs: pool}) })
			got := make(chan string, 10)
			finish(t, c.Subscribe("x/#", 2, func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) }))
			big := strings.Repeat("y", 300_000) // many TCP segments, many WebSocket reads
			for qos, payload := range []string{"0", "1", big} {
				finish(t, c.Publish("x/y", byte(qos), false, payload))
				if received := <-got; received != payload {
					t.Fatalf("got %d bytes back, want %d", len(received), len(payload))
				}
			}
		})
	}
	if n := len(d.payloads()); n != 12 {
		t.Errorf("%d entries, want 12", n)
	}
}

func TestCertificateIsReadAgainWhenItHasChanged(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, cert, key, 1)
	conf, err := Certificate(TLSFiles{Cert: cert, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		c, err := conf.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	later := time.Now()
	renew := func(n int64) {
		selfSigned(t, cert, key, n)
		later = later.Add(time.Minute)
		if err := os.Chtimes(cert, later, later); err != nil {
			t.Fatal(err)
		}
	}
	renew(2)
	if got := serial(); got != 2 {
		t.Errorf("certificate %d is in use, want 2", got)
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("certificate %d is in use, want 2 as long as no other can be read", got)
	}
	renew(3)
	if got := serial(); got != 3 {
		t.Errorf("certificate %d is in use, want 3", got)
	}
	if _, err := Certificate(TLSFiles{Cert: cert, Key: filepath.Join(dir, "none")}, nil); err == nil {
		t.Error("a key that is missing was accepted at the start")
	}
}

func TestPacketTooLargeClosesTheConnection(t *testing.T) {
	d := newDisk(10)
	b := start(t, d, func(c *Config) { c.MaxPacket = 1000 })
	w := dial(t, b, login{id: "a", clean: true})
	w.publish(1, 1, "x", strings.Repeat("y", 900))
	d.await(1)
	d.commit(1)
	w.wants("PUBACK 1")
	w.send(typePublish<<4|2, make([]byte, 2000))
	w.closed()
	if _, err := New(Config{Limits: Limits{MaxPacket: 17 << 20}, Decode: undecoded, Listeners: []Listener{{Kind: TCP, Anonymous: true}}}); err == nil {
		t.Error("a limit above that of entries was accepted")
	}
}

func TestTakenPortIsNamedWithItsOwnerAndTakenWhenItIsFree(t *testing.T) {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b, err := New(Config{Decode: undecoded, Listeners: []Listener{
		{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}, {Kind: TCP, Address: ln.Addr().String(), Anonymous: true}}})
	if err != nil {
		t.Fatal(err)
	}
	err = b.Run(t.Context(), newDisk(1))
	if err == nil || !strings.Contains(err.Error(), "listening on "+ln.Addr().String()+": the port is taken by ") ||
		!strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) {
		t.Errorf("got error: %v", err)
	}
	ln.Close()
	run(t, b, newDisk(1))
	if addrs := b.Addrs(); len(addrs) != 2 || addrs[1].String() != ln.Addr().String() {
		t.Errorf("it listens on %v", addrs)
	}
}

func TestAnAddressThatIsNotUpIsAListenError(t *testing.T) {
	const documentation = "192.0.2.1:0" // RFC 5737: no machine's
	users := usersFile(t, "")
	b, err := New(Config{Listeners: []Listener{{Kind: TCP, Address: documentation}}, Users: users, Decode: undecoded})
	if err != nil {
		t.Fatal(err)
	}
	var cannot *ListenError
	if err := b.Run(t.Context(), newDisk(1)); !errors.As(err, &cannot) || cannot.Address != documentation {
		t.Errorf("got error: %v", err)
	}
}

func TestReplayFromMosquittoPubIsCompleteAndInOrder(t *testing.T) {
	pub := testenv.Program(t, "mosquitto_pub")
	d := autoDisk(t, time.Millisecond)
	b := start(t, d, nil)
	const n = 5000
	var rows bytes.Buffer
	for i := range n {
		fmt.Fprintf(&rows, "{\"n\":%d}\n", i)
	}
	host, port, _ := net.SplitHostPort(b.Addrs()[0].String())
	cmd := exec.Command(pub, "-h", host, "-p", port, "-q", "1", "-l", "-t", "replay", "-i", "pub")
	cmd.Stdin = &rows
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := d.payloads()
	if len(got) != n {
		t.Fatalf("%d entries, want %d", len(got), n)
	}
	for i, row := range got {
		if row != fmt.Sprintf("{\"n\":%d}", i) {
			t.Fatalf("entry %d is %s", i, row)
		}
	}
}

// copyingStore keeps copies and gives out copies: paho marks what it gets from its memory store as repeated while it may
// still be sending it, and writing a packet changes it.
type copyingStore struct {
	paho.Store
	mu sync.Mutex
}

func (s *copyingStore) Put(key string, p pahopackets.ControlPacket) {
	s.Store.Put(key, copyPacket(p)) // not sent yet
}

func (s *copyingStore) Get(key string) pahopackets.ControlPacket {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.Store.Get(key)
	if p == nil {
		return nil
	}
	return copyPacket(p)
}

func copyPacket(p pahopackets.ControlPacket) pahopackets.ControlPacket {
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		panic(err)
	}
	p, err := pahopackets.ReadPacket(&b)
	if err != nil {
		panic(err)
	}
	return p
}

// A client with a persistent session publishes while its connections are cut again and again: what was acknowledged is
// there, and what stands twice is flagged.
func TestCutConnectionsLoseNothingAndFlagWhatIsTwice(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			d := autoDisk(t, 2*time.Millisecond)
			b := start(t, d, nil)
			c := pahoClient(t, "tcp://"+b.Addrs()[0].String(), func(o *paho.ClientOptions) {
				o.SetCleanSession(false).SetAutoReconnect(true).SetMaxReconnectInterval(time.Second).SetMessageChannelDepth(10)
				o.SetStore(&copyingStore{Store: paho.NewMemoryStore()})
			})
			const n, cuts = 4000, 20
			for i := range n {
				c.Publish("x", qos, false, strconv.Itoa(i)) // its token proves nothing: paho completes some at a cut
				if i%(n/cuts) == n/cuts-1 {
					b.mu.Lock()
					for c := range b.conns {
						c.Close()
					}
					b.mu.Unlock()
					await(t, c.IsConnectionOpen)
				}
			}
			seen := make(map[string]int)
			await(t, func() bool {
				clear(seen)
				d.mu.Lock()
				defer d.mu.Unlock()
				for _, m := range d.entries {
					p := string(m.Payload)
					if seen[p]++; seen[p] > 1 && m.Flags&lightchain.Redelivered == 0 {
						t.Fatalf("%s stands twice, not flagged", p)
					}
				}
				return len(seen) == n
			})
			t.Logf("%d entries for %d messages, %d repetitions recognised", len(d.entries), n, b.Stats().Recognised)
		})
	}
}
