package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"edgechain.example/agent/homeassistant"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
	"edgechain.example/sensors/broker"
	"edgechain.example/sensors/sparkplug"
	"edgechain.example/tomlconf"
)

// Bounds of a configuration that are somebody else's.
const (
	maxSocketPath   = 107                  // bytes; Linux has room for 108 with the zero behind (unix(7))
	minPayload      = 64                   // bytes
	maxRate         = 1000000              // messages a second
	maxPayload      = 12032 * tomlconf.KiB // sensors.MostPayloadMax: an entry is at most 16 MiB, readings and all
	maxPrefixLevels = 3                    // of topics, sync-protocol.md
)

// check refuses what cannot work, each key at its line, and warns of what is hardly meant.
func (c *Config) check(d *tomlconf.Document) {
	c.checkChain(d)
	c.checkLocal(d)
	if is := tomlconf.Irregular(c.Key.File); is != "" { // a gateway whose key is not to be had records all the same
		d.Warn(&c.Key.File, "expected a regular file, and this is %s: nothing is sealed until the key is there", is)
	}
	tomlconf.Named(d, &c.Key.Passphrase, c.Key.Passphrase.File())
	c.Broker.check(d)
	checkFilters(d, c.Broker.Filter, c.Payload.Max)
	names := map[string]bool{}
	for i := range c.MQTT {
		m := &c.MQTT[i]
		m.Config.Check(d, m, names)
		m.checkSubscriptions(d)
		tomlconf.Between(d, &m.MaxRate, 0, maxRate)
		checkFilters(d, m.Filter, c.Payload.Max)
	}
	c.checkHosts(d)
	c.checkPolled(d)
	c.checkFilterNumber(d)
	c.checkSync(d)
	c.checkSyncFilters(d)
	c.checkClientIDs(d)
	c.checkRetention(d)
	c.checkHomeAssistant(d)
	for path, table := range map[string]any{"broker": &c.Broker, "hwmon": &c.Hwmon, "homeassistant": &c.HomeAssistant} {
		if d.IsSet(path) && !d.IsSet(path+".enabled") {
			d.Warn(table, "nothing of it is in force: expected enabled = true, or enabled = false")
		}
	}
	if !c.Hwmon.Enabled && !c.Broker.Enabled && len(c.MQTT)+len(c.Modbus)+len(c.OPCUA)+len(c.Serial) == 0 {
		d.Warn(&c.MQTT, "there is nothing to record: no [[mqtt]], [[modbus]], [[opcua]] or [[serial]], and neither [broker] nor [hwmon] is enabled")
	}
}

// checkClientIDs refuses a client id that two connections would use at one broker.
func (c *Config) checkClientIDs(d *tomlconf.Document) {
	var before []*mqttconn.Config
	check := func(m *mqttconn.Config) {
		for _, other := range before {
			if m.SharesSession(other) {
				d.Refuse(&m.ClientID, "expected another one, or none: %q uses it at the same broker, where they would throw each other out, and give up each other's filters", other.Name)
				break
			}
		}
		before = append(before, m)
	}
	for i := range c.MQTT {
		check(&c.MQTT[i].Config)
	}
	for i := range c.Upstream {
		check(&c.Upstream[i].Config)
	}
}

// checkHosts looks at where the gateway is a host application of Sparkplug's.
func (c *Config) checkHosts(d *tomlconf.Document) {
	check := func(h *HostConfig) {
		if h.HostID != "" {
			if err := sparkplug.CheckHostID(h.HostID); err != nil {
				d.Refuse(&h.HostID, "%v", err)
			}
		}
		tomlconf.Between(d, &h.ReorderTimeout, 0, time.Hour)
	}
	check(&c.Broker.HostConfig)
	for i := range c.MQTT {
		m := &c.MQTT[i]
		check(&m.HostConfig)
		if m.HostID == "" {
			continue
		}
		if !slices.ContainsFunc(m.Subscribe, func(s SubscribeConfig) bool {
			return slices.ContainsFunc(s.Topics, func(filter string) bool {
				return filter == "#" || strings.HasPrefix(filter, "+/") || strings.HasPrefix(filter, sensors.SparkplugNamespace)
			})
		}) {
			d.Warn(&m.HostID, `nodes would take this gateway for a host, and nothing of them would arrive: expected topics = ["spBv1.0/#"] in an [[mqtt.subscribe]] below`)
		}
		for j := range i {
			if other := &c.MQTT[j]; other.HostID == m.HostID && m.SharesServer(other.Servers) {
				d.Refuse(&m.HostID, "expected another one: %q says at the same broker whether it is online", other.Name)
			}
		}
	}
}

