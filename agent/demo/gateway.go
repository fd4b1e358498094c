package demo

import (
	"path/filepath"
	"time"

	"edgechain/agent"
	"edgechain/sensors"
)

// Gateway returns the configuration of the gateway that the devices publish to: its embedded broker on a free port of
// loopback, the machine's own sensors, a block every second, and everything below data, which may be volatile.
func Gateway(data string) *agent.Config {
	c := agent.DefaultConfig()
	c.Gateway.Name, c.Gateway.Data = "demo", data
	c.Key.File, c.API.Socket = filepath.Join(data, "key"), filepath.Join(data, "edgeagent.sock")
	c.Store.AllowVolatile = true
	c.Block.Interval = time.Second
	c.Hwmon.Enabled, c.Hwmon.Interval = true, 5*time.Second
	c.Broker.Enabled, c.Broker.Listen, c.Broker.AllowAnonymous = true, "127.0.0.1:0", true
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
	return c
}
