package mqttconn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"edgechain.example/tomlconf"
)

// Config is what an operator says of a broker: the keys that every table of a configuration has which names one.
type Config struct {
	// Name is the operator's word for the broker.
	Name string `toml:"name"`

	// Servers are the broker's addresses, tried in turn. They are ways to one broker or cluster: two brokers that do not
	// share sessions are two Configs.
	Servers []Server `toml:"servers"`

	Username     string          `toml:"username"`
	Password     tomlconf.Secret `toml:"password"` // see [Config.Credentials]
	PasswordFile string          `toml:"password_file"`

	// ClientID names the session at the broker. It must be the same at every start, or what the broker queued is lost,
	// and nobody else's: two who use one throw each other out forever.
	ClientID string `toml:"client_id"`

	KeepAlive      time.Duration `toml:"keep_alive"`      // at least a second; whole seconds
	ConnectTimeout time.Duration `toml:"connect_timeout"` // for one server: network, TLS and MQTT handshakes together

	TLSCA         string `toml:"tls_ca"`          // PEM; whom to trust instead of the system's authorities
	TLSCert       string `toml:"tls_cert"`        // PEM, with TLSKey: the client's certificate, and those between it and its authority
	TLSKey        string `toml:"tls_key"`         //
	TLSServerName string `toml:"tls_server_name"` // the name in the broker's certificate, where it is not the host of the address
}

// Bounds of MQTT 3.1.1.
const (
	maxText      = 65535               // bytes of a client id (section 1.5.3)
	maxKeepAlive = 65535 * time.Second // section 3.1.2.10
)

// SetDefaults implements the contract of [tomlconf.Read].
func (c *Config) SetDefaults() {
	c.KeepAlive = DefaultKeepAlive
	c.ConnectTimeout = DefaultConnectTimeout
}

// Files returns the keys that name files.
func (c *Config) Files() []*string {
	return []*string{&c.TLSCA, &c.TLSCert, &c.TLSKey, &c.PasswordFile}
}

var configName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// CheckName refuses a name that is not 1 to 64 letters, digits, '.', '_' and '-'.
func CheckName(name string) error {
	if !configName.MatchString(name) {
		return errors.New("expected 1 to 64 letters, digits, '.', '_' and '-'")
	}
	return nil
}

// Check refuses what cannot work, each key at its line, and warns of what is hardly meant. The keys stand in table, a
// pointer to the struct that embeds c; names are those used before, to which c's is added.
func (c *Config) Check(d *tomlconf.Document, table any, names map[string]bool) {
	if err := CheckName(c.Name); c.Name == "" {
		d.Refuse(table, `expected a name, such as name = "line-1"`)
	} else if err != nil {
		d.Refuse(&c.Name, "%v", err)
	} else if names[c.Name] {
		d.Refuse(&c.Name, "expected a name that no other has")
	}
	names[c.Name] = true
	if len(c.Servers) == 0 {
		d.Refuse(table, `expected at least one server, such as servers = ["tcp://127.0.0.1:1883"]`)
	}
	secure := false
	for i := range c.Servers {
		u, err := c.Servers[i].parse()
		if err != nil {
			continue // it was refused when it was read
		}
		if encrypted(u) {
			secure = true
		} else if ip, err := netip.ParseAddr(u.Hostname()); c.Username != "" && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
			d.Warn(&c.Servers[i], "the password crosses the network in the clear; ssl:// would protect it")
		}
	}
	if c.Password != "" && c.PasswordFile != "" {
		d.Refuse(&c.PasswordFile, "expected one of password and password_file")
	}
	const userless = "expected username beside it: MQTT 3.1.1 sends no password without one"
	if c.Username == "" && c.Password != "" {
		d.Refuse(&c.Password, userless)
	}
	if c.Username == "" && c.PasswordFile != "" {
		d.Refuse(&c.PasswordFile, userless)
	}
	if len(c.ClientID) > maxText {
		d.Refuse(&c.ClientID, "expected at most %d bytes", maxText)
	}
	tomlconf.Between(d, &c.KeepAlive, time.Second, maxKeepAlive)
	tomlconf.Between(d, &c.ConnectTimeout, time.Second, 10*time.Minute)
	CheckKeyPair(d, &c.TLSCert, &c.TLSKey)
	for _, file := range c.Files() {
		tomlconf.File(d, file)
	}
	for _, key := range []*string{&c.TLSCA, &c.TLSCert, &c.TLSServerName} {
		if *key != "" && len(c.Servers) > 0 && !secure {
			d.Refuse(key, "it is of no use, for no server is ssl:// or wss://")
		}
	}
}

