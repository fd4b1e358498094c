package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/crypto/bcrypt"

	"edgechain.example/build/testenv"
)

// authority issues certificates of clients.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plant"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue writes a client's certificate and key.
func (a *authority) issue(cn string, change func(*x509.Certificate)) (cert, key string) {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// certified starts a broker that takes users from certificates, at TLS and at WebSocket over TLS, and returns what a client needs.
func certified(t *testing.T, d *disk, a *authority, required bool, from string, change func(*Config)) (b *Broker, log *testenv.Log, client func(cert, key string) *tls.Config, serverCert string) {
	t.Helper()
	dir := t.TempDir()
	serverCert = filepath.Join(dir, "server.pem")
	pool := selfSigned(t, serverCert, filepath.Join(dir, "server.key"), 1)
	conf, err := Certificate(TLSFiles{Cert: serverCert, Key: filepath.Join(dir, "server.key"), ClientCA: a.file, ClientRequired: required}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	log = new(testenv.Log)
	b = start(t, d, func(c *Config) {
		c.TLS, c.CertificateUser, c.Log = conf, from, log.Logger()
		c.Listeners = []Listener{{Kind: TLS, Address: "127.0.0.1:0"}, {Kind: WSS, Address: "127.0.0.1:0"}}
		c.Users = usersFile(t, `
			user press-08 certificate
			  allow publish factory/%u/#
			user press-07 `+hashed(t, "secret", bcrypt.MinCost)+`
			  allow publish factory/%u/#`)
		if change != nil {
			change(c)
		}
	})
	return b, log, func(cert, key string) *tls.Config {
		c := &tls.Config{RootCAs: pool}
		if cert != "" {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		return c
	}, serverCert
}

// over dials with TLS; a server that refuses a certificate says so at the first read.
func over(t *testing.T, b *Broker, conf *tls.Config, l login) (w *wire, err error) {
	t.Helper()
	nc, err := tls.Dial("tcp", b.Addrs()[0].String(), conf)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { nc.Close() })
	if _, err := nc.Write([]byte{typePingreq << 4}[:0]); err != nil {
		return nil, err
	}
	return connect(t, nc, l), nil
}

func TestACertificateNamesTheUser(t *testing.T) {
	a := newAuthority(t)
	d := autoDisk(t, 0)
	b, log, client, _ := certified(t, d, a, false, UserFromCN, nil)
	cert, key := a.issue("press-08", nil)
	said := func(l login) byte {
		t.Helper()
		w, err := over(t, b, client(cert, key), l)
		if err != nil {
			t.Fatal(err)
		}
		return w.code
	}
	// Whatever the CONNECT says.
	w, err := over(t, b, client(cert, key), login{id: "c", clean: true, user: "press-07", password: "wrong"})
	if err != nil || w.code != 0 {
		t.Fatalf("%v, code %d", err, w.code)
	}
	w.publish(1, 1, "factory/press-08/t", "21")
	w.wants("PUBACK 1")
	if got := d.sources(); !slices.Equal(got, []string{"broker:press-08/c:factory/press-08/t"}) {
		t.Errorf("the entry is from %v", got)
	}
	w.publish(2, 1, "factory/press-07/t", "21")
	w.closed()
	if code := said(login{id: "d", clean: true}); code != 0 {
		t.Errorf("without a user in the CONNECT: %d", code)
	}
	// Who has a password may show a certificate, too.
	cert, key = a.issue("press-07", nil)
	if code := said(login{id: "e", clean: true}); code != 0 {
		t.Errorf("of a user with a password: %d", code)
	}
	// A certificate that names nobody who may come in lets nobody in, with a right password neither.
	for _, name := range []string{"press-09", "", "a/b", "-"} {
		cert, key = a.issue(name, nil)
		if code := said(login{id: "f", clean: true, user: "press-07", password: "secret"}); code != 5 {
			t.Errorf("the name %q: %d", name, code)
		}
	}
	// Of two names it is not said which is the user: Mosquitto takes the first, Go the last.
	cert, key = a.issue("press-08", func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "press-07"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "press-08"}}
	})
	if code := said(login{id: "f", clean: true}); code != 5 {
		t.Errorf("two common names: %d", code)
	}
	// Without a certificate a password is wanted, and the user of a certificate has none.
	cert, key = "", ""
	for _, c := range []struct {
		user, password string
		code           byte
	}{{"press-07", "secret", 0}, {"press-08", "", 5}, {"press-08", "certificate", 5}, {"", "", 5}} {
		if code := said(login{id: "g", clean: true, user: c.user, password: c.password}); code != c.code {
			t.Errorf("%s with %q: %d, want %d", c.user, c.password, code, c.code)
		}
	}
	if !strings.Contains(log.String(), "names press-09, who is no user here") {
		t.Errorf("not told:\n%s", log)
	}
}

