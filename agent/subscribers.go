package agent

import (
	"iter"
	"path/filepath"
	"strings"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors/broker"
	"edgechain.example/sensors/broker/subscriberstore"
)

const subscribersFolder = "subscribers"

// subscribersDir is where the embedded broker keeps what its subscribers are to find again: beside the chain, and no part of
// it. A backup does not take it along: it is of this board's clients, which elsewhere ask anew.
func (a *Agent) subscribersDir() string { return filepath.Join(a.data, subscribersFolder) }

// KeptMemory is what keeping subscribers' state on disk takes of memory, in bytes.
func (b *BrokerConfig) KeptMemory() int64 {
	if !b.Enabled || b.Subscribers != onDisk {
		return 0
	}
	return subscriberstore.MemoryBytes
}

// subscribers says where the embedded broker keeps that; nil: in memory.
func (a *Agent) subscribers(c *BrokerConfig) *broker.Subscribers {
	if c.Subscribers != onDisk {
		return nil
	}
	boot, _ := a.clock.BootID() // its absence was logged when the chain was opened
	return &broker.Subscribers{
		Boot:  boot,
		Store: subscriberstore.Options{Dir: a.subscribersDir(), Every: c.SubscribersSync, Room: a.mayFill},
		Chain: a.store.Chain().String(), Next: a.store.Next, Recorded: fromBroker(&a.store.Reader),
	}
}

// forgetSubscribers removes what an earlier run kept on disk, where nothing is kept any more: it grows old, and would have
// subscribers told again what they have. No broker may run.
func (a *Agent) forgetSubscribers(c *BrokerConfig) {
	if c.Subscribers == onDisk {
		return
	}
	if err := subscriberstore.Remove(subscriberstore.Options{Dir: a.subscribersDir()}); err != nil {
		a.log.Warn("failed to remove what was kept for subscribers", "err", err)
	}
}

// mayFill tells whether the disk has room for what is not evidence: what is left in the reserve is the chain's.
func (a *Agent) mayFill() bool {
	s := a.store.Stats()
	return !s.Told || s.Free > s.Reserve
}

// fromBroker returns what reads the entries that the embedded broker made.
func fromBroker(chain *store.Reader) func(from uint64) iter.Seq2[*broker.Recorded, error] {
	return func(from uint64) iter.Seq2[*broker.Recorded, error] {
		return func(yield func(*broker.Recorded, error) bool) {
			for rec, err := range chain.Entries(from, chain.Next()) {
				switch {
				case err != nil:
					if !yield(nil, err) {
						return
					}
				case strings.HasPrefix(rec.Entry.Source, "broker:"):
					e := &rec.Entry
					if !yield(&broker.Recorded{Number: rec.Number, Source: e.Source, Flags: e.Flags, Payload: e.Payload}, nil) {
						return
					}
				}
			}
		}
	}
}

// brokerStatus is what the embedded broker's clients cost.
func brokerStatus(s *broker.Stats) *api.Broker {
	return &api.Broker{
		Sessions: s.Sessions, Subscriptions: s.Subscriptions, Retained: s.Retained, RetainedBytes: s.RetainedBytes,
		QueuedBytes: s.QueuedBytes, ReadingBytes: s.ReadingBytes, WillBytes: s.WillBytes, Delivered: s.Delivered,
		Unretained: s.Unretained, Strangers: s.Unauthenticated, Cut: s.Cut, Panics: s.Panics,
		Kept: s.Kept.Open, KeptBytes: s.Kept.Bytes, KeptWritten: s.Kept.Written, Unkept: s.Unkept,
	}
}