// keysLast is how long the changes of key that a chain bears are to last.
const keysLast = 10 * 365 * 24 * time.Hour

// checkChain looks at what makes the chain: identity, store, groups and blocks.
func (c *Config) checkChain(d *tomlconf.Document) {
	if err := lightchain.CheckGatewayName(c.Gateway.Name); err != nil {
		d.Refuse(&c.Gateway.Name, "expected at most %d bytes without control characters", lightchain.MaxGatewayName)
	}
	if c.Gateway.Chain != "" {
		if _, err := lightchain.ParseChainID(c.Gateway.Chain); err != nil {
			d.Refuse(&c.Gateway.Chain, "expected the 52 characters that `edgeagent init` printed")
		}
	}
	if c.Gateway.Data == "" {
		d.Refuse(&c.Gateway.Data, "expected a folder, such as %q", DefaultConfig().Gateway.Data)
	}
	tomlconf.Between(d, &c.Key.RotateEvery, 0, 1<<30)
	if every := c.Key.RotateEvery; every > 0 && float64(every)*c.Block.Interval.Seconds()*store.MaxKeyChanges < keysLast.Seconds() {
		d.Warn(&c.Key.RotateEvery, "with a block every %v the key would be changed %d times within %d years, after which it stays: a chain bears no more. Expected %d or more",
			c.Block.Interval, store.MaxKeyChanges, int(keysLast.Hours()/24/365), int(math.Ceil(keysLast.Seconds()/c.Block.Interval.Seconds()/store.MaxKeyChanges)))
	}

	s := &c.Store
	tomlconf.Between(d, &s.Reserve, tomlconf.MiB, tomlconf.TiB)
	tomlconf.Between(d, &s.ReservePercent, 0, 50)
	// A start wants a quarter of the reserve; logs and tables of what was taken last fill the rest where the disk is full.
	if least := 16 * s.Memtable; s.Reserve < least {
		d.Warn(&s.Reserve, "where the disk is full, what the store writes for itself may take more than this: then the agent cannot open its chain before somebody makes room. Expected %v or more, 16 times store.memtable", least)
	}
	tomlconf.Between(d, &s.Cache, tomlconf.MiB, tomlconf.GiB)
	tomlconf.Between(d, &s.Memtable, 256*tomlconf.KiB, 256*tomlconf.MiB)
	if s.ScrubEvery != 0 {
		tomlconf.Between(d, &s.ScrubEvery, time.Second, 365*24*time.Hour)
	}
	tomlconf.Between(d, &s.ScrubRate, 8*tomlconf.KiB, tomlconf.GiB)
	if s.Cache < 2*s.Memtable {
		d.Refuse(&s.Cache, "expected at least twice store.memtable, %v, which takes its room from it", 2*s.Memtable)
	}
	if s.AllowVolatile {
		d.Warn(&s.AllowVolatile, "on a volatile data folder, what was acknowledged is gone when the power is")
	}

	c.checkCommit(d)
	tomlconf.Between(d, &c.Block.Interval, 100*time.Millisecond, 24*time.Hour)
	tomlconf.Between(d, &c.Block.MaxEntries, 1, lightchain.MaxBlock)
	tomlconf.Between(d, &c.Block.Heartbeat, c.Block.Interval, 7*24*time.Hour)
	// A block is begun by its first entry, which may come just before the heartbeat is due.
	if least, b := c.Block.Heartbeat+c.Block.Interval, &c.Block.Cadence; *b != 0 && (*b < least || *b > 31*24*time.Hour || *b%time.Second != 0) {
		d.Refuse(b, "expected 0, for no promise, or whole seconds from block.heartbeat and block.interval together, %v, to 31 days", least)
	}
	tomlconf.Between(d, &c.Payload.Max, minPayload, maxPayload)
	tomlconf.Between(d, &c.Ingest.MaxBytes, max(tomlconf.MiB, c.Payload.Max), tomlconf.GiB)
}

