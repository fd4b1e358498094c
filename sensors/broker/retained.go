package broker

import (
	"slices"
	"strings"
	"sync"
	"time"

	"edgechain.example/mqttwire"
)

// retained is the newest retained message of each topic.
type retained struct {
	mu      sync.Mutex
	byTopic map[string]*forward
	topics  []string // of byTopic, in order: a recall goes on behind the topic that it came to
	bytes   int
	most    int   // bytes
	kept    *kept // written before anything else starts
}

const retainedOverhead = 256 // bytes, beside what the message is

// keep keeps a message, or forgets the topic's if the message is empty [MQTT-3.3.1-6]. false: there is no room.
func (r *retained) keep(f *forward) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byTopic[f.topic]
	after := r.bytes
	if old != nil {
		after -= old.size() + retainedOverhead
	}
	if len(f.payload) == 0 {
		r.forget(f.topic)
		r.bytes = after
		r.kept.retain(nil, old)
		return true
	}
	after += f.size() + retainedOverhead
	if after > r.most || old == nil && len(r.byTopic) >= maxRetained {
		// What it replaces is no longer the newest.
		r.drop(f.topic)
		return false
	}
	r.put(f)
	r.bytes = after
	r.kept.retain(f, old)
	return true
}

// restore takes over what was written, if there is room for it.
func (r *retained) restore(f *forward) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := f.size() + retainedOverhead
	if r.bytes+n > r.most || len(r.byTopic) >= maxRetained {
		return false
	}
	r.put(f)
	r.bytes += n
	return true
}

// put makes f its topic's message. The caller holds mu, and counts.
func (r *retained) put(f *forward) {
	if r.byTopic[f.topic] == nil {
		i, _ := slices.BinarySearch(r.topics, f.topic)
		r.topics = slices.Insert(r.topics, i, f.topic)
	}
	r.byTopic[f.topic] = f
}

// forget leaves a topic without a message. The caller holds mu, and counts.
func (r *retained) forget(topic string) {
	if r.byTopic[topic] == nil {
		return
	}
	delete(r.byTopic, topic)
	i, _ := slices.BinarySearch(r.topics, topic)
	r.topics = slices.Delete(r.topics, i, i+1)
}

// drop forgets a topic's message, if it has one. The caller holds mu.
func (r *retained) drop(topic string) {
	if old := r.byTopic[topic]; old != nil {
		r.forget(topic)
		r.bytes -= old.size() + retainedOverhead
		r.kept.retain(nil, old)
	}
}

// recall is what is left to give to a client of the retained messages that one of its subscriptions covers. It holds none of
// them: each is looked up when the client has room for it, and is the newest then. So it costs no more than its filter,
// however many messages there are and however slowly they are taken.
type recall struct {
	filter string
	qos    byte
	id     uint32 // the subscription's identifier
	wild   bool   // it covers more than one topic
	prefix string // of each topic that the filter covers
	last   string // the topic that it came to; "" is none, since no topic is empty
}

func newRecall(sub *subscription) *recall {
	want := &recall{filter: sub.filter, qos: sub.options.QoS, id: sub.id, prefix: sub.filter}
	if i := strings.IndexAny(sub.filter, "+#"); i >= 0 {
		want.wild = true
		want.prefix = strings.TrimSuffix(sub.filter[:i], "/") // "a/#" covers "a" as well
	}
	return want
}

// lookedAt is how many topics are compared with a filter while the lock is held.
const lookedAt = 256

// next returns the next message of a recall, nil if it came to none; over says that none is left behind it.
func (r *retained) next(want *recall) (f *forward, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !want.wild {
		return r.byTopic[want.filter], true
	}
	i, found := slices.BinarySearch(r.topics, max(want.prefix, want.last))
	if found && want.last == r.topics[i] {
		i++
	}
	for range lookedAt {
		if i >= len(r.topics) || !strings.HasPrefix(r.topics[i], want.prefix) {
			return nil, true
		}
		want.last = r.topics[i]
		if mqttwire.Match(want.filter, want.last) {
			return r.byTopic[want.last], false
		}
		i++
	}
	return nil, false
}

// rewrite writes what has an expiry again.
func (r *retained) rewrite() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.byTopic {
		if !f.expires.IsZero() {
			r.kept.retain(f, f)
		}
	}
}

// expire forgets what has outlived its expiry.
func (r *retained) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, f := range r.byTopic {
		if f.expired(now) {
			r.drop(topic)
		}
	}
}

func (r *retained) held() (messages, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byTopic), r.bytes
}
