// Package serialline opens serial lines, so that one program alone has each, and sets how fast and in which form they carry
// characters. It owns no protocol: what a character means is its users' matter.
package serialline

import (
	"errors"
	"slices"

	"edgechain.example/tomlconf"
)

// Errors of [Open].
var (
	// ErrBusy means that another program has the line.
	ErrBusy = errors.New("another program has the line")
	// ErrNotHere is that of systems other than Linux.
	ErrNotHere = errors.New("serial lines are read on Linux alone")
)

// Mode is how a line carries characters.
type Mode struct {
	BaudRate int
	DataBits int    // 7 or 8
	Parity   string // "N", "E" or "O"
	StopBits int    // 1 or 2
}

// DefaultMode is what most devices are shipped with.
var DefaultMode = Mode{BaudRate: 9600, DataBits: 8, Parity: "N", StopBits: 1}

// rates are those that a line can have.
var rates = []int{300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000,
	1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000}

// CheckRate refuses a rate that no line can have.
func CheckRate(d *tomlconf.Document, rate *int) {
	if !slices.Contains(rates, *rate) {
		d.Refuse(rate, "expected a rate that serial lines have, such as 9600, 19200, 38400, 57600 or 115200")
	}
}

// CheckForm refuses characters that no line can carry.
func CheckForm(d *tomlconf.Document, dataBits *int, parity *string, stopBits *int) {
	tomlconf.Between(d, dataBits, 7, 8)
	tomlconf.OneOf(d, parity, "N", "E", "O")
	tomlconf.Between(d, stopBits, 1, 2)
}
