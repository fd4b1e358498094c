// Package modbus polls devices that speak Modbus, over TCP and over serial lines (RTU): coils, discrete inputs, holding and
// input registers. A [Bus] is one connection or line; what is polled, and when, is package poll's.
//
// One answer is one entry. Its payload is what was on the wire, an [Exchange], and its readings are what a [Table] makes of
// that: pure, so that whoever has payload and table comes to the same. The table's hash stands with each reading, and in the
// configuration's entry.
//
// # Whose answer it is
//
// Over TCP each answer bears the number of its question. On a serial line nothing does: an answer that comes late, or twice,
// looks like the answer to the next question of the same length, and would be another register's value under this one's name.
// So what stands in the line's buffer is thrown away before each question; and after silence, or an answer that is not whole,
// the line is closed and left alone for as long as the time-out, so that what comes late comes to nobody. After silence over
// TCP it is the same, since a gateway with a serial line may be there. A device that answers later than twice its time-out could
// still be misread: the time-out must be above half of the longest that a device takes, and above a gateway's own.
//
// RTU frames over TCP have neither number nor buffer to empty, and are not spoken. Nothing is ever written to a device.
//
// The build tag nomodbus leaves out what asks; tables and configuration stay.
package modbus

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"edgechain.example/sensors"
)

// decoderName is what entries call the reading of registers, with its version.
const decoderName = "modbus/1"

// defaultPort is Modbus's own.
const defaultPort = "502"

// ErrLeftOut is that of [NewBus] in a program that cannot ask.
var ErrLeftOut = errors.New("this program was built without Modbus")

// bounds of the time-out, and of pauses.
const (
	leastTimeout = 10 * time.Millisecond
	mostTimeout  = 30 * time.Second
	mostPause    = 10 * time.Second
)

// The schemes of a controller's address, as Telegraf has them.
const (
	schemeTCP  = "tcp"
	schemeFile = "file"
)

// address is where a bus is: host and port, or the device file of a serial line.
type address struct {
	serial bool
	at     string
}

func parseController(controller string) (a address, err error) {
	scheme, rest, _ := strings.Cut(controller, "://")
	switch {
	case scheme == schemeFile && strings.HasPrefix(rest, "/"):
		return address{true, rest}, nil
	case scheme == schemeTCP && rest != "" && !strings.ContainsAny(rest, "/ "):
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			host, port, err = net.SplitHostPort(net.JoinHostPort(strings.Trim(rest, "[]"), defaultPort))
		}
		if number, wrong := strconv.ParseUint(port, 10, 16); err == nil && host != "" && wrong == nil && number > 0 {
			return address{at: net.JoinHostPort(host, port)}, nil
		}
	}
	return a, errors.New(`expected "tcp://" with a host, such as "tcp://192.168.1.10:502", or "file://" with the full path of a serial line, such as "file:///dev/ttyUSB0"`)
}

// SourceName returns the name of a bus as a source of the agent.
func SourceName(name string) string { return "modbus:" + name }

// entrySource is the source of the entry that holds an answer.
//
// SPEC: modbus:<source>:<unit>/<function>/<first>
func entrySource(bus string, e *Exchange) string {
	return SourceName(sensors.SourceName(bus)) + ":" + readName(e.Unit, e.Function, e.Address)
}

// readName is what a read is called within its bus.
func readName(unit byte, f Function, address uint16) string {
	return fmt.Sprintf("%d/%d/%d", unit, f, address)
}
