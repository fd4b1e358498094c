package pgstore

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func quiet(patience time.Duration) *Store {
	return &Store{patience: patience, outage: outage{log: slog.New(slog.DiscardHandler)}}
}

func TestPausesDoubleAndAreSpreadUntilPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var firsts []time.Duration
		for range 8 {
			began := time.Now()
			last, want := began, firstPause
			var n int
			err := quiet(defaultPatience).again(t.Context(), func(context.Context) error {
				if n++; n > 1 {
					pause := time.Since(last)
					if n == 2 {
						firsts = append(firsts, pause)
					}
					if pause < want/2 || pause >= want*3/2 {
						t.Errorf("pause %d is %s, of %s", n-1, pause, want)
					}
					want = min(2*want, longestPause)
				}
				last = time.Now()
				return io.ErrUnexpectedEOF
			})
			if took := time.Since(began); took < defaultPatience || took > defaultPatience+2*longestPause {
				t.Errorf("it ended after %s: %v", took, err)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "given up after") {
				t.Error(err)
			}
		}
		same := true
		for _, pause := range firsts {
			same = same && pause == firsts[0]
		}
		if same {
			t.Errorf("first pauses are all the same: %v", firsts)
		}
	})
}

// However long an attempt takes, some are made.
func TestSlowDatabaseGetsSomeAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		err := quiet(defaultPatience).again(t.Context(), func(ctx context.Context) error {
			n++
			<-ctx.Done() // the network took the connection without a word
			return ctx.Err()
		})
		if n != leastAttempts || err == nil {
			t.Errorf("%d attempts: %v", n, err)
		}
		n = 0
		err = quiet(defaultPatience).again(t.Context(), func(context.Context) error {
			if n++; n < leastAttempts {
				time.Sleep(defaultPatience)
				return &doubt{io.EOF}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestCallerThatLeavesIsNotKeptWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := quiet(defaultPatience).again(ctx, func(context.Context) error { return &doubt{io.EOF} })
		if took := time.Since(began); took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is not known") {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestOnlyWhatMayPassIsTriedAgain(t *testing.T) {
	state := func(code string) error { return &pgconn.PgError{Code: code} }
	for _, c := range []struct {
		err   error
		again bool
	}{
		{state("40001"), true}, {state("40P01"), true}, {state("40003"), true}, {state("08006"), true}, {state("57P01"), true},
		{state("57P03"), true}, {state("53300"), true}, {errLost, true}, {io.ErrUnexpectedEOF, true}, {&doubt{state("42501")}, true},
		{state("28P01"), false},      // the password is wrong
		{state("3D000"), false},      // there is no such database
		{state("42501"), false},      // not permitted
		{state("57014"), false},      // the operator cancelled it
		{state("53100"), false},      // the disk is full
		{errors.New("other"), false}, // ours
		{&own{errors.New("the caller's")}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			err := quiet(time.Nanosecond).again(t.Context(), func(context.Context) error { n++; return c.err })
			if again := n > 1; again != c.again || !errors.Is(err, c.err) && !errors.Is(c.err, err) {
				t.Errorf("%v: %d attempts, %v", c.err, n, err)
			}
		})
	}
}

func TestOutageIsToldOnceAMinuteAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		o := outage{log: slog.New(slog.NewTextHandler(&log, nil))}
		for range 120 { // each second one breaks, and the next attempt gets through
			o.broken(io.EOF)
			o.over()
			time.Sleep(time.Second)
		}
		warned, back := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO")
		if warned != 2 || back != 2 || !strings.Contains(log.String(), "times=60") {
			t.Errorf("two minutes of breaks:\n%s", log.String())
		}
	})
}
