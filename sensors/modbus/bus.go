//go:build !nomodbus

package modbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/simonvetter/modbus"

	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
	"edgechain.example/sensors/serialline"
)

// Available says whether the program can ask.
const Available = true

// Bus is one connection to a host, or one serial line. What its groups' reads do runs in one goroutine at a time.
type Bus struct {
	config Config
	at     address
	log    *slog.Logger
	notes  notes // what the library says of the answer that is waited for

	client *modbus.ModbusClient // nil: not connected
	used   bool                 // an answer has come over this connection
	line   *serialline.Line     // of a serial line that is open
	dialed *dialed              // a connection that is being made
	quiet  time.Time            // until then the line is left alone
	last   time.Time            // when the last answer came
}

// dialed is a connection that comes about, however long that takes.
type dialed struct {
	client *modbus.ModbusClient
	opened chan error // capacity 1
}

// NewBus returns a bus. It connects when it is asked first.
func NewBus(c Config, l *slog.Logger) (*Bus, error) {
	at, err := parseController(c.Controller)
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return &Bus{config: c, at: at, log: l}, nil
}

// Groups returns what is polled by a configuration of the same bus.
func (b *Bus) Groups(c *Config) []poll.Group {
	return groupsOf(c, func(bus string, t *Table, span Span) poll.Read {
		e := Exchange{Unit: t.Unit, Function: t.Function, Address: span.Address, Quantity: span.Quantity}
		return poll.Read{Name: readName(e.Unit, e.Function, e.Address), Ask: func(ctx context.Context) (*sensors.Message, error) {
			data, err := b.read(ctx, &e)
			received := time.Now()
			if err != nil {
				return nil, err
			}
			answered := e
			answered.Data = data
			m := &sensors.Message{Source: entrySource(bus, &e), Received: received, Payload: answered.Append(nil), Decoder: decoderName}
			if m.Readings, err = t.Readings(m.Payload); err != nil {
				return nil, fmt.Errorf("an answer that does not fit the question: %w", err)
			}
			return m, nil
		}}
	})
}

// Close ends the connection. The bus can be asked again, and connects then.
func (b *Bus) Close() {
	b.drop()
	if d, l := b.dialed, b.line; d != nil {
		b.dialed, b.line = nil, nil
		go func() { // it cannot be cut short, and takes some seconds at most
			if <-d.opened == nil {
				_ = d.client.Close()
			}
			if l != nil {
				l.Close()
			}
		}()
	}
}

// Rest waits until the bus may be asked again after silence, or ctx ends.
func (b *Bus) Rest(ctx context.Context) { _ = sleep(ctx, time.Until(b.quiet)) }

// drop gives up the connection, and lets go of the line.
func (b *Bus) drop() {
	if b.client != nil {
		_ = b.client.Close()
		b.client, b.used = nil, false
	}
	if b.line != nil && b.dialed == nil {
		b.line.Close()
		b.line = nil
	}
}

// read asks, and returns the data of the answer.
func (b *Bus) read(ctx context.Context, e *Exchange) ([]byte, error) {
	data, err := b.try(ctx, e)
	// A device may close a connection that was silent since the last poll. That is no failure.
	if err != nil && isClosed(err) {
		data, err = b.try(ctx, e)
	}
	if err != nil {
		return nil, b.explain(err)
	}
	return data, nil
}

// mostFiles is below what the serial library can wait for, which is a set of 1,024 descriptors. With one beyond it watches
// another file in its place, and the kernel writes beyond the set. The library opens the line soon after [openLine], and so
// gets a number near the one seen there: the difference is for what others open meanwhile.
const mostFiles = 960

// openLine opens a serial line beside the library, which reads and writes it, and would write to what is none, and to stderr.
func openLine(device string) (*serialline.Line, error) {
	l, err := serialline.Open(device)
	if err != nil {
		return nil, err
	}
	if l.Number() >= mostFiles {
		l.Close()
		return nil, fmt.Errorf("the agent has more than %d files open: with so many no serial line can be read", mostFiles)
	}
	return l, nil
}

// closedError is that of a connection that had been of use, and was found closed.
type closedError struct{ error }

func isClosed(err error) bool { return errors.As(err, new(closedError)) }

func (b *Bus) try(ctx context.Context, e *Exchange) ([]byte, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	b.notes.take()
	data, err := b.ask(e)
	b.last = time.Now()
	if err == nil || exceptionCode(err) > 0 {
		b.used = true
		return data, err
	}
	used := b.used
	b.drop()
	if b.at.serial || errors.Is(err, modbus.ErrRequestTimedOut) { // over TCP there may be a gateway with a serial line behind it
		b.quiet = time.Now().Add(b.config.Timeout)
		_ = sleep(ctx, b.config.Timeout) // in the time of who is to blame; what is left of it, the next one waits
	} else if used && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		return nil, closedError{err}
	}
	return nil, err
}

// ready connects where there is no connection, keeps the pauses, and empties the line's buffer.
func (b *Bus) ready(ctx context.Context) error {
	if b.client == nil {
		if err := sleep(ctx, time.Until(b.quiet)); err != nil {
			return err
		}
		if err := b.connect(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, b.config.AfterConnect); err != nil {
			return err
		}
	}
	if !b.last.IsZero() {
		if err := sleep(ctx, time.Until(b.last.Add(b.config.Between))); err != nil {
			return err
		}
	}
	if b.line != nil {
		if err := b.line.Flush(); err != nil {
			b.drop()
			return fmt.Errorf("emptying the line's buffer: %w", err)
		}
	}
	return ctx.Err()
}