// checkLocal looks at what concerns this machine alone.
func (c *Config) checkLocal(d *tomlconf.Document) {
	if n := len(c.API.Socket); n > maxSocketPath {
		d.Refuse(&c.API.Socket, "a path of %d bytes, where the system allows %d (by default the socket is in gateway.data): expected a shorter one, such as %q",
			n, maxSocketPath, "/run/edgeagent/edgeagent.sock")
	}
	if err := localhttp.CheckHosts(c.API.Hosts); err != nil {
		d.Refuse(&c.API.Hosts, "%v", err)
	}
	if c.API.Listen != "" {
		if local, err := localhttp.IsLoopback(c.API.Listen); err != nil {
			d.Refuse(&c.API.Listen, "%v", err)
		} else if !local {
			d.Refuse(&c.API.Listen, `expected this machine's own address, such as "127.0.0.1:9470": the API asks nobody who he is, and shows payloads`)
		}
	}
	tomlconf.OneOf(d, &c.Log.Level, "debug", "info", "warn", "error")
	tomlconf.OneOf(d, &c.Log.Format, "auto", "text", "json")
	tomlconf.Between(d, &c.Hwmon.Interval, time.Second, 24*time.Hour)
	if !path.IsAbs(c.Hwmon.Root) {
		d.Refuse(&c.Hwmon.Root, `expected a full path, such as "/"`)
	}
}

// checkContent refuses a file with which the agent would not start. One that is not there, or that only the service may read,
// says nothing about how that would go.
func checkContent(d *tomlconf.Document, field *string, err error) {
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, fs.ErrPermission):
		d.Warn(field, "what is in it was not checked: %v", err)
	default:
		d.Refuse(field, "%v", err)
	}
}

