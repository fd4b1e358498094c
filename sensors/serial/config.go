package serial

import (
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/sensors"
	"edgechain.example/sensors/serialline"
	"edgechain.example/tomlconf"
)

// Config is what an operator says of a line.
type Config struct {
	Name string `toml:"name"` // as in the source of its entries, and in place of a topic
	Port string `toml:"port"` // the device file

	BaudRate int    `toml:"baud_rate"`
	DataBits int    `toml:"data_bits"`
	Parity   string `toml:"parity"`
	StopBits int    `toml:"stop_bits"`

	Frame      string        `toml:"frame"`      // line, nmea or p1
	Terminator string        `toml:"terminator"` // of lines; "": CR, LF, or both
	Silence    time.Duration `toml:"silence"`    // after which no telegram is a failure; 0: never

	sensors.Config
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *Config) SetDefaults() {
	m := serialline.DefaultMode
	c.BaudRate, c.DataBits, c.Parity, c.StopBits = m.BaudRate, m.DataBits, m.Parity, m.StopBits
	c.Frame = frameLine
}

func (c *Config) mode() serialline.Mode {
	return serialline.Mode{BaudRate: c.BaudRate, DataBits: c.DataBits, Parity: c.Parity, StopBits: c.StopBits}
}

func (c *Config) framer() *framer { return &framer{form: c.Frame, terminator: []byte(c.Terminator)} }

// Decoding returns how telegrams are read: those of NMEA and P1 by their own dialects, where nothing else is said.
func (c *Config) Decoding() sensors.Config {
	d := c.Config
	if d.Dialect == "" && d.Preset == "" && c.Frame != frameLine {
		d.Dialect = c.Frame // they have the same names
	}
	return d
}

// SameLine reports whether two configurations name the same line and telegrams, and differ in how these are read alone.
func (c *Config) SameLine(other *Config) bool {
	return c.Name == other.Name && c.Port == other.Port && c.mode() == other.mode() && c.Frame == other.Frame &&
		c.Terminator == other.Terminator && c.Silence == other.Silence
}

const (
	mostName       = 64
	mostTerminator = 8
	mostSilence    = 366 * 24 * time.Hour
)

// Check refuses what cannot work, each key at its line; how telegrams are read is checked elsewhere. Names are those used before, to which
// c's is added; lines are the serial lines used before, with the name of who has them.
func (c *Config) Check(d *tomlconf.Document, names map[string]bool, lines map[string]string) {
	if c.Name == "" {
		d.Refuse(c, `expected a name, such as name = "scale-1"`)
	} else if len(c.Name) > mostName || strings.Trim(c.Name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		d.Refuse(&c.Name, "expected 1 to 64 letters, digits, '.', '_' and '-'")
	} else if names[c.Name] {
		d.Refuse(&c.Name, "expected a name that no other has")
	}
	names[c.Name] = true
	switch {
	case c.Port == "":
		d.Refuse(c, `expected port, such as port = "/dev/ttyUSB0"`)
	case !filepath.IsAbs(c.Port):
		d.Refuse(&c.Port, `expected the full path of a serial line, such as "/dev/ttyUSB0"`)
	default:
		if other, used := lines[c.Port]; used {
			d.Refuse(&c.Port, "expected another line: %q has this one", other)
		}
		lines[c.Port] = c.Name
	}
	serialline.CheckRate(d, &c.BaudRate)
	serialline.CheckForm(d, &c.DataBits, &c.Parity, &c.StopBits)
	tomlconf.OneOf(d, &c.Frame, frameLine, frameNMEA, frameP1)
	switch {
	case c.Terminator == "":
	case c.Frame != frameLine:
		d.Refuse(&c.Terminator, "it has no use here: it ends the telegrams of frame = %q", frameLine)
	case len(c.Terminator) > mostTerminator:
		d.Refuse(&c.Terminator, "expected at most %d bytes", mostTerminator)
	}
	if c.Silence != 0 {
		tomlconf.Between(d, &c.Silence, time.Second, mostSilence)
	}
}
