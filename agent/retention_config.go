package agent

import (
	"slices"
	"time"

	"edgechain.example/tomlconf"
)

// RetentionConfig says which payloads the gateway need not keep. Headers stay for ever.
type RetentionConfig struct {
	MaxAge  time.Duration `toml:"max_age"`  // 0 is no limit
	MaxSize tomlconf.Size `toml:"max_size"` // of the store on disk; 0 is no limit
	Quorum  int           `toml:"quorum"`   // of aggregators that must have countersigned what may go
	// MinAge keeps what is younger from being deleted for size or for room; 0 is none.
	MinAge time.Duration `toml:"min_age"`
	// RoomPerDay is by how much the store may shrink in a day for want of room on the disk; 0 is a share of MaxSize.
	RoomPerDay tomlconf.Size `toml:"room_per_day"`
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
	tomlconf.Between(d, &r.MinAge, 0, 100*365*24*time.Hour)
	tomlconf.Between(d, &r.RoomPerDay, 0, 1024*tomlconf.TiB)
	switch {
	case r.MaxAge != 0 && r.MinAge > r.MaxAge && d.IsSet("retention.min_age"):
		d.Refuse(&r.MinAge, "expected at most retention.max_age, %v: what is older than that is deleted in any case", r.MaxAge)
	case r.MaxAge != 0 && r.MinAge > r.MaxAge:
		r.MinAge = r.MaxAge
	case r.MaxSize != 0 && r.MinAge == 0:
		d.Warn(&r.MinAge, "nothing is too young to be deleted for size or for room: if something else fills the disk, readings of the last hour go, whether or not a backup has them")
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

// roomShare is the part of max_size by which the store may shrink in a day for want of room, if nothing else is said: what
// else fills a disk is noticed within days, and has taken a few of sixteen parts by then.
const roomShare = 16

// roomPerDay returns by how many bytes the store may shrink in a day for want of room.
func (r *RetentionConfig) roomPerDay() uint64 {
	if r.RoomPerDay != 0 {
		return uint64(r.RoomPerDay)
	}
	return uint64(r.MaxSize) / roomShare
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
