// Package registry is what an aggregator knows of each gateway: its record, who decided about it, what was found, and the store that
// keeps all that beside the chain's headers. It refuses once more, whoever asks, what must never happen to a chain. Which bytes
// are kept where is a store's, below aggregator/; what a message means is sync/collector's.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
	"edgechain.example/sync/pace"
)

// Trust says what becomes of a gateway that nobody has decided about.
type Trust string

// The kinds of trust.
const (
	TrustApproved Trust = "approved" // it waits in the inbox
	TrustAll      Trust = "all"      // it is followed and countersigned, whoever it is
)

// Rules are what the registry does without being asked.
type Rules struct {
	Trust    Trust
	Mode     Mode             // of gateways without one of their own
	Policy   collector.Policy // its Mode is set from the above
	MaxInbox int              // gateways that may wait at once; those beyond are not noted
	Silence  time.Duration    // how long a gateway may be quiet that has no bound of its own; 0: forever
}

// Registry knows whose heads are countersigned. A gateway is its chain, all 52 characters of it: names are what
// gateways say of themselves, and several may say the same.
type Registry struct {
	store Store
	now   func() time.Time
	log   *slog.Logger
	// decided is told of a chain whose standing changed here; nil: nobody.
	decided func(chain lightchain.ChainID)

	mu      sync.Mutex
	rules   Rules                         // guarded by mu
	cache   map[lightchain.ChainID]cached // guarded by mu
	waiting int                           // guarded by mu: in the inbox, as far as is known

	failures pace.Seldom // to read records
}

// Rules returns what the registry does without being asked.
func (g *Registry) Rules() Rules {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rules
}

// SetRules changes that, from the next message on.
func (g *Registry) SetRules(rules Rules) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rules = rules
}

// cached is what a chain's record said a moment ago: policies are asked for at each message.
type cached struct {
	standing Standing
	mode     Mode
	until    time.Time
}

const (
	// cacheFor bounds how long another replica's decision takes to be seen here.
	cacheFor = 5 * time.Second
	// cacheMost bounds what unknown chains, of which anybody can make up any number, cost in memory.
	cacheMost = 1 << 17
)

// TellDecisions has decided told of each chain whose standing changes here. It is called before the registry is used.
func (g *Registry) TellDecisions(decided func(lightchain.ChainID)) { g.decided = decided }

// New returns the registry over a store.
func New(store Store, rules Rules, now func() time.Time, log *slog.Logger) *Registry {
	return &Registry{store: store, rules: rules, now: now, log: log, cache: make(map[lightchain.ChainID]cached)}
}

// What a gateway may cost in a day that nobody has approved, and in one page, in bytes.
const (
	introduction     = 256 << 10
	introductionPage = 4 << 10
)

// Policy says how a chain is followed, if it is.
func (g *Registry) Policy(ctx context.Context, chain lightchain.ChainID) (collector.Policy, bool) {
	c, err := g.lookup(ctx, chain)
	if err != nil {
		g.unread(chain, err)
		if c.standing == "" {
			return collector.Policy{}, false
		}
		// What was known of it last is more than nothing: a database that is away makes nobody a stranger.
	}
	switch c.standing {
	case Approved:
	case Waiting:
		// Its genesis says its name, by which an operator knows it; nothing is countersigned.
		return collector.Policy{Mode: headersync.Sparse, Introduce: true, BytesPerDay: introduction, Page: introductionPage}, true
	default:
		return collector.Policy{}, false
	}
	rules := g.Rules()
	p := rules.Policy
	p.Mode = headersync.EveryHeader
	if mode := c.mode; mode == Sparse || mode == "" && rules.Mode == Sparse {
		p.Mode = headersync.Sparse
	}
	return p, true
}

func (g *Registry) lookup(ctx context.Context, chain lightchain.ChainID) (cached, error) {
	now := g.now()
	g.mu.Lock()
	c, found := g.cache[chain]
	g.mu.Unlock()
	if found && now.Before(c.until) {
		return c, nil
	}
	r, err := g.store.Record(ctx, chain)
	if errors.Is(err, ErrNotFound) {
		r, err = &Record{}, nil
	}
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrUnread, err)
	}
	c = cached{r.Standing, r.Mode, now.Add(cacheFor)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.cache) >= cacheMost {
		for other, old := range g.cache {
			if !now.Before(old.until) {
				delete(g.cache, other)
			}
		}
		if len(g.cache) >= cacheMost {
			clear(g.cache)
		}
	}
	g.cache[chain] = c
	return c, nil
}

