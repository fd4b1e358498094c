package aggregator

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain/lightchain/keyfile"
	headersync "edgechain/sync"
	"edgechain/tomlconf"
)

// DefaultConfigPath is read where no other file is named. It may be absent; a file that is named may not.
const DefaultConfigPath = "/etc/edgeaggregator/edgeaggregator.toml"

// envPrefix begins the names of variables that set keys: EDGEAGGREGATOR_PULL_PAGE sets page in [pull].
const envPrefix = "EDGEAGGREGATOR"

// Sample is a configuration that sets nothing: every key stands in it as a comment, with its default.
//
//go:embed sample.toml
var Sample string

// Config is everything that can be set about an aggregation node. sample.toml explains each key to the operator; here
// stands only what a caller must know besides.
type Config struct {
	Aggregator IdentityConfig `toml:"aggregator"`
	Key        KeyConfig      `toml:"key"`
	Store      StoreConfig    `toml:"store"`
	Trust      TrustConfig    `toml:"trust"`
	Pull       PullConfig     `toml:"pull"`
	Silence    SilenceConfig  `toml:"silence"`
	Clock      ClockConfig    `toml:"clock"`
	API        APIConfig      `toml:"api"`
	Log        LogConfig      `toml:"log"`
	Broker     []BrokerConfig `toml:"broker"`
}

// IdentityConfig says who this aggregator is.
type IdentityConfig struct {
	Name    string `toml:"name"`
	Data    string `toml:"data"`
	Replica string `toml:"replica"` // never empty once loaded
}

// KeyConfig says where the signing key is.
type KeyConfig struct {
	File       string             `toml:"file"` // never empty once loaded
	Passphrase keyfile.Passphrase `toml:"passphrase"`
}

// StoreConfig says where records and headers are kept.
type StoreConfig struct {
	URL   tomlconf.Secret `toml:"url"` // postgres://…, which may hold a password; "" is Pebble in the data folder
	Cache tomlconf.Size   `toml:"cache"`
}

// TrustConfig says what becomes of gateways that nobody has decided about.
type TrustConfig struct {
	Gateways Trust `toml:"gateways"`
	MaxInbox int   `toml:"max_inbox"`
}

// PullConfig says what is asked of gateways.
type PullConfig struct {
	Mode        Mode          `toml:"mode"`
	Page        tomlconf.Size `toml:"page"`
	BytesPerDay tomlconf.Size `toml:"bytes_per_day"` // 0 is no limit
	LeapOver    int           `toml:"leap_over"`
	Workers     int           `toml:"workers"`
}

// ClockConfig says how far this machine's clock is believed.
type ClockConfig struct {
	AssumeSynchronised bool `toml:"assume_synchronised"` // whatever the kernel says of it
}

// SilenceConfig says when silence is a finding.
type SilenceConfig struct {
	After time.Duration `toml:"after"`
}

// APIConfig says where the local API listens.
type APIConfig struct {
	Socket string `toml:"socket"` // never empty once loaded
	Listen string `toml:"listen"` // on loopback, or ""
}

// LogConfig says what is logged and how.
type LogConfig struct {
	Level  string `toml:"level"`  // debug, info, warn or error
	Format string `toml:"format"` // text, json, or auto: text where standard error is a terminal
}

// BrokerConfig is one broker that leads to gateways.
type BrokerConfig struct {
	Name           string          `toml:"name"`
	Servers        []Address       `toml:"servers"`
	Prefix         string          `toml:"prefix"`
	Username       string          `toml:"username"`
	Password       tomlconf.Secret `toml:"password"` // see [BrokerConfig.Credentials]
	PasswordFile   string          `toml:"password_file"`
	ClientID       string          `toml:"client_id"` // "" is one derived from the aggregator's, the replica's and this name
	KeepAlive      time.Duration   `toml:"keep_alive"`
	ConnectTimeout time.Duration   `toml:"connect_timeout"`
	Shared         string          `toml:"shared"` // auto, always or never
	TLSCA          string          `toml:"tls_ca"`
	TLSCert        string          `toml:"tls_cert"`
	TLSKey         string          `toml:"tls_key"`
	TLSServerName  string          `toml:"tls_server_name"`
}

// Address is that of a broker: tcp://, ssl://, ws:// or wss:// (mqtt:// and mqtts:// mean the first two), a
// host, and perhaps a port. It holds neither user nor password, for it is logged.
type Address string

