package pgstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A server that vanishes without a word (a firewall drops its packets, its machine loses power) leaves calls waiting for as
// long as TCP does. Whether it answers is asked over and over on a connection of its own, which no call can take away: while it
// does not, calls under way end, and whoever asks how the database is gets an answer at once.
const (
	askEvery = 2 * time.Second
	askTime  = 5 * time.Second
	// goneAfter is how long the server is silent until calls under way are ended.
	goneAfter = 10 * time.Second
)

// errGone ends a call under way because the server does not answer.
var errGone = errors.New("the database does not answer")

// health is whether the server answers.
type health struct {
	mu       sync.Mutex
	answered time.Time     // guarded by mu: when it did last
	failed   error         // guarded by mu: why it does not; nil: it does, or it was not asked
	gone     chan struct{} // guarded by mu: closed while it is gone; nil until somebody asks for it
}

func (h *health) answers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered, h.failed = time.Now(), nil
	if h.gone != nil && isClosed(h.gone) {
		h.gone = nil
	}
}

func (h *health) silent(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = err
	if time.Since(h.answered) < goneAfter {
		return
	}
	if h.gone == nil {
		h.gone = make(chan struct{})
	}
	if !isClosed(h.gone) {
		close(h.gone)
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// since returns since when the server does not answer, and why; zero: it does.
func (h *health) since() (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil {
		return time.Time{}, nil
	}
	return h.answered, h.failed
}

// whenGone returns what is closed when the server is gone.
func (h *health) whenGone() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone == nil {
		h.gone = make(chan struct{})
	}
	return h.gone
}

// Watch implements [aggregator.Served].
func (s *Store) Watch(ctx context.Context) {
	s.health.answers() // it did when the store was opened
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	var conn *pgx.Conn
	for {
		var err error
		if conn, err = s.askServer(ctx, conn); err == nil {
			s.health.answers()
		} else if ctx.Err() == nil {
			s.health.silent(err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			drop(conn)
			return
		}
	}
}

// askServer asks over the connection, or over a new one if there is none, which it returns for the next time.
func (s *Store) askServer(ctx context.Context, conn *pgx.Conn) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var err error
	if conn == nil {
		config := s.pool.Config().ConnConfig
		config.ConnectTimeout = askTime
		if conn, err = pgx.ConnectConfig(ctx, config); err != nil {
			return nil, err
		}
	}
	if err = conn.Ping(ctx); err != nil {
		drop(conn)
		return nil, err
	}
	return conn, nil
}

// drop closes a connection whose server may not answer.
func drop(conn *pgx.Conn) {
	if conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}
}
