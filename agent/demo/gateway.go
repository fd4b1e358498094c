package demo

import (
	"path/filepath"
	"time"

	"edgechain.example/agent"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
)

// Gateway returns the configuration of the gateway that the devices publish to: its embedded broker at listen, the
// machine's own sensors, a block every second, and everything below data, which may be volatile. Where there are
// aggregators, it syncs its headers to them through its own broker; listen must name a port then.
func Gateway(data, listen string, aggregators []lightchain.Aggregator) *agent.Config {
	c := agent.DefaultConfig()
	c.Gateway.Name, c.Gateway.Data = "demo", data
	c.Key.File, c.API.Socket = filepath.Join(data, "key"), filepath.Join(data, "edgeagent.sock")
	c.Store.AllowVolatile = true
	c.Block.Interval = time.Second
	c.Hwmon.Enabled, c.Hwmon.Interval = true, 5*time.Second
	c.Broker.Enabled, c.Broker.Listen, c.Broker.AllowAnonymous = true, listen, true
	for _, d := range Devices() {
		decode := agent.DecodeConfig{Topics: []string{d.Topic}, Config: sensors.Config{Dialect: d.Dialect, Device: d.Name}}
		if d.Dialect == "zigbee2mqtt" {
			decode.Config = sensors.Config{Preset: d.Dialect}
		}
		if d.Dialect == "json" {
			decode.TimestampPath = "time"
		}
		c.Broker.Decode = append(c.Broker.Decode, decode)
	}
	if len(aggregators) == 0 {
		return c
	}
	up := agent.UpstreamConfig{}
	up.SetDefaults()
	up.Name, up.Servers = "own-broker", []mqttconn.Server{mqttconn.Server("tcp://" + listen)}
	for _, g := range aggregators {
		up.Aggregator = append(up.Aggregator, agent.AggregatorConfig{Name: g.Name, Key: lightchain.FormatPublicKey(g.Key)})
	}
	c.Upstream = []agent.UpstreamConfig{up}
	c.Sync.Announce, c.Sync.ConfirmWait = time.Second, 5*time.Second
	return c
}
