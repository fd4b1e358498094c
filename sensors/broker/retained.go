package broker

import (
	"strings"
	"sync"
	"time"

	"edgechain/mqttwire"
)

// retained is the newest retained message of each topic.
type retained struct {
	mu      sync.Mutex
	byTopic map[string]*forward
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
		delete(r.byTopic, f.topic)
		r.bytes = after
		r.kept.retain(nil, old)
		return true
	}
	after += f.size() + retainedOverhead
	if after > r.most || old == nil && len(r.byTopic) >= maxRetained {
		// What it replaces is no longer the newest.
		if old != nil {
			delete(r.byTopic, f.topic)
			r.bytes -= old.size() + retainedOverhead
			r.kept.retain(nil, old)
		}
		return false
	}
	r.byTopic[f.topic] = f
	r.bytes = after
	r.kept.retain(f, old)
	return true
}

// restore takes over what was written; what there is no room for any more is forgotten.
func (r *retained) restore(f *forward) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := f.size() + retainedOverhead; r.bytes+n <= r.most && len(r.byTopic) < maxRetained {
		r.byTopic[f.topic] = f
		r.bytes += n
	} else {
		r.kept.retain(nil, f)
	}
}

// matching returns the messages whose topics a filter covers.
func (r *retained) matching(filter string) (all []*forward) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !strings.ContainsAny(filter, "+#") {
		if f := r.byTopic[filter]; f != nil {
			all = append(all, f)
		}
		return all
	}
	for topic, f := range r.byTopic {
		if mqttwire.Match(filter, topic) {
			all = append(all, f)
		}
	}
	return all
}

// expire forgets what has outlived its expiry.
func (r *retained) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, f := range r.byTopic {
		if f.expired(now) {
			delete(r.byTopic, topic)
			r.bytes -= f.size() + retainedOverhead
			r.kept.retain(nil, f)
		}
	}
}

func (r *retained) held() (messages, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byTopic), r.bytes
}
