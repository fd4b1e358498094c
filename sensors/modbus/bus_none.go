//go:build nomodbus

package modbus

import (
	"context"
	"log/slog"

	"edgechain.example/sensors/poll"
)

// Available says whether the program can ask.
const Available = false

// Bus is none: this program cannot ask.
type Bus struct{}

// NewBus fails.
func NewBus(Config, *slog.Logger) (*Bus, error) { return nil, ErrLeftOut }

// Groups returns nothing.
func (*Bus) Groups(*Config) []poll.Group { return nil }

// Rest waits for nothing.
func (*Bus) Rest(context.Context) {}

// Close does nothing.
func (*Bus) Close() {}
