package mqttconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/tomlconf"
)

// tls reads the files that say whom to trust and as whom to appear. That is done for every connection, so that a renewed
// certificate is used from the next one on.
func (c *Config) tls() (*tls.Config, error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, errors.New("cert and key go together: one of the files is not named")
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLSServerName}
	if c.TLSCA != "" {
		pem, err := tomlconf.ReadFile(c.TLSCA, maxAuthorities)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", c.TLSCA)
		}
	}
	if c.TLSCert != "" {
		cert, err := KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("reading the client's certificate: %w", err)
		}
		// By callback: brokers name the authorities they accept, and with Certificates alone a certificate of
		// another is left out silently; sent, it is refused with a reason.
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return out, nil
}

// Bounds of PEM files, in bytes; a system's bundle of all authorities has a quarter of a megabyte.
const (
	maxAuthorities = 8 << 20
	maxKeyPair     = 1 << 20
)

// KeyPair reads a certificate and its key from two PEM files.
func KeyPair(certFile, keyFile string) (none tls.Certificate, err error) {
	cert, err := tomlconf.ReadFile(certFile, maxKeyPair)
	if err != nil {
		return none, err
	}
	key, err := tomlconf.ReadFile(keyFile, maxKeyPair)
	if err != nil {
		return none, err
	}
	return tls.X509KeyPair(cert, key)
}

// open makes the network connection. ctx cuts all of it short but the WebSocket handshake, which has the timeout.
func (b *Broker) open(ctx context.Context, server *url.URL) (net.Conn, error) {
	var config *tls.Config
	if encrypted(server) {
		var err error
		if config, err = b.config.tls(); err != nil {
			return nil, err
		}
		config.Time = b.time
	}
	switch server.Scheme {
	case "ws", "wss":
		return mqtt.NewWebsocket(server.String(), config, b.config.ConnectTimeout, nil, nil)
	case "ssl":
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", server.Host)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", server.Host)
}

// time is the clock that certificates are held against.
func (b *Broker) time() time.Time {
	now := b.options.Now()
	if b.options.TimeFloor != nil {
		if floor := b.options.TimeFloor(); now.Before(floor) {
			return floor
		}
	}
	return now
}

// explainTLS adds to a certificate's refusal what time it was held against: on a board without a battery that is the
// usual reason.
func (b *Broker) explainTLS(err error) error {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("at %s by this machine's clock: %w", b.time().UTC().Format(time.RFC3339), err)
	}
	return err
}
