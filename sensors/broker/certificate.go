package broker

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"edgechain.example/mqttconn"
	"edgechain.example/tomlconf"
)

// TLSFiles are PEM files for listeners with TLS.
type TLSFiles struct {
	Cert, Key string

	// ClientCA holds the authorities whose certificates clients may show, or must where ClientRequired is set; "": none is
	// asked for.
	ClientCA       string
	ClientRequired bool
}

// Certificate returns a server's TLS configuration. Its files are read again when one of them has changed, at the next
// connection; while that fails, what was read before stays in use.
func Certificate(files TLSFiles, log *slog.Logger) (*tls.Config, error) {
	p := &certificate{files: [2]string{files.Cert, files.Key}, log: log}
	if _, err := p.get(nil); err != nil {
		return nil, fmt.Errorf("loading the certificate %s with the key %s: %w", files.Cert, files.Key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get}
	if files.ClientCA == "" {
		return c, nil
	}
	a := &authorities{file: files.ClientCA, log: log}
	if _, err := a.get(); err != nil {
		return nil, fmt.Errorf("loading the authorities of clients' certificates: %w", err)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if files.ClientRequired {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.SessionTicketsDisabled = true // a ticket would let in whom a changed file does not
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := a.get()
		if err != nil {
			return nil, err
		}
		own := c.Clone()
		own.GetConfigForClient, own.ClientCAs = nil, pool
		return own, nil
	}
	return c, nil
}

// authorities are those of a file, read again when it has changed.
type authorities struct {
	file string
	log  *slog.Logger

	mu          sync.Mutex
	seen, tried fileState
	current     *x509.CertPool
}

func (a *authorities) get() (*x509.CertPool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := os.Stat(a.file)
	var now fileState
	if err == nil {
		if now = (fileState{info.ModTime(), info.Size()}); a.current != nil && (now == a.seen || now == a.tried) {
			return a.current, nil
		}
		a.tried = now
		var text []byte
		if text, err = tomlconf.ReadFile(a.file, 8<<20); err == nil {
			pool := x509.NewCertPool()
			if pool.AppendCertsFromPEM(text) {
				a.current, a.seen = pool, now
				return pool, nil
			}
			err = fmt.Errorf("%s holds no certificate in PEM", a.file)
		}
	}
	if a.current == nil {
		return nil, err
	}
	if a.log != nil {
		a.log.Warn("keeping the old authorities of clients' certificates", "file", a.file, "error", err)
	}
	return a.current, nil
}

// Which name in a client's certificate is its user.
const (
	UserFromCN  = "cn"  // the subject's common name
	UserFromSAN = "san" // the subject alternative name, of which there must be one: a DNS name or an e-mail address
)

// tlsOf returns the TLS below a connection, nil if there is none.
func tlsOf(nc net.Conn) *tls.Conn {
	if ws, ok := nc.(*wsConn); ok {
		nc = ws.Conn
	}
	t, _ := nc.(*tls.Conn)
	return t
}

// certified returns the user whom the client's certificate names, "" where none is shown or names are not taken from them. why
// says what is wrong with a certificate that names nobody.
func (b *Broker) certified(c *conn) (user, why string) {
	t := tlsOf(c.Conn)
	if t == nil || b.cfg.CertificateUser == "" {
		return "", ""
	}
	shown := t.ConnectionState().VerifiedChains
	if len(shown) == 0 {
		return "", ""
	}
	leaf := shown[0][0]
	user = leaf.Subject.CommonName
	if n := commonNames(&leaf.Subject); n > 1 && b.cfg.CertificateUser == UserFromCN { // of which others take the first, and we the last
		return "", fmt.Sprintf("its certificate has %d common names, where one is its user", n)
	}
	if b.cfg.CertificateUser == UserFromSAN {
		names := slices.Concat(leaf.DNSNames, leaf.EmailAddresses)
		if len(names) != 1 {
			return "", fmt.Sprintf("its certificate has %d DNS names and e-mail addresses, where one is its user", len(names))
		}
		user = names[0]
	}
	if err := checkUserName(user); err != nil {
		return "", "its certificate: " + err.Error()
	}
	return user, ""
}

func commonNames(subject *pkix.Name) (n int) {
	for i := range subject.Names {
		if subject.Names[i].Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			n++
		}
	}
	return n
}

type certificate struct {
	files [2]string // certificate, key
	log   *slog.Logger

	mu      sync.Mutex
	seen    [2]fileState // what loaded was read from
	tried   [2]fileState // what could not be loaded
	current *tls.Certificate
}

type fileState struct {
	modified time.Time
	size     int64
}

func (p *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, err := p.stat()
	if err == nil && (now == p.seen || now == p.tried) {
		return p.current, nil
	}
	if err == nil {
		p.tried = now
		var read tls.Certificate
		if read, err = mqttconn.KeyPair(p.files[0], p.files[1]); err == nil {
			p.current, p.seen = &read, now
		}
	}
	if err != nil && p.current == nil {
		return nil, err
	}
	if err != nil && p.log != nil {
		p.log.Warn("keeping the old certificate", "file", p.files[0], "error", err)
	}
	return p.current, nil
}

func (p *certificate) stat() (s [2]fileState, err error) {
	for i, name := range p.files {
		info, err := os.Stat(name)
		if err != nil {
			return s, err
		}
		s[i] = fileState{info.ModTime(), info.Size()}
	}
	return s, nil
}
