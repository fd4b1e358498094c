package agent

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/agent/homeassistant"
	"edgechain.example/agent/recorder"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
	"edgechain.example/sensors/broker"
	"edgechain.example/sensors/modbus"
	"edgechain.example/sensors/opcua"
	"edgechain.example/sensors/serial"
	"edgechain.example/tomlconf"
)

// DefaultConfigPath is read where no other file is named. It may be absent; a file that is named may not.
const DefaultConfigPath = "/etc/edgeagent/edgeagent.toml"

// envPrefix begins the names of variables that set keys: EDGEAGENT_BLOCK_INTERVAL sets interval in [block].
const envPrefix = "EDGEAGENT"

// Sample is a configuration that sets nothing: every key stands in it as a comment, with its default.
//
//go:embed sample.toml
var Sample string

// Config is everything that can be set about a gateway. sample.toml explains each key to the operator; here stands
// only what a caller must know besides.
type Config struct {
	Gateway   GatewayConfig         `toml:"gateway"`
	Key       KeyConfig             `toml:"key"`
	Store     StoreConfig           `toml:"store"`
	Retention RetentionConfig       `toml:"retention"`
	Card      CardConfig            `toml:"card"`
	Commit    recorder.CommitConfig `toml:"commit"`
	Block     recorder.BlockConfig  `toml:"block"`
	Payload   PayloadConfig         `toml:"payload"`
	Ingest    IngestConfig          `toml:"ingest"`
	API       APIConfig             `toml:"api"`
	Log       LogConfig             `toml:"log"`
	Hwmon     HwmonConfig           `toml:"hwmon"`
	Broker    BrokerConfig          `toml:"broker"`
	MQTT      []MQTTConfig          `toml:"mqtt"`
	Modbus    []modbus.Config       `toml:"modbus"`
	OPCUA     []opcua.Config        `toml:"opcua"`
	Serial    []serial.Config       `toml:"serial"`
	Sync      SyncConfig            `toml:"sync"`
	Upstream  []UpstreamConfig      `toml:"upstream"`

	HomeAssistant HomeAssistantConfig `toml:"homeassistant"`
}

// GatewayConfig says who this gateway is.
type GatewayConfig struct {
	Name  string `toml:"name"`  // "" is the host's name; it counts when the chain is begun, and as a device's name
	Chain string `toml:"chain"` // the only chain that this configuration is for; "" is whichever the data folder holds
	Data  string `toml:"data"`
}

// KeyConfig says where the signing key is.
type KeyConfig struct {
	File        string             `toml:"file"` // never empty once loaded
	Passphrase  keyfile.Passphrase `toml:"passphrase"`
	RotateEvery int                `toml:"rotate_every"` // blocks; 0 is never
}

// StoreConfig bounds what the chain's store takes.
type StoreConfig struct {
	Reserve        tomlconf.Size `toml:"reserve"`
	ReservePercent int           `toml:"reserve_percent"` // the reserve is the larger of the two
	AllowVolatile  bool          `toml:"allow_volatile"`
	Cache          tomlconf.Size `toml:"cache"`
	Memtable       tomlconf.Size `toml:"memtable"`
	ScrubEvery     time.Duration `toml:"scrub_every"` // 0 is never
	ScrubRate      tomlconf.Size `toml:"scrub_rate"`  // bytes per second, at most
}

// PayloadConfig bounds a payload; of a larger one the chain keeps the SHA-256.
type PayloadConfig struct {
	Max tomlconf.Size `toml:"max"`
}

// IngestConfig bounds what is in flight between arrival and disk, over all sources.
type IngestConfig struct {
	MaxBytes tomlconf.Size `toml:"max_bytes"`
}

// APIConfig says where the local API listens.
type APIConfig struct {
	Socket string   `toml:"socket"` // never empty once loaded
	Listen string   `toml:"listen"` // on loopback, or ""
	Hosts  []string `toml:"hosts"`  // names under which it is asked for on TCP, beside loopback's
	// Whoever may open the socket may change things, not only its owner and root.
	GroupWrites bool `toml:"group_writes"`
}

// LogConfig says what is logged and how.
type LogConfig struct {
	Level  string `toml:"level"`  // debug, info, warn or error
	Format string `toml:"format"` // text, json, or auto: text where standard error is a terminal
}

// HwmonConfig is about the machine's own sensors.
type HwmonConfig struct {
	Enabled  bool          `toml:"enabled"`
	Interval time.Duration `toml:"interval"`
	Root     string        `toml:"root"`
	Device   string        `toml:"device"` // "" is the gateway's name
}

