// Package hwmon polls the machine's own sensors: the chips under /sys/class/hwmon, the thermal zones that have no
// chip, the load and the memory. It needs no device, so it is what a gateway records first.
//
// One file is one entry: the source names the sensor, the payload is what the kernel wrote, and the reading is that
// in the unit a person expects. What is particular to the boards (under-voltage flags, the card's wear, the clock)
// belongs to package arm.
package hwmon

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// DefaultInterval is the time between two polls where none is configured.
const DefaultInterval = time.Minute

// maxFile bounds what is read of one file, in bytes: sysfs gives a page at most, and /proc/meminfo has 1.5 KiB.
const maxFile = 4096

// Config says what to poll. The zero value polls this machine once a minute.
type Config struct {
	Root     string           // what stands for "/"; empty for "/" itself
	Interval time.Duration    // between the beginnings of two polls; 0 means DefaultInterval
	Device   string           // the readings' device: the gateway's name
	Now      func() time.Time // the gateway's clock; nil means time.Now
	Logger   *slog.Logger     // nil means none
}

// Source polls the sensors of one machine.
type Source struct {
	config   Config
	messages atomic.Int64
	failures atomic.Int64
	known    map[string]state // by source; owned by Run
}

// state is what the last poll found at a sensor.
type state uint8

const (
	working state = iota + 1
	failing       // there, but cannot be read
	gone
)

// New returns a source. It reads nothing before [Source.Run].
func New(c Config) *Source {
	if c.Root == "" {
		c.Root = string(filepath.Separator)
	}
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{config: c, known: make(map[string]state)}
}

// Stats counts since the start. It may be read at any time, from any goroutine.
type Stats struct {
	Messages int64 // given to the sink
	Failures int64 // sensors that could not be read, or that a poll did not find again: one per sensor and poll
}

// Stats returns the counters.
func (s *Source) Stats() Stats {
	return Stats{Messages: s.messages.Load(), Failures: s.failures.Load()}
}

// Run polls at once and then at every interval, and gives one message per sensor to sink, until ctx ends (then it
// returns nil) or the sink closes. While the sink takes nothing it waits; polls that fall into that time are left out,
// not made up for. It is called once.
//
// Reading sysfs cannot be interrupted: a driver that hangs on its bus holds up the poll, and the end of Run.
func (s *Source) Run(ctx context.Context, sink sensors.Sink) error {
	ticker := time.NewTicker(s.config.Interval)
	defer ticker.Stop()
	for {
		if err := s.poll(ctx, sink); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("hwmon: handing over a message: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// poll reads every sensor once. It fails only where the sink does.
func (s *Source) poll(ctx context.Context, sink sensors.Sink) error {
	// Looked for afresh each time: sensors come and go with modules, USB and fans.
	found := make(map[string]bool)
	for _, sensor := range s.find() {
		found[sensor.source] = true
		m, err := s.read(sensor)
		s.note(sensor.source, err)
		if err != nil {
			continue
		}
		if err := sink.Put(ctx, m); err != nil {
			return err
		}
		s.messages.Add(1)
	}
	for source, state := range s.known {
		if found[source] {
			continue
		}
		s.failures.Add(1)
		if state != gone {
			s.known[source] = gone
			s.config.Logger.Warn("sensor is gone", "source", source)
		}
	}
	return nil
}

// note keeps account of a sensor, and logs only when it changes from one state to another.
func (s *Source) note(source string, err error) {
	before := s.known[source]
	if err == nil {
		s.known[source] = working
		if before == failing || before == gone {
			s.config.Logger.Info("sensor is back", "source", source)
		}
		return
	}
	s.failures.Add(1)
	s.known[source] = failing
	if before != failing {
		s.config.Logger.Warn("failed to read a sensor", "source", source, "err", err)
	}
}

// sensor is one file that is polled.
type sensor struct {
	source string
	path   string
	fault  string // the file that holds 1 while the driver believes the sensor broken; may not exist

	// keep returns the part of the file that is recorded; nil records all of it.
	keep func([]byte) []byte
	// decode returns what the file says. Where it fails, the payload is an entry all the same.
	decode func([]byte) ([]lightchain.Reading, error)
}

// find lists what is there to read.
func (s *Source) find() []sensor {
	root, device := s.config.Root, s.config.Device
	return append(append(chips(root, device), zones(root, device)...), system(root, device)...)
}

// decoderName is what entries call the reading of the kernel's files, with its version.
const decoderName = "hwmon/1"

func (s *Source) read(f sensor) (*sensors.Message, error) {
	payload, err := readFile(f.path)
	if err != nil {
		return nil, err
	}
	if len(payload) == 0 {
		return nil, fmt.Errorf("%s is empty", f.path)
	}
	if f.keep != nil {
		payload = f.keep(payload)
	}
	m := &sensors.Message{Source: f.source, Received: s.config.Now(), Payload: payload}
	if m.Readings, err = f.decode(payload); err != nil {
		m.Flags, m.Readings = lightchain.NotUnderstood, nil
		return m, nil
	}
	m.Decoder = decoderName
	if f.fault != "" && firstByte(f.fault) == '1' {
		for i := range m.Readings {
			m.Readings[i].Quality |= lightchain.Bad
		}
	}
	return m, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// firstByte returns the first byte of a file, 0 if there is none.
func firstByte(path string) byte {
	b, err := readFile(path)
	if err != nil || len(b) == 0 {
		return 0
	}
	return b[0]
}

// list returns the names in a folder, sorted; none if it is not there: a machine without sensors has no folder either.
func list(dir string) []fs.DirEntry {
	entries, _ := os.ReadDir(dir)
	return entries
}
