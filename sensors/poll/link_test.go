package poll

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A line that is away for long is two things to tell, however often it is tried; and the pause begins anew once it was open.
func TestALinkThatIsAwayIsToldTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		at := func(when time.Time) float64 { return when.Sub(start).Seconds() }
		var told []string
		var tried []float64
		l := NewLink(LinkConfig{Name: "serial:x", Changed: func(_ context.Context, c Change) error {
			for _, f := range c.Failing {
				told = append(told, fmt.Sprintf("@%g fails: %s", at(time.Now()), f.Why))
			}
			for _, r := range c.Recovered {
				told = append(told, fmt.Sprintf("failed from %g to %g, %d times", at(r.From), at(r.To), r.Polls))
			}
			return nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 140*time.Second)
		defer cancel()
		err := l.Keep(ctx, func(ctx context.Context) error {
			tried = append(tried, at(time.Now()))
			if n := len(tried); n > 1 && n < 9 {
				return errors.New("not there")
			}
			if err := l.Up(ctx); err != nil {
				return err
			}
			select {
			case <-time.After(40 * time.Second):
				return errors.New("pulled out")
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		wants(t, "tried", tried, []float64{0, 41, 43, 47, 55, 71, 101, 131})
		wants(t, "told", told, []string{"@40 fails: pulled out"})
		wants(t, "state", l.Stats(), LinkStats{Since: start.Add(40 * time.Second), Why: "not there", Failed: 8})
	})
	synctest.Test(t, func(t *testing.T) {
		var told int
		n := 0
		l := NewLink(LinkConfig{Changed: func(context.Context, Change) error { told++; return nil }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := l.Keep(ctx, func(ctx context.Context) error {
			if n++; n < 20 {
				return errors.New("not there")
			}
			if err := l.Up(ctx); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
		wants(t, "told", told, 2)
		wants(t, "state", l.Stats(), LinkStats{Open: true})
	})
}

// One that opens and closes at once is tried ever more seldom, too: each time is two entries.
func TestALinkThatComesAndGoesIsTriedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		l := NewLink(LinkConfig{Changed: func(context.Context, Change) error { told++; return nil }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := l.Keep(ctx, func(ctx context.Context) error { return l.Up(ctx) }); err != nil {
			t.Fatal(err)
		}
		if told > 2*130 {
			t.Errorf("told %d times", told)
		}
	})
}

func TestALinkEndsWithWhoeverIsToldOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := errors.New("closed")
		l := NewLink(LinkConfig{Changed: func(context.Context, Change) error { return closed }})
		if err := l.Keep(t.Context(), func(context.Context) error { return errors.New("away") }); !errors.Is(err, closed) {
			t.Error(err)
		}
		l = NewLink(LinkConfig{})
		if err := l.Keep(t.Context(), func(context.Context) error { return fmt.Errorf("handing over: %w", &EndError{closed}) }); !errors.Is(err, closed) {
			t.Error(err)
		}
	})
}
