package aggregator

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"edgechain/lightchain"
	headersync "edgechain/sync"
	"edgechain/tomlconf"
)

// Bounds of a configuration that are somebody else's.
const (
	maxSocketPath = 107   // bytes; Linux has room for 108 with the zero behind (unix(7))
	maxMQTTText   = 65535 // bytes of a client id (MQTT 3.1.1, section 1.5.3)
	maxKeepAlive  = 65535 // seconds (section 3.1.2.10)
)

// check refuses what cannot work, each key at its line, and warns of what is hardly meant.
func (c *Config) check(d *tomlconf.Document) {
	a := &c.Aggregator
	if a.Name == "" {
		d.Refuse(&a.Name, `expected a name, such as name = "agg-1": it stands in every receipt`)
	} else if err := lightchain.CheckAggregatorName(a.Name); err != nil {
		d.Refuse(&a.Name, "expected 1 to 63 of a-z, 0-9, and, but for the first, '.' and '-'")
	}
	if a.Data == "" {
		d.Refuse(&a.Data, "expected a folder, such as %q", DefaultConfig().Aggregator.Data)
	}
	if err := lightchain.CheckAggregatorName(a.Replica); err != nil {
		d.Refuse(&a.Replica, "expected 1 to 63 of a-z, 0-9, and, but for the first, '.' and '-', another for each replica")
	}
	if url := string(c.Store.URL); url != "" && !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		d.Refuse(&c.Store.URL, `expected "postgres://user@host/database", or nothing for a store in aggregator.data`)
	}
	tomlconf.Between(d, &c.Store.Cache, 8*tomlconf.MiB, 64*tomlconf.GiB)
	tomlconf.OneOf(d, &c.Trust.Gateways, TrustApproved, TrustAll)
	if c.Trust.Gateways == TrustAll {
		d.Warn(&c.Trust.Gateways, "any gateway that reaches a broker below is countersigned")
	}
	tomlconf.Between(d, &c.Trust.MaxInbox, 0, 1000000)
	p := &c.Pull
	tomlconf.OneOf(d, &p.Mode, Dense, Sparse)
	tomlconf.Between(d, &p.Page, 4*tomlconf.KiB, headersync.MaxPage)
	tomlconf.Between(d, &p.BytesPerDay, 0, tomlconf.TiB)
	tomlconf.Between(d, &p.LeapOver, 1, 1<<30)
	tomlconf.Between(d, &p.Workers, 1, 1024)
	if c.Clock.AssumeSynchronised {
		d.Warn(&c.Clock.AssumeSynchronised, "receipts say when; if this machine's clock is wrong they say what is not true, and proofs fail or lie")
	}
	if c.Silence.After != 0 {
		tomlconf.Between(d, &c.Silence.After, time.Second, 366*24*time.Hour)
	}
	if n := len(c.API.Socket); n > maxSocketPath {
		d.Refuse(&c.API.Socket, "a path of %d bytes, where the system allows %d (by default the socket is in aggregator.data): expected a shorter one, such as %q",
			n, maxSocketPath, "/run/edgeaggregator/edgeaggregator.sock")
	}
	if c.API.Listen != "" {
		if local, err := isLoopback(c.API.Listen); err != nil {
			d.Refuse(&c.API.Listen, "%v", err)
		} else if !local {
			d.Refuse(&c.API.Listen, `expected this machine's own address, such as "127.0.0.1:9471": the API asks nobody who he is, and approves gateways`)
		}
	}
	tomlconf.OneOf(d, &c.Log.Level, "debug", "info", "warn", "error")
	tomlconf.OneOf(d, &c.Log.Format, "auto", "text", "json")
	names := map[string]bool{}
	for i := range c.Broker {
		c.Broker[i].check(d, names)
	}
	if len(c.Broker) == 0 {
		d.Warn(&c.Broker, "there is no [[broker]]: no gateway can be reached")
	}
}

// isLoopback reports whether nobody but this machine can reach the address to listen at.
func isLoopback(address string) (bool, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return false, errors.New(`expected an address and a port, such as "127.0.0.1:9471" or "[::1]:9471"`)
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback(), nil
}

var connectionName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// check looks at one broker; names are those used before.
func (c *BrokerConfig) check(d *tomlconf.Document, names map[string]bool) {
	switch {
	case c.Name == "":
		d.Refuse(c, `expected a name, such as name = "office"`)
	case !connectionName.MatchString(c.Name):
		d.Refuse(&c.Name, "expected 1 to 64 letters, digits, '.', '_' and '-'")
	case names[c.Name]:
		d.Refuse(&c.Name, "expected a name that no other has")
	}
	names[c.Name] = true
	if len(c.Servers) == 0 {
		d.Refuse(c, `expected at least one server, such as servers = ["tcp://127.0.0.1:1883"]`)
	}
	secure := false
	for i := range c.Servers {
		u, err := url.Parse(string(c.Servers[i]))
		if err != nil || u.Host == "" {
			continue // it was refused when it was read
		}
		switch ip, err := netip.ParseAddr(u.Hostname()); {
		case u.Scheme == "ssl" || u.Scheme == "wss" || u.Scheme == "mqtts":
			secure = true
		case c.Username != "" && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()):
			d.Warn(&c.Servers[i], "the password crosses the network in the clear; ssl:// would protect it")
		}
	}
	if headersync.CheckPrefix(c.Prefix) != nil {
		d.Refuse(&c.Prefix, `expected 1 to 3 levels without + # $, such as "edgechain/v1"`)
	}
	if c.Password != "" && c.PasswordFile != "" {
		d.Refuse(&c.PasswordFile, "expected one of password and password_file")
	}
	if c.Username == "" && c.Password != "" {
		d.Refuse(&c.Password, "expected username beside it: MQTT 3.1.1 sends no password without one")
	}
	if c.Username == "" && c.PasswordFile != "" {
		d.Refuse(&c.PasswordFile, "expected username beside it: MQTT 3.1.1 sends no password without one")
	}
	if len(c.ClientID) > maxMQTTText {
		d.Refuse(&c.ClientID, "expected at most %d bytes", maxMQTTText)
	}
	tomlconf.Between(d, &c.KeepAlive, time.Second, maxKeepAlive*time.Second)
	tomlconf.Between(d, &c.ConnectTimeout, time.Second, 10*time.Minute)
	tomlconf.OneOf(d, &c.Shared, "auto", "always", "never")
	if c.TLSCert != "" && c.TLSKey == "" {
		d.Refuse(&c.TLSCert, "expected tls_key beside it, the file of its private key")
	}
	if c.TLSKey != "" && c.TLSCert == "" {
		d.Refuse(&c.TLSKey, "expected tls_cert beside it, the file of its certificate")
	}
	for _, key := range []*string{&c.TLSCA, &c.TLSCert, &c.TLSServerName} {
		if *key != "" && len(c.Servers) > 0 && !secure {
			d.Refuse(key, "it is of no use, for no server is ssl:// or wss://")
		}
	}
}
