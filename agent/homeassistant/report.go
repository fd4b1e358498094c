package homeassistant

import (
	"context"
	"log/slog"
	"time"
)

// Conn publishes. It does not block, and of a retained message it keeps the newest until it can be sent. Nothing is
// repeated when it is lost: what matters is published again after the interval.
type Conn interface {
	Publish(topic string, payload []byte, retained bool) error
}

// Config is what a [Report] needs.
type Config struct {
	Conn     Conn
	Topics   Topics
	Device   Device
	Interval time.Duration // between two publications of the state
	State    func() State
	Log      *slog.Logger
}

// Report publishes how a gateway stands.
type Report struct {
	Config
	again chan struct{} // capacity 1: somebody may know nothing of the gateway
}

// New returns a Report that has published nothing.
func New(c Config) *Report { return &Report{Config: c, again: make(chan struct{}, 1)} }

// Announce has everything published again: on a new connection, or because Home Assistant has started. It never blocks.
func (r *Report) Announce() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends: everything at first, then the state once every interval. The last word, that the
// gateway is no more there, is the connection's.
func (r *Report) Run(ctx context.Context) {
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	r.announce()
	for {
		select {
		case <-tick.C:
			r.publish(r.Topics.State, r.State().payload())
		case <-r.again:
			r.announce()
		case <-ctx.Done():
			return
		}
	}
}

// announce publishes who the gateway is, then that it is there, then how it stands. All of it is retained, so that a
// Home Assistant that comes later knows at once.
func (r *Report) announce() {
	r.publish(r.Topics.Config, Discovery(r.Device, r.Topics, r.Interval))
	r.publish(r.Topics.Availability, []byte(Online))
	r.publish(r.Topics.State, r.State().payload())
}

func (r *Report) publish(topic string, payload []byte) {
	if err := r.Conn.Publish(topic, payload, true); err != nil {
		r.Log.Warn("failed to report to Home Assistant", "topic", topic, "err", err)
	}
}

// Withdraw takes the gateway away from Home Assistant, with all its entities, and from the broker.
func Withdraw(c Conn, t Topics) error {
	for _, topic := range []string{t.Config, t.State, t.Availability} {
		if err := c.Publish(topic, nil, true); err != nil {
			return err
		}
	}
	return nil
}