// connect waits for a connection as long as for an answer. One that takes longer comes about meanwhile.
func (b *Bus) connect(ctx context.Context) error {
	if b.at.serial && b.line == nil {
		l, err := openLine(b.at.at)
		if err != nil {
			return fmt.Errorf("opening the line: %w", err)
		}
		b.line = l
	}
	if b.dialed == nil {
		client, err := modbus.NewClient(b.clientConfig())
		if err != nil {
			return err
		}
		d := &dialed{client, make(chan error, 1)}
		b.dialed = d
		go func() { d.opened <- d.client.Open() }()
	}
	timeout := time.NewTimer(b.config.Timeout)
	defer timeout.Stop()
	select {
	case err := <-b.dialed.opened:
		d := b.dialed
		b.dialed = nil
		if err != nil {
			b.drop()
			return fmt.Errorf("connecting: %w", err)
		}
		b.client, b.used = d.client, false
		return nil
	case <-timeout.C:
		return fmt.Errorf("connecting: no answer within %v", b.config.Timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Bus) clientConfig() *modbus.ClientConfiguration {
	c := &modbus.ClientConfiguration{URL: "tcp://" + b.at.at, Timeout: b.config.Timeout, Logger: log.New(&b.notes, "", 0)}
	if b.at.serial {
		c.URL, c.Speed, c.DataBits, c.StopBits = "rtu://"+b.at.at, uint(b.config.BaudRate), uint(b.config.DataBits), uint(b.config.StopBits)
		c.Parity = map[string]uint{"N": modbus.PARITY_NONE, "E": modbus.PARITY_EVEN, "O": modbus.PARITY_ODD}[b.config.Parity]
	}
	return c
}

// ask puts the question.
func (b *Bus) ask(e *Exchange) (data []byte, err error) {
	if err := b.client.SetUnitId(e.Unit); err != nil {
		return nil, err
	}
	var bits []bool
	switch e.Function {
	case Coils:
		bits, err = b.client.ReadCoils(e.Address, e.Quantity)
	case Discrete:
		bits, err = b.client.ReadDiscreteInputs(e.Address, e.Quantity)
	case Holding:
		return b.client.ReadRawBytes(e.Address, 2*e.Quantity, modbus.HOLDING_REGISTER)
	case Input:
		return b.client.ReadRawBytes(e.Address, 2*e.Quantity, modbus.INPUT_REGISTER)
	}
	if err != nil {
		return nil, err
	}
	data = make([]byte, e.Function.size(len(bits)))
	for i, bit := range bits {
		if bit {
			data[i/8] |= 1 << (i % 8)
		}
	}
	return data, nil
}

// exceptions are the answers of a device that does not give what it is asked for (MODBUS Application Protocol, section 7).
var exceptions = []struct {
	code  int
	err   error
	name  string
	there bool // the device itself answers
}{
	{1, modbus.ErrIllegalFunction, "illegal function", true},
	{2, modbus.ErrIllegalDataAddress, "illegal data address", true},
	{3, modbus.ErrIllegalDataValue, "illegal data value", true},
	{4, modbus.ErrServerDeviceFailure, "server device failure", true},
	{5, modbus.ErrAcknowledge, "acknowledge: the device needs longer", true},
	{6, modbus.ErrServerDeviceBusy, "server device busy", true},
	{8, modbus.ErrMemoryParityError, "memory parity error", true},
	{10, modbus.ErrGWPathUnavailable, "gateway path unavailable", false},
	{11, modbus.ErrGWTargetFailedToRespond, "the device behind the gateway does not answer", false},
}

// unknownException is how the library tells of a code that it has no name for.
var unknownException = regexp.MustCompile(`^unknown exception code \((\d+)\)$`)

// exceptionCode returns the code of an exception; 0: it is none.
func exceptionCode(err error) (code int) {
	for _, x := range exceptions {
		if errors.Is(err, x.err) {
			return x.code
		}
	}
	if m := unknownException.FindStringSubmatch(err.Error()); m != nil {
		_, _ = fmt.Sscan(m[1], &code)
	}
	return code
}

// explain says what an error means.
func (b *Bus) explain(err error) error {
	for _, x := range exceptions {
		if errors.Is(err, x.err) {
			err := fmt.Errorf("exception %d, %s", x.code, x.name)
			if x.there {
				return &poll.RefusedError{Err: err}
			}
			return err
		}
	}
	if code := exceptionCode(err); code > 0 {
		return &poll.RefusedError{Err: fmt.Errorf("exception %d, which has no name", code)}
	}
	said := ""
	if note := b.notes.take(); note != "" {
		said = ": " + note
	}
	switch {
	case errors.Is(err, modbus.ErrRequestTimedOut):
		return fmt.Errorf("no whole answer within %v%s", b.config.Timeout, said)
	case errors.Is(err, modbus.ErrBadCRC):
		return errors.New("an answer with a wrong checksum")
	case errors.Is(err, modbus.ErrShortFrame):
		return fmt.Errorf("an answer that is cut short%s", said)
	case errors.Is(err, modbus.ErrBadUnitId):
		return errors.New("an answer of another unit than the one that was asked")
	case errors.Is(err, modbus.ErrProtocolError):
		return fmt.Errorf("an answer that does not fit the question%s", said)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the device closed the connection within an answer")
	case errors.Is(err, io.EOF):
		return errors.New("the device closed the connection")
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notes keeps the last line that the library logs: what it found wrong with an answer.
type notes struct {
	mu   sync.Mutex
	last string // guarded by mu
}

// Write implements [io.Writer].
func (n *notes) Write(line []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, after, ok := bytes.Cut(line, []byte("]: ")); ok {
		n.last = strings.TrimSpace(string(after))
	}
	return len(line), nil
}

func (n *notes) take() (last string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last, n.last = n.last, ""
	return last
}