// BrokerConfig is about the embedded broker.
type BrokerConfig struct {
	Enabled          bool          `toml:"enabled"`
	Listen           string        `toml:"listen"` // each of the four is "host:port", or "" for none
	TLSListen        string        `toml:"tls_listen"`
	WSListen         string        `toml:"ws_listen"`
	WSSListen        string        `toml:"wss_listen"`
	TLSCert          string        `toml:"tls_cert"`
	TLSKey           string        `toml:"tls_key"`
	TLSClientCA      string        `toml:"tls_client_ca"`   // whose certificates clients may show
	TLSClientCert    string        `toml:"tls_client_cert"` // "optional" or "required", beside it
	TLSClientUser    string        `toml:"tls_client_user"` // "cn" or "san": the name in it that is the client's user
	Users            string        `toml:"users"`
	PasswordFile     string        `toml:"password_file"`   // instead of Users: Mosquitto's
	ACLFile          string        `toml:"acl_file"`        // likewise
	AllowAnonymous   bool          `toml:"allow_anonymous"` // no listener leaves loopback then
	MaxClients       int           `toml:"max_clients"`
	MaxPacket        tomlconf.Size `toml:"max_packet"`
	MaxInflight      int           `toml:"max_inflight"`  // messages of one client
	MaxKeepalive     time.Duration `toml:"max_keepalive"` // that clients of MQTT 5 are told; 0: any
	MaxIdle          time.Duration `toml:"max_idle"`      // for clients without a keep-alive; 0: for ever
	MaxReading       tomlconf.Size `toml:"max_reading"`   // of packets above 16 KiB being read, from all clients
	MaxRetained      tomlconf.Size `toml:"max_retained"`
	MaxQueue         tomlconf.Size `toml:"max_queue"`         // that waits for one session
	MaxQueued        tomlconf.Size `toml:"max_queued"`        // that waits for all
	MaxSessions      int           `toml:"max_sessions"`      // 0: four for each of max_clients
	MaxSubscriptions int           `toml:"max_subscriptions"` // of one client
	MaxPerAddress    int           `toml:"max_per_address"`   // clients connected from one address; 0: any number
	Subscribers      string        `toml:"subscribers"`       // "disk" or "memory": what outlives a restart of what they are to get
	SubscribersSync  time.Duration `toml:"subscribers_sync"`  // between two writes of it
	MaxRate          int           `toml:"max_rate"`          // messages a second of one client; 0: any number
	HostConfig
	Filter []FilterConfig `toml:"filter"` // the first whose topics match
	Decode []DecodeConfig `toml:"decode"` // likewise
}

// Whether clients must show a certificate.
const (
	certOptional = "optional"
	certRequired = "required"
)

// tlsFiles names the files of listeners with TLS.
func (c *BrokerConfig) tlsFiles() broker.TLSFiles {
	return broker.TLSFiles{Cert: c.TLSCert, Key: c.TLSKey, ClientCA: c.TLSClientCA, ClientRequired: c.TLSClientCert == certRequired}
}

// Where the embedded broker keeps what subscribers are to find again.
const (
	onDisk   = "disk"
	inMemory = "memory"
)

// DecodeConfig says how messages at the embedded broker are read.
type DecodeConfig struct {
	Topics []string `toml:"topics"`
	sensors.Config
}

// FilterConfig says what is recorded of messages on some topics.
type FilterConfig struct {
	Topics     []string      `toml:"topics"`
	Record     string        `toml:"record"`      // all, hash or nothing
	PayloadMax tomlconf.Size `toml:"payload_max"` // 0: payload.max
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *FilterConfig) SetDefaults() { c.Record = recordAll }

// MQTTConfig is a broker whose messages are recorded.
type MQTTConfig struct {
	mqttconn.Config
	MaxRate int `toml:"max_rate"` // messages a second; 0: any number
	HostConfig
	Filter    []FilterConfig    `toml:"filter"` // the first whose topics match
	Subscribe []SubscribeConfig `toml:"subscribe"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *MQTTConfig) SetDefaults() {
	c.Config.SetDefaults()
	c.ReorderTimeout = reorderDefault
}

// SubscribeConfig is one subscription and how its messages are read.
type SubscribeConfig struct {
	Topics []string `toml:"topics"`
	QoS    int      `toml:"qos"`
	sensors.Config
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *SubscribeConfig) SetDefaults() { c.QoS = 1 }

// SyncConfig is about the aggregators, whichever broker leads to them.
type SyncConfig struct {
	Announce    time.Duration   `toml:"announce"`     // at least this long between two announcements of a head
	ConfirmHead string          `toml:"confirm_head"` // always, if_reachable or never
	ConfirmWait time.Duration   `toml:"confirm_wait"`
	BytesPerDay tomlconf.Size   `toml:"bytes_per_day"` // 0 is no limit
	EnrolToken  tomlconf.Secret `toml:"enrol_token"`
}

// UpstreamConfig is a broker that leads to aggregators.
type UpstreamConfig struct {
	mqttconn.Config
	Prefix     string             `toml:"prefix"`
	Aggregator []AggregatorConfig `toml:"aggregator"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *UpstreamConfig) SetDefaults() {
	c.Config.SetDefaults()
	c.Prefix = "edgechain/v1"
}

