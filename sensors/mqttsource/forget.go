package mqttsource

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// A persistent session keeps its filters for as long as the broker keeps the session: one that was taken out of the
// configuration has to be given up, which takes knowing of it.

// hold has it noted that the session may hold the wanted filters beside those from before, and returns what of these is
// wanted no more.
//
// Cut off after this the note names filters that the broker was not asked for yet: giving those up later does nothing.
func (l *link) hold(wanted map[string]byte) (gone []string) {
	c := &l.source.cfg
	if c.Held == nil {
		return nil
	}
	for _, filter := range c.Held() {
		if _, is := wanted[filter]; !is {
			gone = append(gone, filter)
		}
	}
	if c.Hold != nil {
		c.Hold(append(slices.Sorted(maps.Keys(wanted)), gone...))
	}
	return gone
}

// unsubscribe has the broker forget filters. What it sent or queued by them before still comes, and is kept.
//
// Cut off before the note is made the next connection gives them up again, which does nothing.
func (l *link) unsubscribe(ctx context.Context, gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	for some := range slices.Chunk(gone, 8) {
		token := l.conn.Unsubscribe(some...)
		select {
		case <-token.Done():
		case <-l.gate.ended:
			return l.ended()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := token.Error(); err != nil {
			l.gate.drop(fmt.Errorf("unsubscribing: %w", err))
			return l.ended()
		}
	}
	s := l.source
	s.log.Info("the broker was told to forget filters that are not in the configuration any more", "filters", gone)
	if s.cfg.Hold != nil {
		var held []string
		for _, sub := range s.cfg.Subscriptions {
			held = append(held, sub.Filter)
		}
		slices.Sort(held)
		s.cfg.Hold(slices.Compact(held))
	}
	return nil
}
