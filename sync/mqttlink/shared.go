package mqttlink

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	headersync "edgechain.example/sync"
)

// Shared returns the filter of a subscription that the broker divides among the members of a group: each message goes
// to one of them. It is part of MQTT 5 (section 4.8.2); most brokers grant it to clients of 3.1.1 too.
func Shared(group, filter string) string { return "$share/" + group + "/" + filter }

// ProbeShared reports whether what is published below topic comes back through a shared subscription, by trying it; it
// says no when ctx ends first. Some brokers grant such subscriptions and then deliver nothing.
func (l *Link) ProbeShared(ctx context.Context, group, topic string) (bool, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return false, err
	}
	topic += "/" + hex.EncodeToString(random[:]) // nobody else's, so that no other member of the group gets it
	filter := Shared(group, topic)
	back := make(chan struct{}, 1)
	err := l.Subscribe([]string{filter}, func(m headersync.Message) {
		m.Done()
		select {
		case back <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return false, err
	}
	defer l.drop(filter)
	if err := l.asked(ctx); err != nil {
		return false, err
	}
	if err := l.Publish(topic, []byte("probe"), false); err != nil {
		return false, err
	}
	select {
	case <-back:
		return true, nil
	case <-ctx.Done():
		return false, nil
	}
}