func (b *BrokerConfig) check(d *tomlconf.Document) {
	listeners := 0
	for _, listen := range []*string{&b.Listen, &b.TLSListen, &b.WSListen, &b.WSSListen} {
		if *listen == "" {
			continue
		}
		listeners++
		local, err := localhttp.IsLoopback(*listen)
		switch {
		case err != nil:
			d.Refuse(listen, "%v", err)
		case local:
		case b.AllowAnonymous:
			d.Refuse(listen, `expected this machine's own address, such as "127.0.0.1:1883", since broker.allow_anonymous lets anybody in: anybody on the network could write into the chain`)
		case b.Enabled && (listen == &b.Listen || listen == &b.WSListen):
			d.Warn(listen, "passwords and readings cross the network in the clear here; broker.tls_listen would protect them")
		}
	}
	for _, listen := range []*string{&b.TLSListen, &b.WSSListen} {
		if *listen != "" && b.TLSCert == "" {
			d.Refuse(listen, "expected broker.tls_cert and broker.tls_key beside it")
		}
	}
	mqttconn.CheckKeyPair(d, &b.TLSCert, &b.TLSKey)
	for _, file := range b.files() {
		tomlconf.File(d, file)
	}
	if b.Enabled && b.Users != "" {
		checkContent(d, &b.Users, broker.CheckUsers(b.Users))
	}
	switch {
	case b.PasswordFile != "" && b.Users != "":
		d.Refuse(&b.PasswordFile, "expected this or broker.users, not both")
	case b.ACLFile != "" && b.PasswordFile == "":
		d.Refuse(&b.ACLFile, "expected broker.password_file beside it")
	case b.Enabled && b.PasswordFile != "":
		checkContent(d, &b.PasswordFile, broker.CheckMosquitto(b.PasswordFile, b.ACLFile))
	}
	if b.Enabled && b.TLSCert != "" && b.TLSKey != "" {
		_, err := broker.Certificate(broker.TLSFiles{Cert: b.TLSCert, Key: b.TLSKey}, nil)
		checkContent(d, &b.TLSCert, err)
		if err == nil && b.TLSClientCA != "" {
			_, err := broker.Certificate(b.tlsFiles(), nil)
			checkContent(d, &b.TLSClientCA, err)
		}
	}
	if b.TLSClientCA == "" && b.TLSClientCert == certRequired {
		d.Refuse(&b.TLSClientCert, "expected broker.tls_client_ca beside it: without authorities no certificate is asked for")
	}
	if b.TLSClientCA != "" {
		switch {
		case b.TLSListen == "" && b.WSSListen == "":
			d.Refuse(&b.TLSClientCA, "expected broker.tls_listen or wss_listen beside it: elsewhere no client shows a certificate")
		case b.Users == "" && b.PasswordFile == "":
			d.Refuse(&b.TLSClientCA, "expected broker.users beside it, or password_file: there it stands what the users of certificates may do")
		}
	}
	tomlconf.OneOf(d, &b.TLSClientCert, certOptional, certRequired)
	tomlconf.OneOf(d, &b.TLSClientUser, broker.UserFromCN, broker.UserFromSAN)
	if b.Enabled && listeners == 0 {
		d.Refuse(&b.Enabled, "expected an address in broker.listen, tls_listen, ws_listen or wss_listen")
	}
	if b.Enabled && b.Users == "" && b.PasswordFile == "" && !b.AllowAnonymous {
		d.Refuse(&b.Enabled, "nobody could connect: expected a file in broker.users or password_file, or broker.allow_anonymous = true")
	}
	tomlconf.Between(d, &b.MaxClients, 1, 100000)
	tomlconf.Between(d, &b.MaxPacket, tomlconf.KiB, 16*tomlconf.MiB)
	tomlconf.Between(d, &b.MaxInflight, 1, 65535)
	if b.MaxKeepalive != 0 {
		tomlconf.Between(d, &b.MaxKeepalive, time.Second, 65535*time.Second)
	}
	if b.MaxIdle != 0 {
		tomlconf.Between(d, &b.MaxIdle, time.Second, 366*24*time.Hour)
	}
	for _, size := range []*tomlconf.Size{&b.MaxReading, &b.MaxRetained, &b.MaxQueue, &b.MaxQueued} {
		tomlconf.Between(d, size, 64*tomlconf.KiB, tomlconf.GiB)
	}
	tomlconf.Between(d, &b.MaxSessions, 0, 1000000)
	tomlconf.Between(d, &b.MaxSubscriptions, 1, 1000000)
	tomlconf.Between(d, &b.MaxPerAddress, 0, 100000)
	tomlconf.Between(d, &b.MaxRate, 0, maxRate)
	tomlconf.OneOf(d, &b.Subscribers, onDisk, inMemory)
	tomlconf.Between(d, &b.SubscribersSync, 100*time.Millisecond, time.Hour)
	for i := range b.Decode {
		checkTopics(d, &b.Decode[i], b.Decode[i].Topics)
		checkDecoder(d, &b.Decode[i], &b.Decode[i].Config)
	}
}

func (m *MQTTConfig) checkSubscriptions(d *tomlconf.Document) {
	if len(m.Subscribe) == 0 {
		d.Refuse(m, "expected [[mqtt.subscribe]] with topics below it: nothing would arrive")
	}
	for i := range m.Subscribe {
		s := &m.Subscribe[i]
		checkTopics(d, s, s.Topics)
		tomlconf.Between(d, &s.QoS, 0, 2)
		checkDecoder(d, s, &s.Config)
	}
}

// checkTopics looks at a list of topic filters in the given table.
func checkTopics(d *tomlconf.Document, table any, topics []string) {
	if len(topics) == 0 {
		d.Refuse(table, `expected topics, such as topics = ["factory/#"]`)
	}
	for i := range topics {
		if err := mqttwire.CheckFilter(topics[i]); err != nil {
			d.Refuse(&topics[i], "%s", err)
		}
	}
}

