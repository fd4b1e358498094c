// Package demo simulates four factory devices, each a real MQTT client speaking a dialect of its own, so that a
// gateway can be seen at work where there is no factory. It owns the devices; the gateway they publish to is real.
package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Device is one simulated machine.
type Device struct {
	Name    string
	Dialect string // as the gateway's configuration names it
	Topic   string
	Every   time.Duration

	payload func(now time.Time, r *rand.Rand) []byte
}

// Devices returns the factory: a press (JSON), an oven (SenML), a water meter (a bare number) and a hall sensor
// (Zigbee2MQTT).
func Devices() []Device {
	return []Device{
		{"press-07", "json", "factory/line1/press-07/state", 500 * time.Millisecond, press},
		{"oven-02", "senml+json", "factory/line1/oven-02/senml", time.Second, oven},
		{"water-01", "value", "factory/utilities/water-01/flow", 700 * time.Millisecond, water},
		{"hall-3", "zigbee2mqtt", "zigbee2mqtt/hall-3", 2 * time.Second, hall},
	}
}

// wave is a value that swings around a middle, with a little noise.
func wave(now time.Time, r *rand.Rand, middle, swing float64, period time.Duration) float64 {
	phase := 2 * math.Pi * float64(now.UnixNano()%int64(period)) / float64(period)
	return math.Round((middle+swing*math.Sin(phase)+r.NormFloat64()*swing/20)*100) / 100
}

func press(now time.Time, r *rand.Rand) []byte {
	return encode(struct {
		Time        string  `json:"time"`
		Temperature float64 `json:"temperature"`
		Pressure    float64 `json:"pressure"`
		Strokes     int64   `json:"strokes"`
	}{now.UTC().Format(time.RFC3339Nano), wave(now, r, 74, 6, time.Minute), wave(now, r, 212, 15, 9*time.Second), now.Unix() / 2})
}

func oven(now time.Time, r *rand.Rand) []byte {
	type record struct {
		BaseName string  `json:"bn,omitempty"`
		BaseTime float64 `json:"bt,omitempty"`
		Name     string  `json:"n"`
		Unit     string  `json:"u"`
		Value    float64 `json:"v"`
	}
	return encode([]record{
		{"oven-02:", float64(now.UnixMilli()) / 1000, "zone1", "Cel", wave(now, r, 180, 4, 2*time.Minute)},
		{"", 0, "zone2", "Cel", wave(now, r, 195, 5, 3*time.Minute)},
	})
}

func water(now time.Time, r *rand.Rand) []byte {
	return fmt.Appendf(nil, "%.2f", wave(now, r, 12, 3, 40*time.Second))
}

func hall(now time.Time, r *rand.Rand) []byte {
	return encode(struct {
		Temperature float64 `json:"temperature"`
		Humidity    float64 `json:"humidity"`
		Battery     int     `json:"battery"`
	}{wave(now, r, 21, 1, 5*time.Minute), wave(now, r, 45, 5, 7*time.Minute), 97})
}

// encode marshals what always can be.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Run lets the devices publish with QoS 1 to the broker at url ("tcp://host:port") until ctx ends. Every device
// waits for its acknowledgement before it measures again, as a small controller would.
func Run(ctx context.Context, url string, log *slog.Logger) error {
	var all sync.WaitGroup
	errs := make(chan error, len(Devices()))
	for i, d := range Devices() {
		all.Go(func() {
			if err := d.run(ctx, url, rand.New(rand.NewPCG(7, uint64(i)))); err != nil {
				log.Error("failed to publish as a simulated device, which has stopped", "device", d.Name, "err", err)
				errs <- err
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

func (d *Device) run(ctx context.Context, url string, r *rand.Rand) error {
	options := mqtt.NewClientOptions().AddBroker(url).SetClientID(d.Name).SetCleanSession(true).SetConnectRetry(true).SetConnectRetryInterval(time.Second)
	client := mqtt.NewClient(options)
	if err := wait(ctx, client.Connect()); err != nil {
		return fmt.Errorf("connecting %s: %w", d.Name, err)
	}
	defer client.Disconnect(100)
	tick := time.NewTicker(d.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if err := wait(ctx, client.Publish(d.Topic, 1, false, d.payload(now, r))); err != nil {
				return fmt.Errorf("publishing as %s: %w", d.Name, err)
			}
		}
	}
}

// wait waits for the token, or for the end of ctx, which is no error.
func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return nil
	}
}
