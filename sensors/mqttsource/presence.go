package mqttsource

import (
	"errors"
	"time"
)

// ErrNotConnected is what publishing fails with while there is no connection on which all filters are granted.
var ErrNotConnected = errors.New("the broker is not connected")

// Publish publishes a message with QoS 0, which nobody promises to deliver. It waits for the connection to take it.
func (s *Source) Publish(topic string, payload []byte) error {
	l := s.speaker()
	if l == nil {
		return ErrNotConnected
	}
	return l.publish(topic, 0, false, payload, 0)
}

// SayOnline says once more that the source is connected, as it did when it was: somebody else has said otherwise.
func (s *Source) SayOnline() {
	if l := s.speaker(); l != nil {
		l.sayOnline()
	}
}

func (s *Source) speaker() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.speaking
}

// sayOnline says that the source is connected.
func (l *link) sayOnline() {
	p := l.source.cfg.Presence
	if p == nil {
		return
	}
	if err := l.publish(p.Topic, 1, true, p.Says(true, l.since), 0); err != nil {
		l.source.log.Warn("failed to publish that this source is connected", "topic", p.Topic, "err", err)
	}
}

// leave says that the source goes, before it does: after a DISCONNECT the broker publishes no will.
func (l *link) leave() {
	p := l.source.cfg.Presence
	if p == nil {
		return
	}
	// The answer may stand behind messages that are not taken any more.
	s := l.source
	s.mu.Lock()
	l.ending = true
	s.room.Broadcast()
	s.mu.Unlock()
	const patience = 2 * time.Second
	if err := l.publish(p.Topic, 1, true, p.Says(false, s.cfg.Now()), patience); err != nil {
		// The gate lets no DISCONNECT out then, so that the will is published.
		l.gate.drop(errClosed)
	}
}

// publish hands a message to the connection, and waits for what the broker owes for its QoS up to patience, if that is not 0.
func (l *link) publish(topic string, qos byte, retained bool, payload []byte, patience time.Duration) error {
	token := l.conn.Publish(topic, qos, retained, payload)
	if patience == 0 {
		select {
		case <-token.Done():
			return token.Error()
		default:
			return nil
		}
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-l.gate.ended:
		return l.ended()
	case <-limit.C:
		return errors.New("the broker did not acknowledge it in time")
	}
}