// checkDecoder has the decoder made, and thrown away, that the table describes. Its errors begin with the key at
// fault, or with the rule of topic_parsing, counted from 1.
func checkDecoder(d *tomlconf.Document, table any, c *sensors.Config) {
	_, err := sensors.New(*c)
	if err == nil {
		return
	}
	key, why, _ := strings.Cut(err.Error(), ": ")
	var rule int
	if _, err := fmt.Sscanf(key, "topic_parsing %d", &rule); err == nil && 0 < rule && rule <= len(c.TopicParsing) {
		d.Refuse(&c.TopicParsing[rule-1], "%s", why)
	} else {
		d.RefuseKey(table, key, "%s", why)
	}
}

// checkSync looks at the way to the aggregators.
func (c *Config) checkSync(d *tomlconf.Document) {
	s := &c.Sync
	tomlconf.Between(d, &s.Announce, time.Second, 24*time.Hour)
	tomlconf.OneOf(d, &s.ConfirmHead, "always", "if_reachable", "never")
	tomlconf.Between(d, &s.ConfirmWait, time.Second, time.Hour)
	names, aggregators := map[string]bool{}, map[lightchain.PublicKey]string{}
	for i := range c.Upstream {
		u := &c.Upstream[i]
		u.Config.Check(d, u, names)
		levels := strings.Split(u.Prefix, "/")
		bad := len(levels) > maxPrefixLevels || strings.ContainsAny(u.Prefix, "+#$\x00")
		for _, level := range levels {
			bad = bad || level == ""
		}
		if bad {
			d.Refuse(&u.Prefix, `expected 1 to %d levels without + # $, such as "edgechain/v1"`, maxPrefixLevels)
		}
		if len(u.Aggregator) == 0 {
			d.Refuse(u, "expected [[upstream.aggregator]] with name and key below it, as `edgeaggregator key show` prints them")
		}
		for j := range u.Aggregator {
			u.Aggregator[j].check(d, aggregators)
		}
	}
}

func (c *Config) checkHomeAssistant(d *tomlconf.Document) {
	h := &c.HomeAssistant
	for _, prefix := range []*string{&h.Discovery, &h.Prefix} {
		if !homeassistant.CheckPrefix(*prefix) {
			d.Refuse(prefix, `expected 1 to 4 levels without + # $, such as %q`, homeassistant.DefaultPrefix)
		}
	}
	tomlconf.Between(d, &h.Interval, 5*time.Second, time.Hour)
	switch {
	case !h.Enabled:
	case h.Broker == "" && !c.Broker.Enabled:
		d.Refuse(&h.Enabled, "expected the name of an [[mqtt]] in homeassistant.broker, since the embedded broker is not enabled")
	case h.Broker != "" && c.homeAssistantBroker(h.Broker) == nil:
		d.Refuse(&h.Broker, "expected the name of an [[mqtt]], or none for the embedded broker")
	}
}

// check looks at one aggregator. Names holds, by key, whose it is: an aggregator may be reached in several ways and
// have several keys, but two names under one key would count one signature twice.
func (a *AggregatorConfig) check(d *tomlconf.Document, names map[lightchain.PublicKey]string) {
	if a.Name == "" || a.Key == "" {
		d.Refuse(a, "expected name and key, as `edgeaggregator key show` prints them")
		return
	}
	if err := lightchain.CheckAggregatorName(a.Name); err != nil {
		d.Refuse(&a.Name, "expected 1 to 63 of a-z, 0-9, and, but for the first, '.' and '-'")
	}
	key, _, err := keyfile.ParsePublicKey(a.Key)
	if err != nil {
		d.Refuse(&a.Key, "%v; expected the line that `edgeaggregator key show` prints", err)
		return
	}
	if other, known := names[key]; known && other != a.Name {
		d.Refuse(&a.Key, "expected another one: this is the key of %s", other)
	}
	names[key] = a.Name
}
