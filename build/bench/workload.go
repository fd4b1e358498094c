package main

import (
	"crypto/ed25519"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// message is what a device publishes.
type message struct {
	topic   string
	payload []byte
}

// machineMessages returns n messages of about 100 bytes with one value each, as a temperature sensor on a large machine
// sends them: a slow random walk with eight decimals, every five minutes.
func machineMessages(n int, device string) []message {
	rng := rand.New(rand.NewPCG(3, 4))
	at := time.Date(2013, 12, 2, 21, 15, 0, 0, time.UTC)
	value := 73.96732207
	messages := make([]message, n)
	for i := range messages {
		messages[i] = message{"plant/" + device + "/temperature", fmt.Appendf(nil,
			`{"time":"%s","device":"%s","temperature":%s,"unit":"[degF]"}`,
			at.Format("2006-01-02T15:04:05.000Z"), device, strconv.FormatFloat(value, 'f', 8, 64))}
		at = at.Add(5 * time.Minute)
		value = math.Max(2, value+rng.NormFloat64())
	}
	return messages
}

// machineDecoding is how the messages are read.
func machineDecoding() sensors.Config {
	return sensors.Config{Dialect: "json", TimestampPath: "time", UnitPath: "unit", DevicePath: "device"}
}

// intake turns messages into entries as a source and the agent's committer do.
type intake struct {
	sensors.Intake
	received time.Time
	jitter   *rand.Rand
}

func newIntake() (*intake, error) {
	d, err := sensors.New(machineDecoding())
	if err != nil {
		return nil, err
	}
	return &intake{sensors.Intake{Decoder: d}, time.Unix(1700000000, 0), rand.New(rand.NewPCG(5, 6))}, nil
}

// entry decodes a message that arrives some twenty milliseconds after the one before.
func (in *intake) entry(m *message) lightchain.Entry {
	in.received = in.received.Add(time.Duration(in.jitter.ExpFloat64() * 20e6))
	made := in.Message("broker:-/press-07:"+m.topic, m.topic, "", 0, m.payload, in.received)
	return lightchain.Entry{
		Received: made.Received.UnixNano(), Source: made.Source, Flags: made.Flags, Payload: made.Payload, Readings: made.Readings,
	}
}

// machineEntries returns the messages as package sensors decodes them.
func machineEntries(n int) ([]lightchain.Entry, error) {
	in, err := newIntake()
	if err != nil {
		return nil, err
	}
	messages := machineMessages(n, "press-07")
	entries := make([]lightchain.Entry, n)
	for i := range messages {
		if entries[i] = in.entry(&messages[i]); len(entries[i].Readings) != 1 {
			return nil, fmt.Errorf("%s: %d readings", messages[i].payload, len(entries[i].Readings))
		}
	}
	return entries, nil
}

// chainOptions are those of a gateway about which nothing was set.
func chainOptions() (store.Options, error) {
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	return store.Options{Signer: signer}, err
}

// newChain begins a chain in dir and opens it.
func newChain(dir string) (*store.Store, error) {
	o, err := chainOptions()
	if err != nil {
		return nil, err
	}
	if _, err := store.Create(dir, o, store.Genesis{Name: "bench"}); err != nil {
		return nil, err
	}
	return store.Open(dir, o)
}
