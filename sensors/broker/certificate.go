package broker

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate returns a server's TLS configuration with the certificate and key in two PEM files. They are read again
// when one of them has changed, at the next connection; while that fails, the old certificate stays in use.
func Certificate(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	p := &certificate{files: [2]string{certFile, keyFile}, log: log}
	if _, err := p.get(nil); err != nil {
		return nil, fmt.Errorf("loading the certificate %s with the key %s: %w", certFile, keyFile, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get}, nil
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
		if read, err = tls.LoadX509KeyPair(p.files[0], p.files[1]); err == nil {
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
