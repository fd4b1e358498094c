package store

import "edgechain.example/lightchain"

// Stats is the store's state for people and metrics.
type Stats struct {
	Chain   lightchain.ChainID
	Height  uint64               // of the newest header
	Head    lightchain.Hash      // of the same
	Key     lightchain.PublicKey // in force after it
	Entries uint64               // that the chain numbers, sealed and durable in the open block
	Open    uint64               // of these, durable and not sealed yet

	Lost Lost // that scrubs have found damaged

	DiskBytes  uint64 // that the store takes up
	LiveBytes  uint64 // of these, without tables that are only waiting to be deleted
	WALBytes   uint64 // written to the log since the store was opened
	TableBytes uint64 // written to tables since the store was opened: with WALBytes, what the card suffers
	CacheBytes int64  // in the block cache
	ReadAmp    int    // tables that one read may have to look into

	Free     uint64 // bytes free for the store
	Told     bool   // the file system tells how much is free: Free and Reserve count
	Reserve  uint64 // bytes below which nothing is staged
	Volatile string // kind of file system that does not outlive a power cut, "" where it does
}

// Stats returns the state of what a reader reads.
func (r *Reader) Stats() Stats {
	at := r.view()
	m := r.db.Metrics()
	var tables uint64
	for i := range m.Levels {
		tables += m.Levels[i].TableBytesFlushed + m.Levels[i].TableBytesCompacted
	}
	return Stats{
		Lost:  r.lost(),
		Chain: at.tip.Chain, Height: at.tip.Height, Head: at.tip.Hash, Key: at.tip.Key, Entries: at.next, Open: at.next - at.tip.Next,
		DiskBytes:  m.DiskSpaceUsage(),
		LiveBytes:  uint64(m.Total().TablesSize) + m.WAL.PhysicalSize + m.WAL.ObsoletePhysicalSize,
		WALBytes:   m.WAL.BytesWritten,
		TableBytes: tables,
		CacheBytes: m.BlockCache.Size,
		ReadAmp:    m.ReadAmp(),
	}
}

// Stats returns the state of the store.
func (s *Store) Stats() Stats {
	stats := s.Reader.Stats()
	stats.Volatile = s.space.volatile
	if free, reserve, known := s.space.state(); known {
		stats.Free, stats.Reserve, stats.Told = free, reserve, true
	}
	return stats
}