// AggregatorConfig is an aggregator whose requests are answered and whose receipts count.
type AggregatorConfig struct {
	Name string `toml:"name"`
	Key  string `toml:"key"` // as [keyfile.ParsePublicKey] reads it
}

// HomeAssistantConfig is about showing the gateway itself, and none of its readings, to Home Assistant.
type HomeAssistantConfig struct {
	Enabled   bool          `toml:"enabled"`
	Broker    string        `toml:"broker"`    // name of an [[mqtt]]; "" is the embedded one
	Discovery string        `toml:"discovery"` // before Home Assistant's topics
	Prefix    string        `toml:"prefix"`    // before the gateway's
	Interval  time.Duration `toml:"interval"`
}

// DefaultConfig returns the configuration of a gateway about which nothing was set.
func DefaultConfig() *Config {
	c := &Config{
		Gateway:   GatewayConfig{Data: "/var/lib/edgeagent"},
		Store:     StoreConfig{Reserve: 64 * tomlconf.MiB, ReservePercent: 2, Cache: 8 * tomlconf.MiB, Memtable: tomlconf.MiB, ScrubEvery: 7 * 24 * time.Hour, ScrubRate: 256 * tomlconf.KiB},
		Retention: RetentionConfig{Quorum: 1, MinAge: 24 * time.Hour},
		Card:      CardConfig{BytesPerDay: 2e9},
		Commit:    recorder.CommitConfig{MaxEntries: 1000},
		Block:     recorder.BlockConfig{Interval: time.Minute, MaxEntries: 4096, Heartbeat: time.Hour},
		Payload:   PayloadConfig{Max: 256 * tomlconf.KiB},
		Ingest:    IngestConfig{MaxBytes: 16 * tomlconf.MiB},
		Log:       LogConfig{Level: "info", Format: "auto"},
		Hwmon:     HwmonConfig{Interval: 30 * time.Second, Root: "/"},
		Broker:    defaultBroker(),
		Sync:      SyncConfig{Announce: 10 * time.Second, ConfirmHead: "if_reachable", ConfirmWait: time.Minute},

		HomeAssistant: HomeAssistantConfig{Discovery: homeassistant.DefaultDiscovery, Prefix: homeassistant.DefaultPrefix, Interval: time.Minute},
	}
	c.derive()
	return c
}

func defaultBroker() BrokerConfig {
	l, b := broker.DefaultLimits, broker.DefaultBounds
	return BrokerConfig{
		Listen: broker.DefaultTCP, MaxClients: l.MaxClients, MaxPacket: tomlconf.Size(l.MaxPacket), MaxInflight: l.MaxInFlight,
		MaxReading: tomlconf.Size(b.Reading), MaxRetained: tomlconf.Size(b.Retained), MaxQueue: tomlconf.Size(b.Queue), MaxQueued: tomlconf.Size(b.Queued),
		MaxSessions: b.Sessions, MaxSubscriptions: b.Subscriptions, MaxPerAddress: b.PerAddress,
		TLSClientCert: certOptional, TLSClientUser: broker.UserFromCN,
		Subscribers: onDisk, SubscribersSync: 2 * time.Second,
		HostConfig: HostConfig{ReorderTimeout: reorderDefault},
	}
}

// derive fills in what follows from other keys.
func (c *Config) derive() {
	if c.Key.File == "" {
		c.Key.File = filepath.Join(c.Gateway.Data, "key")
	}
	if c.API.Socket == "" {
		c.API.Socket = filepath.Join(c.Gateway.Data, "edgeagent.sock")
	}
}

