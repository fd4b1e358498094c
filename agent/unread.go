package agent

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/sensors"
)

// mostUnread is of how many sources and reasons the agent knows which messages it could not read. Of more it counts alone.
const mostUnread = 256

// unread knows whose messages were not understood, or lacked something, and why: of each source with its topic, and of each
// kind of reason, the newest.
type unread struct {
	log *slog.Logger

	mu     sync.Mutex
	known  map[unreadKey]*api.Unread // guarded by mu
	beyond uint64                    // guarded by mu: messages of sources and reasons that there was no room for
}

type unreadKey struct{ source, reason string }

// doubtful is the reason of a message that was understood, but for something.
const doubtful = "doubt"

// refused is told of a message that no decoder understood.
func (u *unread) refused(source string, err error) {
	u.tell("message not understood: it is recorded without readings", source, string(sensors.ReasonOf(err)), err.Error())
}

// doubted is told of a message that was understood, but for something.
func (u *unread) doubted(source, what string) {
	u.tell("a message was read, and leaves a doubt", source, doubtful, what)
}

// tell counts, and logs the first of a kind, the tenth, the hundredth, and so on.
func (u *unread) tell(msg, source, reason, detail string) {
	messages := u.count(source, reason, detail)
	n := messages
	for n > 0 && n%10 == 0 {
		n /= 10
	}
	if n == 1 {
		u.log.Warn(msg, "source", source, "reason", reason, "err", detail, "messages", messages)
	}
}

// count counts a message, and returns the how manieth of its kind it is; 0 where there is no room for the kind.
func (u *unread) count(source, reason, detail string) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := unreadKey{source, reason}
	k := u.known[key]
	switch {
	case k == nil && len(u.known) >= mostUnread:
		u.beyond++
		return 0
	case k == nil:
		k = &api.Unread{Source: source, Reason: reason}
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
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason))
	})
	return all, u.beyond
}
