package broker

import (
	"context"
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
	t.tell(slog.LevelWarn, message, reason, attributes...)
}

// tell is Warn at any level.
func (t *told) tell(level slog.Level, message, reason string, attributes ...any) {
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
	t.log.Log(context.Background(), level, message, attributes...)
}