// CheckKeyPair wants both tls_cert and tls_key, or neither.
func CheckKeyPair(d *tomlconf.Document, cert, key *string) {
	if *cert != "" && *key == "" {
		d.Refuse(cert, "expected tls_key beside it, the file of its private key")
	}
	if *key != "" && *cert == "" {
		d.Refuse(key, "expected tls_cert beside it, the file of its certificate")
	}
}

// Credentials returns user and password, the latter from its file where one is named, without one line break at its
// end. It is asked at each connection, so that a file that changes is followed.
func (c *Config) Credentials() (user, password string, err error) {
	password = string(c.Password)
	if c.PasswordFile != "" {
		text, err := tomlconf.ReadFile(c.PasswordFile, maxText+2)
		if err != nil {
			return "", "", fmt.Errorf("reading the password of %s: %w", c.Name, err)
		}
		password = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
		if password == "" {
			return "", "", fmt.Errorf("reading the password of %s: %s is empty", c.Name, c.PasswordFile)
		}
	}
	if c.Username == "" && password != "" {
		return "", "", errors.New("password: MQTT 3.1.1 sends none without a user")
	}
	return c.Username, password, nil
}

// Server is the address of a broker: tcp://, ssl://, ws:// or wss:// (mqtt:// and mqtts:// mean the first two), a
// host, and a port where it is not 1883, 8883, 80 or 443. It holds neither user nor password, for it is logged.
type Server string

// UnmarshalText implements [encoding.TextUnmarshaler]. Its errors never repeat the text, which may hold a password.
func (s *Server) UnmarshalText(text []byte) error {
	if _, err := Server(text).parse(); err != nil {
		return err
	}
	*s = Server(text)
	return nil
}

// SharesSession tells whether two connections would certainly have one session at some broker, and throw each other out for ever:
// two ports of one machine may be two brokers.
func (c *Config) SharesSession(other *Config) bool {
	if c.ClientID == "" || c.ClientID != other.ClientID {
		return false
	}
	return slices.ContainsFunc(c.Servers, func(s Server) bool {
		a, err := s.parse()
		return err == nil && slices.ContainsFunc(other.Servers, func(s Server) bool {
			b, err := s.parse()
			return err == nil && strings.EqualFold(a.Host, b.Host)
		})
	})
}

// SharesServer tells whether two connections certainly lead to one machine.
func (c *Config) SharesServer(servers []Server) bool {
	return slices.ContainsFunc(c.Servers, func(s Server) bool {
		a, err := s.parse()
		return err == nil && slices.ContainsFunc(servers, func(s Server) bool {
			b, err := s.parse()
			return err == nil && strings.EqualFold(a.Hostname(), b.Hostname())
		})
	})
}

// parse returns the address with one of the four schemes, and with its port.
func (s Server) parse() (*url.URL, error) {
	u, err := url.Parse(string(s))
	if err != nil || u.Hostname() == "" {
		return nil, errors.New(`expected tcp://, ssl://, ws:// or wss:// and the broker's name, such as "ssl://broker.example:8883"`)
	}
	if u.User != nil {
		return nil, errors.New("expected user and password in username and password, not in the address, which is logged")
	}
	switch u.Scheme {
	case "mqtt":
		u.Scheme = "tcp"
	case "mqtts":
		u.Scheme = "ssl"
	}
	port, known := map[string]string{"tcp": "1883", "ssl": "8883", "ws": "80", "wss": "443"}[u.Scheme]
	if !known {
		return nil, fmt.Errorf("%s:// is not a way to a broker: expected tcp://, ssl://, ws:// or wss://", u.Scheme)
	}
	if (u.Scheme == "tcp" || u.Scheme == "ssl") && u.Path != "" && u.Path != "/" {
		return nil, errors.New("expected no path: only ws:// and wss:// have one")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

// encrypted reports whether the parsed address is one with TLS.
func encrypted(u *url.URL) bool { return u.Scheme == "ssl" || u.Scheme == "wss" }
