package headersync

import "errors"

// ErrUnavailable is what errors of a gateway's chain and an aggregator's store wrap where the thing asked for is not held, and is
// not expected to be: in a chain that was restored from a sparse copy, below that copy's head.
var ErrUnavailable = errors.New("not held here")

// Why a message is refused.
var (
	ErrStranger = errors.New("not from an aggregator that is configured")
	ErrForged   = errors.New("its signature does not check")
	ErrBusy     = errors.New("more than are answered in this time")
	ErrOld      = errors.New("old, or a copy")
	ErrUnasked  = errors.New("a page that was not asked for here")
)
