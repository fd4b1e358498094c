package aggregator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/localhttp"
)

// LogOrigin returns the origin of the log of heads, "" where there is none.
func (c *Config) LogOrigin() string {
	if c.Transparency.Origin == "" {
		return ""
	}
	return headlog.Origin(c.Transparency.Origin)
}

// logMark returns the file that says what was published last of the log of heads of that name, outside the store. Another log has another.
func (c *Config) logMark(name string) string {
	return filepath.Join(c.Aggregator.Data, "log-"+url.PathEscape(name)+".checkpoint")
}

// logHold returns the file that keeps a restored log from being appended to.
func (c *Config) logHold(name string) string {
	return filepath.Join(c.Aggregator.Data, "log-"+url.PathEscape(name)+".restored")
}

// LogKey returns the key of the log of heads, and makes one for a log that was not begun, by what the store says and by the mark.
func (c *Config) LogKey(ctx context.Context, s headlog.Store) (*headlog.Key, error) {
	file := c.Transparency.KeyFile
	signer, err := keyfile.Load(file, c.Key.Passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		var begun *headlog.Head
		if begun, err = s.LogHead(ctx, c.LogOrigin()); err != nil {
			return nil, err
		}
		if begun != nil || isThere(c.logMark(c.Transparency.Origin)) {
			return nil, fmt.Errorf("the log %s was begun, and its key %s is not here: put it there, from another replica or a backup; where it is lost, begin a new log under another transparency.origin: %w", c.LogOrigin(), file, fs.ErrNotExist)
		}
		signer, err = keyfile.Create(file, keyfile.Options{Passphrase: c.Key.Passphrase, Comment: c.LogOrigin()})
	}
	if err != nil {
		return nil, fmt.Errorf("the log's key: %w", err)
	}
	if own, err := keyfile.ReadPublicKey(keyfile.Readable(c.Key.File)); err == nil && own == signer.Public() {
		return nil, fmt.Errorf("the log's key %s is that of the receipts, %s: the log signs with a key that it uses for nothing else; name a file that is not there, and one is made", file, c.Key.File)
	}
	return headlog.NewKey(c.LogOrigin(), signer)
}

// LogPublicKey returns the public half of that key. Where there is no key yet that is an [fs.ErrNotExist].
func (c *Config) LogPublicKey() (*headlog.PublicKey, error) {
	public, err := keyfile.ReadPublicKey(keyfile.Readable(c.Transparency.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("the log's key: %w", err)
	}
	return headlog.NewPublicKey(c.LogOrigin(), public)
}

// transparency is the log of heads of a running aggregator.
type transparency struct {
	*headlog.Log
	config *TransparencyConfig
	key    *headlog.Key
	turn   lightchain.ChainID // whoever of the replicas would own this chain appends
	tcp    *localhttp.Later   // nil: it is served nowhere
	look   chan struct{}      // capacity 1: the store may be another one
}

// sharedMark is a document of a store that replicas share: what one has published and the store has forgotten.
type sharedMark struct {
	store  registry.Documents
	origin string
}

const markKind = "log of heads"

// Told implements [headlog.Shared].
func (s *sharedMark) Told(ctx context.Context) ([]byte, error) {
	all, err := s.store.Documents(ctx, markKind)
	return all[s.origin], err
}

// Tell implements [headlog.Shared].
func (s *sharedMark) Tell(ctx context.Context, signed []byte) error {
	return s.store.UpdateDocument(ctx, markKind, s.origin, func(old []byte) ([]byte, error) {
		if bytes.Equal(old, signed) {
			return nil, registry.ErrUnchanged
		}
		return signed, nil
	})
}

// newTransparency returns the log of heads that the options have a key for, nil: there is none.
func (a *Aggregator) newTransparency() *transparency {
	key := a.options.LogKey
	if key == nil {
		return nil
	}
	name := a.config.Transparency.Origin
	var shared headlog.Shared
	if a.served != nil {
		shared = &sharedMark{a.options.Store, key.Name()}
	}
	return &transparency{
		look:   make(chan struct{}, 1),
		config: &a.config.Transparency, key: key, turn: sha256.Sum256([]byte("edgechain log of heads " + key.Name())),
		Log: headlog.New(headlog.Config{
			Store: a.options.Store, Key: key, Mark: a.config.logMark(name), Hold: a.config.logHold(name), Shared: shared, Now: a.now, Log: a.log,
		}),
	}
}

// keepLog appends to the log of heads again and again, until ctx ends.
func (a *Aggregator) keepLog(ctx context.Context) {
	t := a.transparency
	tick := time.NewTicker(t.config.Interval)
	defer tick.Stop()
	for {
		_ = t.Turn(ctx, a.mine(t.turn)) // it tells of it, and the next turn begins anew
		select {
		case <-tick.C:
		case <-t.look:
		case <-ctx.Done():
			return
		}
	}
}

// serveLog answers whoever reads the log of heads, until ctx ends.
func (a *Aggregator) serveLog(ctx context.Context) {
	t := a.transparency
	access := localhttp.Access{Hosts: t.config.Hosts, HostsKey: "transparency.hosts"}
	localhttp.Serve(ctx, t.Handler(t.config.Entries), a.log, access, t.tcp)
}

// logStanding is what a running aggregator says of its log of heads.
func (a *Aggregator) logStanding() *api.LogStanding {
	t := a.transparency
	if t == nil {
		return nil
	}
	now := t.Standing()
	s := &api.LogStanding{Pending: now.Backlog, Failures: now.Failed}
	if now.Trouble != nil {
		s.Trouble, s.Since = now.Trouble.Error(), now.Since.UTC()
	}
	if now.SetBack() {
		s.Finding = api.LogSetBack
	}
	if t.tcp != nil {
		if since, err := t.tcp.Failing(); err != nil {
			s.Deaf = fmt.Sprintf("transparency.listen: not since %s: %v", since.UTC().Format(time.RFC3339), err)
		}
	}
	return s
}

// registerLog shows the log of heads in the metrics.
func (m *metrics) registerLog(l *headlog.Log) {
	size := func(h *headlog.Head) float64 { return float64(h.Size) }
	at := func(h *headlog.Head) float64 { return float64(h.Time) }
	shown := func(of func(*headlog.Head) float64) func() float64 {
		return func() float64 {
			if h := l.Standing().Head; h != nil {
				return of(h)
			}
			return 0
		}
	}
	none := prometheus.Labels{}
	m.gauge("edgeaggregator_log_size", "Leaves of the newest checkpoint of the log of heads that is published; 0 while none is.", none, shown(size))
	m.gauge("edgeaggregator_log_checkpoint_timestamp_seconds", "When that checkpoint was signed; 0 while none is published.", none, shown(at))
	m.gauge("edgeaggregator_log_pending_heads", "Countersigned heads that wait to become leaves of the log of heads.", none,
		func() float64 { return float64(l.Standing().Backlog) })
	m.counter("edgeaggregator_log_append_failures_total", "Turns of the log of heads that failed.", none,
		func() float64 { return float64(l.Standing().Failed) })
	m.gauge("edgeaggregator_log_set_back", "1 while the store holds less of the log of heads, or other leaves, than was published, and nothing is appended.", none,
		func() float64 { now := l.Standing(); return truth(now.SetBack()) })
}
