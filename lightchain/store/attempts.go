package store

import (
	"context"
	"iter"
	"time"
)

const (
	openAgain     = 50 * time.Millisecond // until a store is opened again that could not be, doubling
	openSlowest   = time.Second           // to this
	openPatience  = time.Second           // how long that passes for a command's moment, and is not told
	tellOpenAgain = time.Minute           // how often it is told then
)

// Attempts paces a program that waits for what passes by itself, such as a command that has its store open: it yields for each
// attempt whether it is time to tell that it waits, and ends with ctx.
func Attempts(ctx context.Context) iter.Seq[bool] {
	return func(yield func(tell bool) bool) {
		due := time.Now().Add(openPatience)
		for pause := openAgain; ; pause = min(2*pause, openSlowest) {
			tell := time.Now().After(due)
			if tell {
				due = time.Now().Add(tellOpenAgain)
			}
			if !yield(tell) {
				return
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	}
}