// UnmarshalText implements [encoding.TextUnmarshaler]. Its errors never repeat the text, which may hold a password.
func (s *Address) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	if err != nil || u.Hostname() == "" {
		return errors.New(`expected tcp://, ssl://, ws:// or wss:// and the broker's name, such as "ssl://broker.example:8883"`)
	}
	switch u.Scheme {
	case "tcp", "ssl", "ws", "wss", "mqtt", "mqtts":
	default:
		return fmt.Errorf("%s:// is not a way to a broker: expected tcp://, ssl://, ws:// or wss://", u.Scheme)
	}
	if u.User != nil {
		return errors.New("expected user and password in username and password, not in the address, which is logged")
	}
	*s = Address(text)
	return nil
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *BrokerConfig) SetDefaults() {
	c.Prefix = headersync.DefaultPrefix
	c.KeepAlive = 30 * time.Second
	c.ConnectTimeout = 30 * time.Second
	c.Shared = "auto"
}

// Credentials returns user and password, the latter from its file where one is named, without one line break at its
// end. Whoever asks at each connection follows a file that changes.
func (c *BrokerConfig) Credentials() (user, password string, err error) {
	if c.PasswordFile == "" {
		return c.Username, string(c.Password), nil
	}
	text, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", "", fmt.Errorf("reading the password of %s: %w", c.Name, err)
	}
	password = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" {
		return "", "", fmt.Errorf("reading the password of %s: %s is empty", c.Name, c.PasswordFile)
	}
	return c.Username, password, nil
}

// DefaultConfig returns the configuration of an aggregation node about which nothing was set.
func DefaultConfig() *Config {
	c := &Config{
		Aggregator: IdentityConfig{Data: "/var/lib/edgeaggregator"},
		Store:      StoreConfig{Cache: 64 * tomlconf.MiB},
		Trust:      TrustConfig{Gateways: TrustApproved, MaxInbox: 10000},
		Pull:       PullConfig{Mode: Dense, Page: headersync.DefaultPage, LeapOver: 2000, Workers: 32},
		Silence:    SilenceConfig{After: 150 * time.Minute},
		Log:        LogConfig{Level: "info", Format: "auto"},
	}
	c.derive()
	return c
}

// derive fills in what follows from other keys.
func (c *Config) derive() {
	if c.Key.File == "" {
		c.Key.File = filepath.Join(c.Aggregator.Data, "key")
	}
	if c.API.Socket == "" {
		c.API.Socket = filepath.Join(c.Aggregator.Data, "edgeaggregator.sock")
	}
	if c.Aggregator.Replica == "" {
		c.Aggregator.Replica = "single"
		if c.Store.URL != "" {
			if host, err := os.Hostname(); err == nil {
				c.Aggregator.Replica = strings.ToLower(strings.ReplaceAll(host, "_", "-"))
			}
		}
	}
}

// StoreDir returns the folder of the store, where that is Pebble.
func (c *Config) StoreDir() string { return filepath.Join(c.Aggregator.Data, "store") }

// clientID returns the name of the session at a broker.
func (c *Config) clientID(b *BrokerConfig) string {
	if b.ClientID != "" {
		return b.ClientID
	}
	return "edgechain-" + c.Aggregator.Name + "-" + c.Aggregator.Replica + "-" + b.Name
}

// LoadConfig reads the file at path, or at [DefaultConfigPath] if path is empty, and the files conf.d/*.toml beside
// it in the order of their names. The variables EDGEAGGREGATOR_SECTION_KEY of env, which is as [os.Environ] gives it,
// go over the files, and flags, texts by "section.key", over those. What is wrong comes back as [tomlconf.Problems],
// all of it at once; the warnings are of what is allowed but hardly meant. A file that cannot be read is its own error.
func LoadConfig(path string, env []string, flags map[string]string) (*Config, []tomlconf.Problem, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, nil, err
	}
	c := DefaultConfig()
	c.Key.File, c.API.Socket, c.Aggregator.Replica = "", "", "" // they follow other keys
	doc, err := tomlconf.Read(c, tomlconf.Source{Files: files, EnvPrefix: envPrefix, Env: env, Flags: flags})
	if err != nil {
		return nil, nil, err
	}
	c.derive()
	c.check(doc)
	if name, ok := strings.CutPrefix(c.Key.Passphrase.String(), "env:"); ok {
		doc.UsesVariable(name)
	}
	if err := doc.Err(); err != nil {
		return nil, doc.Warnings(), err
	}
	return c, doc.Warnings(), nil
}

// configFiles returns the files that make up the configuration at path.
func configFiles(path string) ([]string, error) {
	named := path != ""
	if !named {
		path = DefaultConfigPath
	}
	var files []string
	if _, err := os.Stat(path); named || !errors.Is(err, fs.ErrNotExist) {
		files = append(files, path)
	}
	folder := filepath.Join(filepath.Dir(path), "conf.d")
	entries, err := os.ReadDir(folder) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(folder, name))
		}
	}
	return files, nil
}
