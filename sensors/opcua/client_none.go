//go:build noopcua

package opcua

import (
	"context"

	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
)

// Available says whether the program can speak OPC UA.
const Available = false

func checkNodeID(string) error { return nil }

// Source is none: this program cannot speak.
type Source struct{}

// New returns nothing of use.
func New(Config, Options) *Source { return &Source{} }

// Run fails.
func (*Source) Run(context.Context, sensors.Sink) error { return ErrLeftOut }

// Stats returns nothing.
func (*Source) Stats() Stats { return Stats{} }

// Once fails.
func (*Source) Once(context.Context, string) ([]poll.Answer, error) { return nil, ErrLeftOut }

// ReadOnce fails.
func ReadOnce(context.Context, *Config, Options, string) ([]poll.Answer, error) {
	return nil, ErrLeftOut
}

// Browse fails.
func Browse(context.Context, *Config, Options, string, int) ([]Node, error) { return nil, ErrLeftOut }
