package broker

import (
	"log/slog"
	"sync"
	"time"
)

// told is what was logged lately of clients that were refused or cut off: each cause is told once in a minute, however
// often it comes.
type told struct {
	log   *slog.Logger
	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	at   time.Time
	more int // that came since, and were not told
}

const (
	toldEvery = time.Minute
	toldLines = 64 // causes that are kept apart; there are fewer
)

// Warn warns of a client, with the reason, unless it has done so for the same reason within the last minute; then the next
// warning says how many there were.
func (t *told) Warn(message, reason string, attributes ...any) {
	t.mu.Lock()
	key, now := message+": "+reason, time.Now()
	l := t.lines[key]
	if l != nil && now.Sub(l.at) < toldEvery {
		l.more++
		t.mu.Unlock()
		return
	}
	more := 0
	if l != nil {
		more = l.more
	}
	if t.lines == nil || len(t.lines) >= toldLines {
		t.lines = make(map[string]*line)
	}
	t.lines[key] = &line{at: now}
	t.mu.Unlock()
	attributes = append(attributes, "reason", reason)
	if more > 0 {
		attributes = append(attributes, "others before, not logged", more)
	}
	t.log.Warn(message, attributes...)
}

// smallPacket is how many bytes a packet has of which no account is kept while it is read.
const smallPacket = 16 << 10

// budget is how many bytes of large packets may be half-way read at one time, from all clients together.
type budget struct {
	most int

	mu      sync.Mutex
	taken   int
	waiting []chan struct{} // each closed when there may be room; the first gets it first
}

func (g *budget) held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken
}

// take waits for room for n bytes, and returns what gives it back. The client's socket is not read meanwhile.
func (g *budget) take(c *conn, n int) (done func(), err error) {
	var stop func()
	for {
		g.mu.Lock()
		if g.taken == 0 || g.taken+n <= g.most {
			g.taken += n
			g.mu.Unlock()
			break
		}
		free := make(chan struct{})
		g.waiting = append(g.waiting, free)
		g.mu.Unlock()
		if stop == nil {
			stop = c.keepAlive()
			defer stop()
		}
		select {
		case <-free:
		case <-c.gone:
			return nil, errGone
		}
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.taken -= n
		for _, free := range g.waiting {
			close(free)
		}
		g.waiting = nil
	}, nil
}
