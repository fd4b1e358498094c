package agent

import (
	"slices"
	"time"

	"edgechain/tomlconf"
)

// RetentionConfig says which payloads the gateway need not keep. Headers stay for ever.
type RetentionConfig struct {
	MaxAge  time.Duration `toml:"max_age"`  // 0 is no limit
	MaxSize tomlconf.Size `toml:"max_size"` // of the store on disk; 0 is no limit
	Quorum  int           `toml:"quorum"`   // of aggregators that must have countersigned what may go
	// DeleteUnreceiptedEvidence lets go what no aggregator has countersigned.
	DeleteUnreceiptedEvidence bool `toml:"delete_unreceipted_evidence"`
}

// checkRetention looks at what may be deleted. A limit that can never delete anything is refused: whoever sets one
// relies on it.
func (c *Config) checkRetention(d *tomlconf.Document) {
	r := &c.Retention
	if r.MaxAge != 0 {
		tomlconf.Between(d, &r.MaxAge, time.Hour, 100*365*24*time.Hour)
	}
	if r.MaxSize != 0 {
		// The logs behind the memtables alone may take a quarter of it, and are never deleted.
		tomlconf.Between(d, &r.MaxSize, 16*max(tomlconf.MiB, c.Store.Memtable), 1024*tomlconf.TiB)
	}
	names := c.aggregatorNames()
	tomlconf.Between(d, &r.Quorum, 1, 8)
	switch {
	case r.DeleteUnreceiptedEvidence:
		d.Warn(&r.DeleteUnreceiptedEvidence, "payloads are deleted whether or not anybody else has a trace of them: if the gateway is lost, or lies, nobody can tell what they were")
	case r.limit() == nil:
	case len(names) == 0:
		d.Refuse(r.limit(), "no aggregator is configured, so nothing will ever be receipted, and nothing deleted: expected an [[upstream]] "+
			"with [[upstream.aggregator]], or, to delete what nobody else has a trace of, retention.delete_unreceipted_evidence = true")
	case r.Quorum > len(names):
		d.Refuse(&r.Quorum, "expected at most %d, as many aggregators as are configured: nothing would ever be deleted", len(names))
	}
}

// limit returns the field that asks for something to be deleted, or nil.
func (r *RetentionConfig) limit() any {
	switch {
	case r.MaxAge != 0:
		return &r.MaxAge
	case r.MaxSize != 0:
		return &r.MaxSize
	}
	return nil
}

// aggregatorNames returns the names of the configured aggregators, each once, in their order.
func (c *Config) aggregatorNames() (names []string) {
	for i := range c.Upstream {
		for _, g := range c.Upstream[i].Aggregator {
			if !slices.Contains(names, g.Name) {
				names = append(names, g.Name)
			}
		}
	}
	return names
}
