package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgechain.example/sync/collector"
)

// Served is a store on a server of its own, which may be set up so that it loses what it has committed, and may be
// replaced by another one that knows less, while this process runs.
type Served interface {
	Store
	// Database returns what the server said of itself last.
	Database() Database
	// Settled returns when all that reads have shown is where no failover takes it, as far as the server cares for that.
	// What another process has written, or this one without an answer, can be read before.
	Settled(ctx context.Context) error
	// Watch asks the server again and again whether it answers, until ctx ends; while it does not, calls under way end.
	Watch(ctx context.Context)
	// Changed receives when the server turned out to be another one, or to have another history, than before.
	Changed() <-chan struct{}
}

// OnLoss says what becomes of countersigning where the server may lose what it has committed.
type OnLoss string

// What may become of it.
const (
	RefuseLoss OnLoss = "refuse" // nothing is countersigned
	WarnLoss   OnLoss = "warn"   // it goes on, and the operator is told
)

// Database is what a store's server says of how it keeps what is committed. Texts are sentences for the operator.
type Database struct {
	Asked       time.Time `json:"asked"`
	Standby     bool      `json:"standby,omitempty"`       // it was one, and was not used; the rest is from before
	System      uint64    `json:"system,omitempty,string"` // its cluster's identifier; 0: it cannot be read
	Timeline    uint32    `json:"timeline,omitempty"`      // of its history; grows when a standby takes over; 0: it cannot be read
	Commit      string    `json:"synchronous_commit"`      // of the sessions here
	Synchronous string    `json:"synchronous_standby_names"`
	Standbys    []Standby `json:"standbys"`

	AtCrash    []string `json:"at_crash,omitempty"`    // why a crash of its machine takes what is committed
	AtFailover []string `json:"at_failover,omitempty"` // why a failover takes it
	Notes      []string `json:"notes,omitempty"`
	Refused    string   `json:"refused,omitempty"` // why nothing is countersigned; "": it is

	Silent *time.Time `json:"silent_since,omitempty"` // when it answered last, while it does not; the rest is from before
	Error  string     `json:"error,omitempty"`        // why it does not

	Changes int    `json:"changes"` // how often it was another one, or had another history, than before
	Change  string `json:"change,omitempty"`
}

// Standby is a copy of the database that follows it, or that a slot is kept for.
type Standby struct {
	Name string `json:"name"`
	Sync string `json:"sync"` // "sync", "quorum", "potential", "async"; "away": only its slot is there; "": it cannot be read
}

// ErrWithheld is what an update fails with that would store a receipt on a server that may lose it.
var ErrWithheld = collector.ErrWithheld

// ErrUnsafe means that the store's server may lose what is committed, and that the configuration says not to go on.
var ErrUnsafe = errors.New("the database may lose what is countersigned")

// Away returns an error while the server does not answer.
func (d *Database) Away() error {
	if d.Silent == nil {
		return nil
	}
	return fmt.Errorf("the database does not answer since %s: %s", d.Silent.UTC().Format(time.RFC3339), d.Error)
}
