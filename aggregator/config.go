package aggregator

import (
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
	"edgechain.example/tomlconf"
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
	Aggregator   IdentityConfig     `toml:"aggregator"`
	Key          KeyConfig          `toml:"key"`
	Store        StoreConfig        `toml:"store"`
	Trust        TrustConfig        `toml:"trust"`
	Pull         PullConfig         `toml:"pull"`
	Silence      SilenceConfig      `toml:"silence"`
	Clock        ClockConfig        `toml:"clock"`
	API          APIConfig          `toml:"api"`
	Log          LogConfig          `toml:"log"`
	Transparency TransparencyConfig `toml:"transparency"`
	Broker       []BrokerConfig     `toml:"broker"`
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
	// What becomes of countersigning where the database may lose what it has committed.
	CrashLoss    registry.OnLoss `toml:"crash_loss"`
	FailoverLoss registry.OnLoss `toml:"failover_loss"`
}

// TrustConfig says what becomes of gateways that nobody has decided about.
type TrustConfig struct {
	Gateways registry.Trust `toml:"gateways"`
	MaxInbox int            `toml:"max_inbox"`
}

// PullConfig says what is asked of gateways.
type PullConfig struct {
	Mode        registry.Mode `toml:"mode"`
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
	Socket string   `toml:"socket"` // never empty once loaded
	Listen string   `toml:"listen"` // on loopback, or ""
	Hosts  []string `toml:"hosts"`  // names under which it is asked for on TCP, beside loopback's
	// Whoever may open the socket may change things, not only its owner and root.
	GroupWrites bool `toml:"group_writes"`
}

// TransparencyConfig says what becomes of the log of heads, which is something else than the program's own log.
type TransparencyConfig struct {
	Origin   string        `toml:"origin"`   // the name before /heads; "": there is no log of heads
	KeyFile  string        `toml:"key_file"` // never empty once loaded
	Interval time.Duration `toml:"interval"`
	Listen   string        `toml:"listen"` // "": it is not served
	Hosts    []string      `toml:"hosts"`
	Entries  bool          `toml:"entries"` // headers are served, too
}

// LogConfig says what is logged and how.
type LogConfig struct {
	Level  string `toml:"level"`  // debug, info, warn or error
	Format string `toml:"format"` // text, json, or auto: text where standard error is a terminal
}

// BrokerConfig is one broker that leads to gateways.
type BrokerConfig struct {
	mqttconn.Config        // ClientID "" is one derived from the aggregator's name, the replica's and the broker's
	Prefix          string `toml:"prefix"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *BrokerConfig) SetDefaults() {
	c.Config.SetDefaults()
	c.Prefix = headersync.DefaultPrefix
}

// DefaultConfig returns the configuration of an aggregation node about which nothing was set.
func DefaultConfig() *Config {
	c := &Config{
		Aggregator:   IdentityConfig{Data: "/var/lib/edgeaggregator"},
		Store:        StoreConfig{Cache: 64 * tomlconf.MiB, CrashLoss: registry.RefuseLoss, FailoverLoss: registry.WarnLoss},
		Trust:        TrustConfig{Gateways: registry.TrustApproved, MaxInbox: 10000},
		Pull:         PullConfig{Mode: registry.Dense, Page: headersync.DefaultPage, LeapOver: 2000, Workers: 32},
		Silence:      SilenceConfig{After: 150 * time.Minute},
		Transparency: TransparencyConfig{Interval: time.Minute},
		Log:          LogConfig{Level: "info", Format: "auto"},
	}
	c.derive()
	return c
}

// derive fills in what follows from other keys.
func (c *Config) derive() {
	if c.Key.File == "" {
		c.Key.File = filepath.Join(c.Aggregator.Data, "key")
	}
	if c.Transparency.KeyFile == "" {
		c.Transparency.KeyFile = c.Key.File + "-log"
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
	files, err := tomlconf.Files(path, DefaultConfigPath)
	if err != nil {
		return nil, nil, err
	}
	folder, err := tomlconf.Folder(path, DefaultConfigPath)
	if err != nil {
		return nil, nil, err
	}
	c := DefaultConfig()
	c.Key.File, c.Transparency.KeyFile, c.API.Socket, c.Aggregator.Replica = "", "", "", "" // they follow other keys
	doc, err := tomlconf.Read(c, tomlconf.Source{Files: files, Folder: folder, EnvPrefix: envPrefix, Env: env, Flags: flags})
	if err != nil {
		return nil, nil, err
	}
	doc.Whole(&c.Aggregator.Data, &c.Key.File, &c.Transparency.KeyFile, &c.API.Socket)
	for i := range c.Broker {
		doc.Whole(c.Broker[i].Files()...)
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
