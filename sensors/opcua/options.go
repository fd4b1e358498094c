package opcua

import (
	"context"
	"log/slog"
	"time"

	"edgechain.example/sensors/poll"
)

// Options is what a source is given beside its configuration.
type Options struct {
	Folder    string           // of the gateway's own certificate and key
	Gateway   string           // its name, in that certificate
	TimeFloor func() time.Time // a time that is certainly past; nil: the clock's word is taken

	// PayloadMax is the size in bytes above which of a payload its hash is kept, and nothing is read; 0: none is too large.
	PayloadMax int
	// Refused is told of a value that is recorded and was not read, and why. It may be nil.
	Refused func(node string, why error)
	// Lost is told that n values are missing, 0 where nobody can tell how many, and why.
	Lost func(n int, why string)
	// Changed is told when the session begins to fail, and is there again, and what becomes of nodes.
	Changed func(context.Context, poll.Change) error
	Log     *slog.Logger // nil: none
}

// Stats is how a source stands.
type Stats struct {
	poll.LinkStats
	Messages uint64 // given to the sink
	Groups   []GroupStats
}

// GroupStats is how a subscription stands.
type GroupStats struct {
	Name    string
	Nodes   int
	Failing int       // of these, that the server does not give
	Since   time.Time // when the first of these began to
	Why     string    // what the server says of it
	Came    uint64    // notifications
}