// ErrUnread means that a chain's record could not be read, so that nothing is known of its standing.
var ErrUnread = errors.New("the chain's record could not be read")

// unread tells that: each message of each gateway asks.
func (g *Registry) unread(chain lightchain.ChainID, err error) {
	if times, tell := g.failures.Count(); tell {
		g.log.Error("failed to read whether a gateway is approved; its messages wait until it can", "chain", chain, "times", times, "err", err)
	}
}

// Uncache has a chain's record read again at its next message.
func (g *Registry) Uncache(chain lightchain.ChainID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.cache, chain)
}

// Heard takes note of a gateway that is not followed: it comes in with a token or because all are trusted, or it waits
// in the inbox.
func (g *Registry) Heard(ctx context.Context, s collector.Stranger) error {
	c, err := g.lookup(ctx, s.Chain)
	if err != nil {
		return err
	}
	switch {
	case c.standing == Approved || c.standing == Rejected:
		return nil // rejected is rejected, token or not
	case g.Rules().Trust == TrustAll:
		return g.decide(ctx, s.Chain, Approved, "trust all", nil)
	case s.Enrol != nil:
		labels, id, err := g.redeem(ctx, s.Chain, s.Enrol)
		if err == nil {
			return g.decide(ctx, s.Chain, Approved, "token "+id, func(r *Record) { r.setLabels(labels) })
		}
		if !errors.Is(err, ErrToken) {
			return err
		}
		g.log.Warn("failed to let a gateway in by its token", "chain", s.Chain, "err", err)
	}
	return g.inbox(ctx, s)
}

// inbox notes that a gateway waits. What it announced is nobody's word but its own.
func (g *Registry) inbox(ctx context.Context, s collector.Stranger) error {
	added := false
	err := g.store.Update(ctx, s.Chain, func(r *Record) (*Change, error) {
		added = false
		now := g.now().Unix()
		switch r.Standing {
		case "", Forgotten:
			if !g.room() {
				return nil, ErrUnchanged
			}
			added = true
			r.Standing, r.Decided, r.By = Waiting, 0, ""
			r.Added = now
		case Waiting:
			// Once a minute is enough to say that it is still there.
			if s.Head == nil || now-r.Seen < 60 {
				return nil, ErrUnchanged
			}
		default:
			return nil, ErrUnchanged
		}
		r.Seen = now
		if s.Head != nil {
			r.Announced = s.Head.Header.Height
		}
		return nil, nil
	})
	if err == nil && added {
		g.mu.Lock()
		g.waiting++
		g.mu.Unlock()
		g.Uncache(s.Chain)
		g.log.Info("an unknown gateway waits for approval", "chain", s.Chain)
		if g.decided != nil {
			g.decided(s.Chain)
		}
	}
	return err
}

// room reports whether the inbox takes one more.
func (g *Registry) room() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting < g.rules.MaxInbox
}

// counted sets how many wait, as somebody found who read all records.
func (g *Registry) counted(waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = waiting
}

// decide gives a chain its standing; change, which may be nil, has the record besides.
func (g *Registry) decide(ctx context.Context, chain lightchain.ChainID, standing Standing, by string, change func(*Record)) error {
	changed := false
	err := g.store.Update(ctx, chain, func(r *Record) (*Change, error) {
		now := g.now().Unix()
		if !r.Known() {
			r.Added = now
		}
		if changed = r.Standing != standing; changed {
			r.Standing, r.Decided, r.By = standing, now, by
		}
		if change != nil {
			change(r)
		}
		if standing != Forgotten {
			return &Change{Decided: changed}, nil
		}
		// What stays: the newest head with all that it takes to check what continues it, and the evidence. So a chain
		// that comes back is never countersigned shorter than it was.
		forgetDetails(r)
		return &Change{Forget: true, Decided: changed}, nil
	})
	if err != nil {
		return err
	}
	g.Uncache(chain)
	if changed {
		g.log.Info("a gateway's standing changed", "chain", chain, "standing", standing, "by", by)
		if g.decided != nil {
			g.decided(chain)
		}
	}
	return nil
}

func forgetDetails(r *Record) {
	r.Labels, r.Mode, r.Silence, r.Online, r.Report = nil, "", 0, "", nil
	for _, kind := range Kinds {
		if kind != Forked {
			r.Clear(kind)
		}
	}
	if r.State != nil {
		r.State.Every = nil
	}
	r.Head.Every = 0
}

