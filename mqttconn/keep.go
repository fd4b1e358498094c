package mqttconn

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"
)

// Keep connects, and keeps connecting, until ctx ends. For each attempt it calls session, which dials, and then returns
// when its connection has ended, or when it has ended it because ctx did; its error says why. Keep returns when session
// has.
func (b *Broker) Keep(ctx context.Context, session func(context.Context, Dial) error) {
	var (
		log     = b.options.Log
		attempt int    // since a connection last stood for a while
		told    int    // attempts since the log last said so
		reason  string // what it said
		since   time.Time
	)
	for {
		var began time.Time // when the connection did
		err := b.inTurn(ctx, session, func() {
			began = time.Now()
			if told > 0 {
				log.Info("the broker is back", "after", began.Sub(since).Round(time.Second), "attempts", told)
			}
			told, reason = 0, ""
		})
		if ctx.Err() != nil {
			return
		}
		if connected := !began.IsZero(); connected || since.IsZero() {
			since = time.Now()
			if connected && since.Sub(began) > b.options.BackoffMax {
				attempt = 0
			}
		}
		b.note(func(s *Status) {
			if s.LastError == "" {
				s.Since = time.Now()
			}
			s.LastError = err.Error()
		})
		wait := b.backoff(attempt)
		attempt++
		told++
		// A broker that is down for a week is told of a dozen times, and a new reason at once. What follows the colon
		// has ports in it that change.
		if r, _, _ := strings.Cut(err.Error(), ": "); r != reason || told&(told-1) == 0 {
			reason = r
			log.Warn("failed to connect to the broker, waiting for it", "err", err, "attempt", told, "again_in", wait.Round(time.Millisecond))
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// inTurn tries each server once, and returns when a connection to one of them has ended, or none could be had.
func (b *Broker) inTurn(ctx context.Context, session func(context.Context, Dial) error, accepted func()) error {
	var failed []error
	for _, server := range b.servers {
		connected := false
		err := session(ctx, func(t Terms) (*Connection, error) {
			c, err := b.dial(ctx, server, t)
			if err == nil {
				connected = true
				b.connected(server)
				accepted()
			}
			return c, err
		})
		if connected || ctx.Err() != nil {
			return err
		}
		b.note(func(s *Status) { s.Failures++ })
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func (b *Broker) connected(server *url.URL) {
	b.note(func(s *Status) {
		s.Connections++
		s.Server, s.LastError, s.Since = server.String(), "", time.Time{}
	})
	b.options.Log.Info("connected to the broker", "server", server.Redacted(), "client_id", b.config.ClientID)
}

// backoff returns how long to wait before attempt n, counted from 0: doubling, and spread, so that the gateways of a
// plant do not all knock at once when their broker comes back.
func (b *Broker) backoff(n int) time.Duration {
	d := b.options.BackoffMax
	if n < 30 && b.options.BackoffMin<<n > 0 {
		d = min(d, b.options.BackoffMin<<n)
	}
	return d/2 + time.Duration(b.options.Jitter()*float64(d))
}
