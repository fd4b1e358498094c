package mqttlink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// TLS says whom to trust and as whom to appear. The files are read again for every connection, so that a renewed
// certificate is used from the next one on.
type TLS struct {
	CAFile     string // PEM; whom to trust instead of the system's authorities
	CertFile   string // PEM, with KeyFile: the client's certificate, and those between it and its authority
	KeyFile    string
	ServerName string // the name in the broker's certificate, where it is not the host of the address
}

func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return c, nil
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("cert and key go together: one of the files is not named")
	}
	c.ServerName = t.ServerName
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client's certificate: %w", err)
		}
		// By callback: with Certificates alone, one of an authority that the broker does not name is left out silently.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return c, nil
}

// tlsConfig returns the configuration for one connection to the server, or nil for one without TLS.
func (l *Link) tlsConfig(server *url.URL) (*tls.Config, error) {
	if server.Scheme != "ssl" && server.Scheme != "wss" {
		return nil, nil
	}
	c, err := l.cfg.TLS.config()
	if err != nil {
		return nil, err
	}
	c.Time = l.tlsTime
	return c, nil
}

// tlsTime is the clock that certificates are held against.
func (l *Link) tlsTime() time.Time {
	now := l.cfg.Now()
	if l.cfg.TimeFloor != nil {
		if floor := l.cfg.TimeFloor(); now.Before(floor) {
			return floor
		}
	}
	return now
}

// explainTLS adds to a certificate's refusal what time it was held against.
func (l *Link) explainTLS(err error) error {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("at %s by this machine's clock: %w", l.tlsTime().UTC().Format(time.RFC3339), err)
	}
	return err
}

// parseServer reads a broker's address.
func parseServer(text string) (*url.URL, error) {
	const form = "an address is tcp://, ssl://, ws:// or wss://, a host, and a port where it is not the usual one"
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New(form) // the parser's own words would repeat the text, password and all
	}
	if u.User != nil {
		return nil, errors.New("user and password stand in keys of their own, where they are not logged")
	}
	switch u.Scheme {
	case "mqtt":
		u.Scheme = "tcp"
	case "mqtts", "tls":
		u.Scheme = "ssl"
	}
	port, known := map[string]string{"tcp": "1883", "ssl": "8883", "ws": "80", "wss": "443"}[u.Scheme]
	if !known || u.Hostname() == "" {
		return nil, fmt.Errorf("%q: %s", text, form)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

// open makes the network connection. ctx cuts all of it short but the WebSocket handshake, which has the timeout.
func open(ctx context.Context, server *url.URL, config *tls.Config, timeout time.Duration) (net.Conn, error) {
	switch server.Scheme {
	case "ws", "wss":
		return mqtt.NewWebsocket(server.String(), config, timeout, nil, nil)
	case "ssl":
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", server.Host)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", server.Host)
}
