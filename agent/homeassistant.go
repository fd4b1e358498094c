package agent

import (
	"errors"
	"fmt"

	"edgechain.example/agent/api"
	"edgechain.example/agent/homeassistant"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sync/mqttlink"
)

func (a *Agent) homeAssistantTopics(c *Config) homeassistant.Topics {
	return homeassistant.NewTopics(c.HomeAssistant.Discovery, c.HomeAssistant.Prefix, a.store.Chain().String()[:12])
}

// homeAssistantBroker returns the connection of the [[mqtt]] with the name; nil: there is none.
func (c *Config) homeAssistantBroker(name string) *mqttconn.Config {
	for i := range c.MQTT {
		if name != "" && c.MQTT[i].Name == name {
			connection := c.MQTT[i].Config
			return &connection
		}
	}
	return nil
}

// homeAssistantLink returns a connection of its own to an [[mqtt]]'s broker; nil: it is the embedded broker, which needs
// none.
func (a *Agent) homeAssistantLink(c *Config, name string, will *mqttconn.Will) (*mqttlink.Link, error) {
	if name == "" {
		return nil, nil
	}
	connection := c.homeAssistantBroker(name)
	if connection == nil {
		return nil, fmt.Errorf("there is no [[mqtt]] %q any more", name)
	}
	connection.ClientID = "edgechain-" + a.store.Chain().String()[:12] + "-ha-" + name
	return mqttlink.New(mqttlink.Config{
		Config: *connection, Options: mqttconn.Options{TimeFloor: a.timeFloor, Log: a.log}, CleanSession: true, Will: will,
		Connected: a.presence.announce,
	})
}

// embeddedConn publishes through the embedded broker that runs now.
type embeddedConn struct{ agent *Agent }

var errNoBroker = errors.New("the embedded broker does not run")

// Publish implements [homeassistant.Conn].
func (c embeddedConn) Publish(topic string, payload []byte, retained bool) error {
	for _, s := range c.agent.running() {
		if s.publish != nil {
			s.publish(topic, payload, 1, retained)
			return nil
		}
	}
	return errNoBroker
}

// homeAssistantState gathers what is published.
func (a *Agent) homeAssistantState() homeassistant.State {
	status := a.Status()
	s := homeassistant.State{
		Height: status.Height, LastBlock: status.Sealed, Problems: problems(&status.Verdict),
		Lost: status.Lost.Entries + status.Lost.Unproved,
		Free: status.Live.Buffer.Room, DaysLeft: status.Live.Buffer.Days,
	}
	for _, u := range status.Live.Upstreams {
		for _, g := range u.Aggregators {
			missing := status.Height + 1 // none countersigned: genesis is block 0
			if g.Receipted != nil {
				missing = status.Height - min(*g.Receipted, status.Height)
			}
			if s.Unreceipted == nil || missing < *s.Unreceipted {
				s.Unreceipted = &missing
			}
		}
	}
	if clock := a.clock.Status(); clock.State != lightchain.ClockUnknown {
		synchronised, bound := clock.State == lightchain.ClockSynchronised, clock.MaxError.Seconds()
		s.Synchronised, s.ClockError = &synchronised, &bound
	}
	if power := a.board.now().Power; power.VoltageKnown || power.ThrottlingKnown {
		limited := power.UnderVoltage || power.Capped || power.Throttled || power.SoftLimit
		s.PowerLimit = &limited
	}
	return s
}

// problems says what is wrong, in the words of the status.
func problems(v *api.Verdict) (all []string) {
	for i := range v.Reasons {
		all = append(all, v.Reasons[i].Text)
	}
	return all
}