// Settings are what an operator may say about a gateway when approving it. The zero value leaves all as it is.
type Settings struct {
	Labels  map[string]string `json:"labels,omitempty"`
	Mode    Mode              `json:"mode,omitempty"`
	Silence time.Duration     `json:"silence,omitempty"` // whole seconds
}

// Check refuses settings that nothing can be done with.
func (s *Settings) Check() error {
	if s.Mode != "" && s.Mode != Dense && s.Mode != Sparse {
		return fmt.Errorf("mode %q: expected %q or %q", s.Mode, Dense, Sparse)
	}
	if s.Silence < 0 || s.Silence%time.Second != 0 {
		return fmt.Errorf("silence %s: expected whole seconds", s.Silence)
	}
	return checkLabels(s.Labels)
}

func (r *Record) setLabels(labels map[string]string) {
	for name, value := range labels {
		if r.Labels == nil {
			r.Labels = map[string]string{}
		}
		if r.Labels[name] = value; value == "" {
			delete(r.Labels, name)
		}
	}
}

// checkLabels bounds what an operator may write: it is shown in tables.
func checkLabels(labels map[string]string) error {
	if len(labels) > 32 {
		return fmt.Errorf("%d labels, at most 32", len(labels))
	}
	for name, value := range labels {
		if name == "" || len(name) > 64 || len(value) > 256 {
			return fmt.Errorf("label %q: a name of 1 to 64 bytes and a value of at most 256", name)
		}
	}
	return nil
}

// Approve has a gateway followed and countersigned, or changes the settings of one that is.
func (g *Registry) Approve(ctx context.Context, chain lightchain.ChainID, s Settings, by string) error {
	if err := s.Check(); err != nil {
		return err
	}
	return g.decide(ctx, chain, Approved, by, func(r *Record) {
		r.setLabels(s.Labels)
		if s.Mode != "" {
			r.Mode = s.Mode
		}
		if s.Silence > 0 {
			r.Silence = int64(s.Silence / time.Second)
		}
	})
}

// ApproveNames approves all gateways that wait under a name that the pattern matches ([path.Match]), and returns them.
func (g *Registry) ApproveNames(ctx context.Context, pattern string, s Settings) (approved []lightchain.ChainID, err error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	err = EachRecord(ctx, g.store, func(r *Record) error {
		matched, _ := path.Match(pattern, r.Name)
		if r.Standing != Waiting || r.Name == "" || !matched {
			return nil
		}
		approved = append(approved, r.Chain)
		return g.Approve(ctx, r.Chain, s, "pattern "+pattern+byWhom(ctx))
	})
	return approved, err
}

// ByCommand says how a decision came that somebody made.
func ByCommand(ctx context.Context) string { return "command" + byWhom(ctx) }

// byWhom names the user whose request ctx is of, where that is known.
func byWhom(ctx context.Context) string {
	if p := localhttp.PeerOf(ctx); p != nil {
		return " of " + p.String()
	}
	return ""
}

// Reject has a gateway ignored from now on.
func (g *Registry) Reject(ctx context.Context, chain lightchain.ChainID) error {
	return g.decide(ctx, chain, Rejected, ByCommand(ctx), nil)
}

// Acknowledge takes back what was noted about a gateway; see [Record.Acknowledge].
func (g *Registry) Acknowledge(ctx context.Context, chain lightchain.ChainID) error {
	err := g.store.Update(ctx, chain, func(r *Record) (*Change, error) {
		if !r.Acknowledge() {
			return nil, ErrUnchanged
		}
		return nil, nil
	})
	if err == nil {
		g.log.Info("findings about a gateway were acknowledged", "chain", chain, "by", ByCommand(ctx))
	}
	return err
}

// Forget drops all that is kept of a gateway but its newest head and any evidence against it.
func (g *Registry) Forget(ctx context.Context, chain lightchain.ChainID) error {
	if _, err := g.store.Record(ctx, chain); err != nil {
		return err
	}
	return g.decide(ctx, chain, Forgotten, ByCommand(ctx), nil)
}

// EachRecord calls visit for every record in the store, without its state, until it returns an error, which it returns.
func EachRecord(ctx context.Context, c Chains, visit func(*Record) error) error {
	const page = 500
	for after := (lightchain.ChainID{}); ; {
		records, err := c.Records(ctx, after, page)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := visit(r); err != nil {
				return err
			}
			after = r.Chain
		}
		if len(records) < page {
			return nil
		}
	}
}