// LoadConfig reads the file at path, or at [DefaultConfigPath] if path is empty, and the files conf.d/*.toml beside
// it in the order of their names. The variables EDGEAGENT_SECTION_KEY of env, which is as [os.Environ] gives it, go
// over the files, and flags, texts by "section.key", over those. What is wrong comes back as [tomlconf.Problems], all
// of it at once; the warnings are of what is allowed but hardly meant. A file that cannot be read is its own error.
func LoadConfig(path string, env []string, flags map[string]string) (*Config, []tomlconf.Problem, error) {
	c, doc, err := readConfig(path, tomlconf.Source{Env: env, Flags: flags})
	if err != nil {
		return nil, nil, err
	}
	c.check(doc)
	if name, ok := strings.CutPrefix(c.Key.Passphrase.String(), "env:"); ok {
		doc.UsesVariable(name)
	}
	if err := doc.Err(); err != nil {
		return nil, doc.Warnings(), err
	}
	return c, doc.Warnings(), nil
}

// ReadingKeys are what a command needs of the configuration that reads a chain, or asks the agent.
func ReadingKeys() []string {
	return []string{"gateway", "key.file", "store", "retention", "api", "upstream.name", "upstream.aggregator"}
}

// BackupKeys are what is needed to make a backup: the names of the files that belong to the configuration besides.
func BackupKeys() []string {
	keys := append(ReadingKeys(), "broker.users", "broker.password_file", "broker.acl_file", "broker.tls_cert", "broker.tls_key", "broker.tls_client_ca")
	for _, table := range [...]string{"mqtt.", "upstream."} {
		keys = append(keys, table+"tls_ca", table+"tls_cert", table+"tls_key", table+"password_file")
	}
	for _, key := range [...]string{"server_certificate", "certificate", "private_key", "password_file", "user_certificate", "user_private_key"} {
		keys = append(keys, "opcua."+key)
	}
	return keys
}

// BeginningKeys are what is needed to begin a chain, or to read its key.
func BeginningKeys() []string { return append(ReadingKeys(), "key", "log") }

// LoadKeys is LoadConfig for a command that needs some keys, or tables of them, and nothing else: all others have their
// defaults, whatever is written. A mistake there, or a variable that the service has and the operator's shell has not, is
// nothing to it.
func LoadKeys(path string, env []string, flags map[string]string, keys []string) (*Config, error) {
	c, doc, err := readConfig(path, tomlconf.Source{Env: env, Flags: flags, Only: keys})
	if err != nil {
		return nil, err
	}
	c.checkChain(doc)
	c.checkLocal(doc)
	c.checkRetention(doc)
	return c, doc.Err()
}

func readConfig(path string, source tomlconf.Source) (c *Config, doc *tomlconf.Document, err error) {
	source.EnvPrefix = envPrefix
	if source.Files, err = tomlconf.Files(path, DefaultConfigPath); err != nil {
		return nil, nil, err
	}
	if source.Folder, err = tomlconf.Folder(path, DefaultConfigPath); err != nil {
		return nil, nil, err
	}
	c = DefaultConfig()
	c.Key.File, c.API.Socket = "", "" // they follow the data folder, which may be another
	if doc, err = tomlconf.Read(c, source); err != nil {
		return nil, nil, err
	}
	doc.Whole(c.paths()...)
	c.derive()
	return c, doc, nil
}

// paths returns the keys that name a file or a folder, but for hwmon.root, which has to be whole as it is written.
func (c *Config) paths() []*string {
	all := append(c.Broker.files(), &c.Gateway.Data, &c.Key.File, &c.API.Socket)
	for i := range c.MQTT {
		all = append(all, c.MQTT[i].Files()...)
	}
	for i := range c.Upstream {
		all = append(all, c.Upstream[i].Files()...)
	}
	for i := range c.OPCUA {
		all = append(all, c.OPCUA[i].Files()...)
	}
	return all
}

// files returns the keys that name files of the embedded broker.
func (c *BrokerConfig) files() []*string {
	return []*string{&c.TLSCert, &c.TLSKey, &c.TLSClientCA, &c.Users, &c.PasswordFile, &c.ACLFile}
}

// Hash returns what an agent:config entry records: the SHA-256 over a line that names this form, one with the
// decoders' version ([sensors.DecoderVersion]), and a line for every key in force, as [tomlconf.Format] writes it.
// Two files that mean the same have the same hash.
//
// Of a password the text shows only whether there is one. Entries are shown to auditors, who may know the rest of
// the configuration; a hash over a password would let them try guesses against it.
func (c *Config) Hash(decoders int) lightchain.Hash {
	text := fmt.Sprintf("edgechain configuration 1\ndecoders %d\n%s", decoders, tomlconf.Format(c))
	return sha256.Sum256([]byte(text))
}
