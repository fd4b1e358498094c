//go:build !linux

package serialline

import "time"

// Line is none: there are none here.
type Line struct{}

// Open fails.
func Open(string) (*Line, error) { return nil, ErrNotHere }

// Set does nothing.
func (*Line) Set(Mode) error { return ErrNotHere }

// Read fails.
func (*Line) Read([]byte) (int, error) { return 0, ErrNotHere }

// SetReadDeadline does nothing.
func (*Line) SetReadDeadline(time.Time) error { return ErrNotHere }

// Number returns none.
func (*Line) Number() uintptr { return 0 }

// Flush does nothing.
func (*Line) Flush() error { return ErrNotHere }

// Close does nothing.
func (*Line) Close() {}
