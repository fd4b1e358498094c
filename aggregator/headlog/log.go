package headlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"edgechain.example/lightchain"
)

// Config says what a log is.
type Config struct {
	Store Store
	Key   *Key
	// Mark is the file with the newest checkpoint that was published from here.
	Mark string
	// Hold is a file that keeps the log from being appended to for as long as it is there. A restore leaves it where no mark
	// says whether the backup is the newest.
	Hold string
	// Shared is where those who append to one log tell each other what was published and the store does not know. nil: this process
	// is alone.
	Shared Shared
	Now    func() time.Time
	Log    *slog.Logger
}

// Shared keeps one checkpoint, where the store is.
type Shared interface {
	// Told returns the checkpoint that was told last, nil if none was.
	Told(ctx context.Context) ([]byte, error)
	Tell(ctx context.Context, signed []byte) error
}

// Log is a log that is appended to, or followed while another process appends.
type Log struct {
	View
	Config Config

	// Of the goroutine that calls Turn.
	mark   *mark  // nil: none was read yet, or there is none
	marked bool   // it was read
	told   string // the kind of trouble that was logged last

	mu      sync.Mutex
	shown   *Head     // guarded by mu: that is published; nil: nothing may be shown
	backlog int       // guarded by mu: heads that wait
	failed  uint64    // guarded by mu: turns that failed
	trouble error     // guarded by mu: of the last turn
	since   time.Time // guarded by mu: of trouble
}

// New returns a log that stands still, and shows nothing, until its first turn.
func New(c Config) *Log {
	l := &Log{Config: c}
	l.View = View{c.Store, c.Key.PublicKey, func(context.Context) (*Head, error) { return l.newest() }}
	return l
}

func (l *Log) newest() (*Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.shown != nil:
		return l.shown, nil
	case l.trouble != nil:
		return nil, fmt.Errorf("%w that may be shown: %w", ErrEmpty, l.trouble)
	}
	return nil, fmt.Errorf("%w yet", ErrEmpty)
}

// Standing is how a log stands.
type Standing struct {
	Head    *Head // that is published; nil: none is
	Backlog int   // heads that wait
	Failed  uint64
	Trouble error // why it is not appended to; nil: it is
	Since   time.Time
}

// SetBack reports whether the store knows less, or other things, than was published.
func (s *Standing) SetBack() bool { return errors.As(s.Trouble, new(*SetBackError)) }

// Standing returns how the log stands.
func (l *Log) Standing() Standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Standing{l.shown, l.backlog, l.failed, l.trouble, l.since}
}

// SetBackError says that the store does not hold the tree of a checkpoint that was published. To append would be to fork the log.
type SetBackError struct {
	Origin    string
	Published uint64 // leaves
	Held      uint64
}

func (e *SetBackError) Error() string {
	what := fmt.Sprintf("holds %d", e.Held)
	if e.Held >= e.Published {
		what = "holds others in their place"
	}
	return fmt.Sprintf("the log %s was set back: a checkpoint of %d leaves was published, and the store %s. To append would give one size two roots, so nothing is appended and nothing served. "+
		"Put the newer store back; where it is lost, begin a new log under another transparency.origin, and tell whoever follows the old one", e.Origin, e.Published, what)
}

// heldError keeps a restored log from growing.
type heldError struct{ file, origin string }

func (e *heldError) Error() string {
	return fmt.Sprintf("the log %s came back from a backup, and nothing here says whether a newer checkpoint of it was published since: to append might give one size two roots, so nothing is appended. "+
		"Where the newest checkpoint that anybody has is in it (`edgeaggregator log check`), remove %s; else begin a new log under another transparency.origin", e.origin, e.file)
}

// atOnce is how many leaves one transaction appends at most.
const atOnce = 2048

// Turn brings what waits into the log if sequences says that this process is to, and publishes the newest checkpoint. It is called
// by one goroutine, again and again.
func (l *Log) Turn(ctx context.Context, sequences bool) error {
	err := l.turn(ctx, sequences)
	if errors.Is(err, ErrMoved) {
		err = nil // the other one's leaves are seen at the next turn
	}
	backlog, counted := l.Config.Store.LogBacklog(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.note(err, backlog, counted == nil)
	return err
}

// note keeps how a turn ended, and logs trouble of a kind that is new.
func (l *Log) note(err error, backlog int, counted bool) {
	l.mu.Lock()
	if counted {
		l.backlog = backlog
	}
	if err != nil {
		l.failed++
		if l.trouble == nil {
			l.since = l.Config.Now()
		}
	}
	l.trouble = err
	l.mu.Unlock()
	kind := kindOf(err)
	if kind != "" && kind != l.told {
		l.Config.Log.Error("failed to append to the log of heads; countersigning goes on, and heads wait", "log", l.origin(), "err", err)
	}
	if kind == "" && l.told != "" {
		l.Config.Log.Info("the log of heads is appended to again", "log", l.origin())
	}
	l.told = kind
}

// kindOf tells troubles apart that ask for different things: a database that is away has another sentence each time.
func kindOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.As(err, new(*SetBackError)):
		return "set back"
	case errors.As(err, new(*heldError)):
		return "held"
	case errors.Is(err, ErrInvalid):
		return "invalid"
	}
	return "failed"
}

