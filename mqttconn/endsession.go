package mqttconn

import (
	"context"
	"errors"
	"net/url"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// EndSession has the broker forget the session of this client, with what it queued: one connection with a clean session, to the
// first server that takes it. Nobody else may use the client id meanwhile.
func (b *Broker) EndSession(ctx context.Context) error {
	var failed []error
	for _, server := range b.servers {
		if err := b.endSession(ctx, server); err == nil || ctx.Err() != nil {
			return err
		} else {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (b *Broker) endSession(ctx context.Context, server *url.URL) error {
	c, err := b.dial(ctx, server, Terms{CleanSession: true, Receive: func(mqtt.Message) {}, Lost: func(error) {}})
	if err != nil {
		return err
	}
	// [MQTT-3.1.2-6]: with its CONNECT the old session is gone, and this one is with the connection.
	c.Disconnect(250)
	return nil
}
