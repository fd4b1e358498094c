package aggregator

import (
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
	headersync "edgechain.example/sync"
	"edgechain.example/tomlconf"
)

// maxSocketPath is in bytes; Linux has room for 108 with the zero behind (unix(7)).
const maxSocketPath = 107

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
	if is := tomlconf.Irregular(c.Key.File); is != "" { // its copy may be whole, which is put in its place
		d.Warn(&c.Key.File, "expected a regular file, and this is %s: the aggregator does not start unless a copy of the key is beside it", is)
	}
	tomlconf.Named(d, &c.Key.Passphrase, c.Key.Passphrase.File())
	if url := string(c.Store.URL); url != "" && !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		d.Refuse(&c.Store.URL, `expected "postgres://user@host/database", or nothing for a store in aggregator.data`)
	}
	tomlconf.Between(d, &c.Store.Cache, 8*tomlconf.MiB, 64*tomlconf.GiB)
	tomlconf.OneOf(d, &c.Store.CrashLoss, registry.RefuseLoss, registry.WarnLoss)
	tomlconf.OneOf(d, &c.Store.FailoverLoss, registry.RefuseLoss, registry.WarnLoss)
	if c.Store.CrashLoss == registry.WarnLoss {
		d.Warn(&c.Store.CrashLoss, "receipts say what was countersigned once and for all; a database that a crash sets back does not know it any more")
	}
	tomlconf.OneOf(d, &c.Trust.Gateways, registry.TrustApproved, registry.TrustAll)
	if c.Trust.Gateways == registry.TrustAll {
		d.Warn(&c.Trust.Gateways, "any gateway that reaches a broker below is countersigned")
	}
	tomlconf.Between(d, &c.Trust.MaxInbox, 0, 1000000)
	p := &c.Pull
	tomlconf.OneOf(d, &p.Mode, registry.Dense, registry.Sparse)
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
	if err := localhttp.CheckHosts(c.API.Hosts); err != nil {
		d.Refuse(&c.API.Hosts, "%v", err)
	}
	if c.API.Listen != "" {
		if local, err := localhttp.IsLoopback(c.API.Listen); err != nil {
			d.Refuse(&c.API.Listen, "%v", err)
		} else if !local {
			d.Refuse(&c.API.Listen, `expected this machine's own address, such as "127.0.0.1:9471": the API asks nobody who he is, and approves gateways`)
		}
	}
	c.Transparency.check(d)
	if c.Transparency.Origin != "" && filepath.Clean(c.Transparency.KeyFile) == filepath.Clean(c.Key.File) {
		d.Refuse(&c.Transparency.KeyFile, "this is key.file, which signs receipts: a log has a key that it uses for nothing else")
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

// check looks at what is said of the log of heads.
func (c *TransparencyConfig) check(d *tomlconf.Document) {
	if c.Origin != "" && !isLogName(c.Origin) {
		d.Refuse(&c.Origin, `expected a name that no other log has, of a-z, 0-9, '.', '-' and '/', such as "agg-1.example.com": the log is called that and /heads`)
	}
	if is := tomlconf.Irregular(c.KeyFile); is != "" {
		d.Refuse(&c.KeyFile, "expected a regular file, and this is %s", is)
	}
	tomlconf.Between(d, &c.Interval, time.Second, 24*time.Hour)
	if err := localhttp.CheckHosts(c.Hosts); err != nil {
		d.Refuse(&c.Hosts, "%v", err)
	}
	if c.Listen == "" {
		return
	}
	if _, err := localhttp.IsLoopback(c.Listen); err != nil {
		d.Refuse(&c.Listen, "%v", err)
	} else if c.Origin == "" {
		d.Refuse(&c.Listen, "there is no log of heads to serve: set transparency.origin")
	}
}

// isLogName reports whether a text can be the name in an origin, which is a URL without its scheme, and part of a file's name.
func isLogName(name string) bool {
	const most = 128
	for level := range strings.SplitSeq(name, "/") {
		if level == "" || level == "." || level == ".." {
			return false
		}
	}
	return len(name) <= most && !strings.HasSuffix(name, "/heads") &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '/'
		})
}

// check looks at one broker; names are those used before.
func (c *BrokerConfig) check(d *tomlconf.Document, names map[string]bool) {
	c.Config.Check(d, c, names)
	if headersync.CheckPrefix(c.Prefix) != nil {
		d.Refuse(&c.Prefix, `expected 1 to 3 levels without + # $, such as "edgechain/v1"`)
	}
}