func TestACertificatesAlternativeNameIsTheUser(t *testing.T) {
	a := newAuthority(t)
	b, _, client, _ := certified(t, autoDisk(t, 0), a, false, UserFromSAN, nil)
	for _, c := range []struct {
		names []string
		code  byte
	}{{[]string{"press-08"}, 0}, {nil, 5}, {[]string{"press-08", "press-07"}, 5}, {[]string{"press-09"}, 5}} {
		cert, key := a.issue("press-07", func(x *x509.Certificate) { x.DNSNames = c.names })
		if w, err := over(t, b, client(cert, key), login{id: "c", clean: true}); err != nil || w.code != c.code {
			t.Errorf("%v: %v, %+v", c.names, err, w)
		}
	}
}

// Real clients; what is refused in the handshake is told, and counted.
func TestRequiredCertificates(t *testing.T) {
	pub := testenv.Program(t, "mosquitto_pub")
	a, other := newAuthority(t), newAuthority(t)
	d := autoDisk(t, 0)
	b, log, client, serverCert := certified(t, d, a, true, UserFromCN, nil)
	_, port, err := net.SplitHostPort(b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	publish := func(more ...string) error {
		out, err := exec.Command(pub, append([]string{"-h", "127.0.0.1", "-p", port, "--cafile", serverCert, "-q", "1", "-t", "factory/press-08/t", "-m", "1"}, more...)...).CombinedOutput()
		if err != nil {
			t.Logf("mosquitto_pub %v: %v: %s", more, err, out)
		}
		return err
	}
	cert, key := a.issue("press-08", nil)
	if err := publish("--cert", cert, "--key", key); err != nil {
		t.Error("with its certificate it is not let in")
	}
	expired, expiredKey := a.issue("press-08", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	server, serverKey := a.issue("press-08", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	foreign, foreignKey := other.issue("press-08", nil)
	for _, with := range [][]string{
		{"-u", "press-07", "-P", "secret"},
		{"--cert", expired, "--key", expiredKey},
		{"--cert", server, "--key", serverKey},
		{"--cert", foreign, "--key", foreignKey},
	} {
		if publish(with...) == nil {
			t.Errorf("%v is let in", with)
		}
	}
	for _, want := range []string{"client didn't provide a certificate", "expired", "incompatible key usage", "unknown authority"} {
		testenv.Await(t, "it is told that "+want, func() bool { return strings.Contains(log.String(), want) })
	}
	testenv.Await(t, "they are counted", func() bool { return b.Stats().Unauthenticated == 4 })

	// Over WebSocket likewise.
	dialer := websocket.Dialer{TLSClientConfig: client(cert, key), Subprotocols: []string{"mqtt"}}
	ws, _, err := dialer.Dial("wss://"+b.Addrs()[1].String()+"/", http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	w := connect(t, &wsConn{Conn: ws.NetConn(), ws: ws}, login{id: "w", clean: true})
	w.publish(1, 1, "factory/press-08/t", "2")
	w.wants("PUBACK 1")
	dialer.TLSClientConfig = client("", "")
	if _, _, err := dialer.Dial("wss://"+b.Addrs()[1].String()+"/", nil); err == nil {
		t.Error("over WebSocket none is wanted")
	}
	testenv.Await(t, "that is counted, too", func() bool { return b.Stats().Unauthenticated == 5 })

	// Another authority comes into force with its file.
	text, err := os.ReadFile(other.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(a.file, later, later); err != nil {
		t.Fatal(err)
	}
	if publish("--cert", foreign, "--key", foreignKey) != nil || publish("--cert", cert, "--key", key) == nil {
		t.Error("the file of authorities has changed, and who may come in has not")
	}
}

// With Mosquitto's files, one of them names who comes in by a certificate.
func TestCertificatesBesideMosquittosFiles(t *testing.T) {
	a := newAuthority(t)
	d := autoDisk(t, 0)
	b, _, client, _ := certified(t, d, a, true, UserFromCN, func(c *Config) {
		c.Users = ""
		c.Passwords = usersFile(t, "")
		c.ACL = usersFile(t, "user press-08\ntopic write a/b\npattern write by/%u\n")
	})
	cert, key := a.issue("press-08", nil)
	w, err := over(t, b, client(cert, key), login{id: "w", clean: true})
	if err != nil || w.code != 0 {
		t.Fatalf("%v, %+v", err, w)
	}
	for i, topic := range []string{"a/b", "by/press-08"} {
		w.publish(uint16(i+1), 1, topic, "x")
		w.wants("PUBACK " + []string{"1", "2"}[i])
	}
	w.publish(3, 1, "a/c", "x")
	w.closed()
	cert, key = a.issue("press-09", nil)
	if w, err := over(t, b, client(cert, key), login{id: "w", clean: true}); err != nil || w.code != 5 {
		t.Errorf("one that no file names: %v, %+v", err, w)
	}
}

func TestUsersOfCertificatesNeedAFile(t *testing.T) {
	if _, err := New(Config{Listeners: []Listener{{Anonymous: true, Kind: TCP}}, Decode: undecoded, CertificateUser: UserFromCN}); err == nil {
		t.Error("nobody says what they may do")
	}
}
