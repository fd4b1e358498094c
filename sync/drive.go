package headersync

import (
	"context"
	"log/slog"
	"time"

	"edgechain.example/sync/pace"
)

// Queued bounds what waits between the connection and one side; more is dropped, and asked for again by whoever
// wanted it.
const Queued = 256

// Wake wakes whoever drives one side, if it is not awake already.
func Wake(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Overflow says that messages are dropped, and how many.
type Overflow struct{ told pace.Seldom }

// Deliver puts a message into a queue, or drops it where that is full.
func (o *Overflow) Deliver(in chan<- Message, m Message, log *slog.Logger) {
	select {
	case in <- m:
	default:
		if dropped, tell := o.told.Count(); tell {
			log.Warn("message dropped, the queue is full", "topic", m.Topic, "messages", dropped)
		}
		if m.Done != nil {
			m.Done()
		}
	}
}

// Drive gives messages and the passing of time to one side of the protocol until ctx ends.
func Drive(ctx context.Context, in <-chan Message, wake <-chan struct{}, tick func(time.Time) time.Time, receive func(time.Time, Message)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-in:
			receive(time.Now(), m)
		case <-wake:
		case <-timer.C:
		}
		// Far or near, the next time to wake comes from the machine; an hour bounds what a stepped clock can do.
		timer.Reset(min(max(time.Until(tick(time.Now())), time.Millisecond), time.Hour))
	}
}