func (l *Log) turn(ctx context.Context, sequences bool) error {
	head, err := l.stands(ctx)
	if err != nil {
		return err
	}
	if !sequences {
		return l.publish(head)
	}
	switch _, err := os.Stat(l.Config.Hold); {
	case err == nil:
		return cmp.Or[error](l.publish(head), &heldError{l.Config.Hold, l.origin()})
	case !errors.Is(err, fs.ErrNotExist): // it may be there
		return fmt.Errorf("whether the log came back from a backup: %w", err)
	}
	if head == nil {
		if head, err = l.append(ctx, nil, nil); err != nil {
			return err
		}
	}
	for {
		waiting, err := l.Config.Store.LogWaiting(ctx, atOnce)
		if err != nil {
			return err
		}
		if len(waiting) > 0 {
			if head, err = l.append(ctx, head, waiting); err != nil {
				return err
			}
		}
		if len(waiting) < atOnce {
			return l.publish(head)
		}
	}
}

// stands reads where the log stands, and refuses what does not continue the mark, or is another key's. Nothing is shown of that.
func (l *Log) stands(ctx context.Context) (*Head, error) {
	if !l.marked {
		mark, err := readMark(l.Config.Mark, l.Key)
		if err != nil {
			return nil, err
		}
		l.mark, l.marked = mark, true
	}
	published, err := l.published(ctx)
	if err != nil {
		return nil, err
	}
	head, err := l.View.stands(ctx, l.Config.Store, published)
	if !errors.As(err, new(*SetBackError)) {
		return head, err
	}
	l.mu.Lock()
	l.shown = nil
	l.mu.Unlock()
	if l.Config.Shared != nil && published == l.mark {
		// Another one may have published less, and would go on from what the store says.
		if told := l.Config.Shared.Tell(ctx, l.mark.signed); told != nil {
			err = fmt.Errorf("%w; and the other replicas could not be told: %w", err, told)
		}
	}
	return nil, err
}

// published returns the newest checkpoint that is known to be published, from here or elsewhere.
func (l *Log) published(ctx context.Context) (*mark, error) {
	if l.Config.Shared == nil {
		return l.mark, nil
	}
	signed, err := l.Config.Shared.Told(ctx)
	if err != nil || signed == nil {
		return l.mark, err
	}
	c, err := OpenCheckpoint(signed, l.Key)
	if err != nil || l.mark != nil && c.Size <= l.mark.Size {
		return l.mark, err
	}
	return &mark{*c, signed}, nil
}

// stands reads where the log stands in a store, nil where it was not begun; mark is what was published last, nil if that is not
// known.
func (v *View) stands(ctx context.Context, s Store, mark *mark) (*Head, error) {
	head, err := s.LogHead(ctx, v.origin())
	if err != nil {
		return nil, err
	}
	if head == nil {
		if mark != nil {
			return nil, &SetBackError{v.origin(), mark.Size, 0}
		}
		return nil, nil
	}
	now, err := OpenCheckpoint(head.Checkpoint, v.Key)
	if errors.Is(err, ErrKey) {
		return nil, fmt.Errorf("%w: give every replica the file transparency.key_file of the one that began the log; where the key is lost, begin a new log under another transparency.origin", err)
	}
	if err != nil {
		return nil, err
	}
	if now.Size != head.Size || now.Root != head.Root() {
		return nil, fmt.Errorf("%w: the store's tree of %d leaves is not that of its checkpoint", ErrInvalid, head.Size)
	}
	if mark == nil || mark.Checkpoint == *now {
		return head, nil
	}
	if now.Size <= mark.Size {
		return nil, &SetBackError{v.origin(), mark.Size, now.Size}
	}
	if err := readTile(v.tile).continues(ctx, &mark.Checkpoint, now); errors.Is(err, ErrInvalid) {
		return nil, fmt.Errorf("%w: %w", &SetBackError{v.origin(), mark.Size, now.Size}, err)
	} else if err != nil {
		return nil, err
	}
	return head, nil
}

// append makes the tree with more leaves, signs it, and returns it when it is durable.
func (l *Log) append(ctx context.Context, before *Head, leaves []Leaf) (*Head, error) {
	b := &Batch{Leaves: leaves}
	var tree lightchain.CompactRange
	if before != nil {
		var err error
		if tree, err = before.tree(); err != nil {
			return nil, err
		}
	}
	for i := range leaves {
		tree.Append(leaves[i].Hash(), func(level int, index uint64, h lightchain.Hash) {
			if level > 0 && level%tileHeight == 0 {
				b.Nodes = append(b.Nodes, Node{level / tileHeight, index, h})
			}
		})
	}
	signed, err := l.Config.Key.sign(&tree)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	b.Head = Head{Size: tree.Size(), Edge: tree.Edge(), Checkpoint: signed, Time: l.Config.Now().Unix()}
	// Stopping here, nothing has happened: the signature is known to this process alone.
	if err := l.Config.Store.LogAppend(ctx, l.origin(), before, b); err != nil {
		// Here it may have: nothing is shown, and the next turn begins from what the store says.
		return nil, err
	}
	// Stopping here, the next start finds this tree, and publishes it.
	return &b.Head, nil
}

// publish shows a checkpoint that is durable, once the mark says so.
func (l *Log) publish(head *Head) error {
	if head == nil {
		return nil
	}
	if l.mark == nil || l.mark.Size < head.Size {
		if err := Keep(l.Config.Mark, head.Checkpoint); err != nil {
			return fmt.Errorf("the mark of what is published: %w", err)
		}
		// Stopping here, it is as good as published: the mark asks for no less from now on.
		l.mark = &mark{Checkpoint{l.origin(), head.Size, head.Root()}, head.Checkpoint}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = head
	return nil
}
