package agent

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/sensors"
)

// mostUnread is of how many topics and reasons the agent knows which messages it could not read. Of more it counts alone.
const mostUnread = 256

// unread knows whose messages were not understood, or lacked something, and why: of each source, topic and kind of
// reason, the newest.
type unread struct {
	log *slog.Logger

	mu     sync.Mutex
	known  map[unreadKey]*api.Unread // guarded by mu
	beyond uint64                    // guarded by mu: messages of topics and reasons that there was no room for
}

// unreadKey is a kind: of a source by its name, a topic, and one word of why.
type unreadKey struct{ source, topic, reason string }

// doubtful is the reason of a message that was understood, but for something.
const doubtful = "doubt"

// refused is told of a message that no decoder understood.
func (u *unread) refused(source, topic string, err error) {
	u.tell("message not understood: it is recorded without readings", unreadKey{source, topic, string(sensors.ReasonOf(err))}, err.Error())
}

// doubted is told of a message that was understood, but for something.
func (u *unread) doubted(source, topic, what string) {
	u.tell("a message was read, and leaves a doubt", unreadKey{source, topic, doubtful}, what)
}

// tell counts, and logs the first of a kind, the tenth, the hundredth, and so on.
func (u *unread) tell(msg string, key unreadKey, detail string) {
	const longest = 256 // bytes of a topic: two that begin alike for so long are told as one
	if len(key.topic) > longest {
		key.topic = key.topic[:longest]
	}
	key.topic = strings.ToValidUTF8(key.topic, "\uFFFD")
	messages := u.count(key, detail)
	n := messages
	for n > 0 && n%10 == 0 {
		n /= 10
	}
	if n == 1 {
		u.log.Warn(msg, "source", key.source, "topic", key.topic, "reason", key.reason, "err", detail, "messages", messages)
	}
}

// count counts a message, and returns the how manieth of its kind it is; 0 where there is no room for the kind.
func (u *unread) count(key unreadKey, detail string) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	k := u.known[key]
	switch {
	case k == nil && len(u.known) >= mostUnread:
		u.beyond++
		return 0
	case k == nil:
		k = &api.Unread{Source: key.source, Topic: key.topic, Reason: key.reason}
		if u.known == nil {
			u.known = map[unreadKey]*api.Unread{}
		}
		u.known[key] = k
	}
	k.Messages++
	k.Last, k.Detail = time.Now(), detail
	return k.Messages
}

// status returns all kinds, the one that came last first.
func (u *unread) status() (all []api.Unread, beyond uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, k := range u.known {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b api.Unread) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Reason, b.Reason))
	})
	return all, u.beyond
}
