package modbus

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"edgechain.example/lightchain"
	"edgechain.example/sensors/poll"
	"edgechain.example/sensors/serialline"
	"edgechain.example/tomlconf"
)

// Config is what an operator says of a bus: one connection to a host, or one serial line. The keys are Telegraf's where it has
// them.
type Config struct {
	Name       string `toml:"name"`       // as in the source of its entries
	Controller string `toml:"controller"` // tcp://host:port, or file:///dev/…

	// Of a serial line.
	BaudRate int    `toml:"baud_rate"`
	DataBits int    `toml:"data_bits"`
	Parity   string `toml:"parity"`
	StopBits int    `toml:"stop_bits"`

	Timeout      time.Duration `toml:"timeout"` // for one answer, and for the connection
	AfterConnect time.Duration `toml:"pause_after_connect"`
	Between      time.Duration `toml:"pause_between_requests"`

	Request []Request `toml:"request"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *Config) SetDefaults() {
	c.BaudRate, c.DataBits, c.Parity, c.StopBits = 9600, 8, "N", 1
	c.Timeout = time.Second
}

// Request is a group: bits or registers of one unit that are read together, and what they mean.
type Request struct {
	Name      string        `toml:"name"`
	SlaveID   int           `toml:"slave_id"`
	Register  string        `toml:"register"` // coil, discrete, holding or input
	ByteOrder string        `toml:"byte_order"`
	Interval  time.Duration `toml:"interval"`
	Deadline  time.Duration `toml:"deadline"` // 0: the interval
	Device    string        `toml:"device"`   // "": the bus's name, a slash, and the unit
	Fill      int           `toml:"optimization_max_register_fill"`
	Fields    []Field       `toml:"fields"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (r *Request) SetDefaults() {
	r.SlaveID, r.Register, r.ByteOrder, r.Interval = 1, "holding", "ABCD", 10*time.Second
}

// Field is one reading.
type Field struct {
	Address int     `toml:"address"` // on the wire, counted from 0
	Name    string  `toml:"name"`
	Type    string  `toml:"type"`   // one of [Types]; none of a bit
	Length  int     `toml:"length"` // registers of STRING
	Bit     int     `toml:"bit"`    // of BIT, 0 is the lowest
	Scale   float64 `toml:"scale"`  // the value is what was read, times scale,
	Offset  float64 `toml:"offset"` // and offset
	Unit    string  `toml:"unit"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (f *Field) SetDefaults() { f.Length, f.Scale = 1, 1 }

// length is how many registers the field has.
func (f *Field) length() int {
	if n := types[f.Type].registers; n > 0 {
		return n
	}
	return f.Length
}

// device is whose readings those of a group are.
func (r *Request) device(bus string) string {
	return cmp.Or(r.Device, fmt.Sprintf("%s/%d", bus, r.SlaveID))
}

// Tables returns the tables of all groups, by the groups' names.
func (c *Config) Tables() map[string]*Table {
	all := make(map[string]*Table, len(c.Request))
	for i := range c.Request {
		all[c.Request[i].Name] = newTable(c.Name, &c.Request[i])
	}
	return all
}

// SameBus reports whether two configurations name the same connection or line, and differ in what is polled alone.
func (c *Config) SameBus(other *Config) bool {
	a, b := *c, *other
	a.Request, b.Request = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// most is what a configuration may hold.
const (
	mostName     = 64
	mostFields   = 1000 // readings of one answer
	mostInterval = 24 * time.Hour
)

// Check refuses what cannot work, each key at its line, and warns of what is hardly meant. Names are those used before, to which
// c's is added; lines are the serial lines used before, with the name of their bus, and readings what is read already, by device
// and name.
func (c *Config) Check(d *tomlconf.Document, names map[string]bool, lines map[string]string, readings map[[2]string]bool) {
	if c.Name == "" {
		d.Refuse(c, `expected a name, such as name = "line-1"`)
	} else if !isName(c.Name) {
		d.Refuse(&c.Name, nameForm)
	} else if names[c.Name] {
		d.Refuse(&c.Name, "expected a name that no other has")
	}
	names[c.Name] = true
	if !Available {
		d.Refuse(c, "%v", ErrLeftOut)
	}
	at, err := parseController(c.Controller)
	if c.Controller == "" {
		d.Refuse(c, `expected controller, such as controller = "tcp://192.168.1.10:502"`)
	} else if err != nil {
		d.Refuse(&c.Controller, "%v", err)
	}
	if at.serial {
		serialline.CheckRate(d, &c.BaudRate)
		if other, used := lines[at.at]; used {
			d.Refuse(&c.Controller, "expected another line: %q has this one, and its requests may go to several units", other)
		}
		lines[at.at] = c.Name
	}
	serialline.CheckForm(d, &c.DataBits, &c.Parity, &c.StopBits)
	tomlconf.Between(d, &c.Timeout, leastTimeout, mostTimeout)
	tomlconf.Between(d, &c.AfterConnect, 0, mostPause)
	tomlconf.Between(d, &c.Between, 0, mostPause)
	if len(c.Request) == 0 {
		d.Refuse(c, "expected [[modbus.request]] below it: nothing would be polled")
	}
	groups := map[string]bool{}
	for i := range c.Request {
		c.Request[i].check(d, c, at.serial, groups, readings)
	}
}

const nameForm = "expected 1 to 64 letters, digits, '.', '_' and '-'"

func isName(s string) bool {
	return s != "" && len(s) <= mostName && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

const textForm = "expected at most 256 bytes without control characters"

// isText reports whether a text can stand in each reading.
func isText(s string) bool { return len(s) <= 256 && !strings.ContainsFunc(s, unicode.IsControl) }

func (r *Request) check(d *tomlconf.Document, c *Config, serial bool, groups map[string]bool, readings map[[2]string]bool) {
	if r.Name == "" {
		d.Refuse(r, `expected a name, such as name = "press"`)
	} else if !isName(r.Name) {
		d.Refuse(&r.Name, nameForm)
	} else if groups[r.Name] {
		d.Refuse(&r.Name, "expected a name that no other request of %q has", c.Name)
	}
	groups[r.Name] = true
	if serial {
		tomlconf.Between(d, &r.SlaveID, 1, 247) // 0 is to all, who do not answer
	} else {
		tomlconf.Between(d, &r.SlaveID, 0, 255)
	}
	tomlconf.OneOf(d, &r.Register, "coil", "discrete", "holding", "input")
	tomlconf.OneOf(d, &r.ByteOrder, byteOrders...)
	tomlconf.Between(d, &r.Interval, 10*time.Millisecond, mostInterval)
	switch {
	case r.Deadline < 0 || r.Deadline > mostInterval:
		tomlconf.Between(d, &r.Deadline, 0, mostInterval)
	case r.Deadline > 0 && r.Deadline < c.Timeout:
		d.Refuse(&r.Deadline, "expected 0, for the interval, or timeout, %v, or more: the first answer may take so long", c.Timeout)
	case r.Deadline > r.Interval:
		d.Refuse(&r.Deadline, "expected at most interval, %v", r.Interval)
	}
	if r.Deadline == 0 && r.Interval < c.Timeout {
		d.Warn(&r.Interval, "it is below timeout, %v: a device that says nothing for a moment costs more than one interval", c.Timeout)
	}
	if !isText(r.Device) {
		d.Refuse(&r.Device, textForm)
	}
	f, known := functionNames[r.Register]
	if !known {
		return
	}
	tomlconf.Between(d, &r.Fill, 0, f.most()-1)
	if len(r.Fields) == 0 {
		d.Refuse(r, `expected fields, such as fields = [{ address = 0, name = "temperature", type = "INT16" }]`)
	}
	if len(r.Fields) > mostFields {
		d.Refuse(&r.Fields[mostFields], "expected at most %d in one request", mostFields)
	}
	for i := range r.Fields {
		r.Fields[i].check(d, f)
		if reading := [2]string{r.device(c.Name), r.Fields[i].Name}; reading[1] != "" {
			if readings[reading] {
				d.Refuse(&r.Fields[i].Name, "expected a name that no other reading of %q has: two series would become one", reading[0])
			}
			readings[reading] = true
		}
	}
}

func (f *Field) check(d *tomlconf.Document, function Function) {
	switch {
	case f.Name == "":
		d.Refuse(f, `expected a name, such as name = "temperature"`)
	case !isText(f.Name):
		d.Refuse(&f.Name, textForm)
	}
	if !isText(f.Unit) {
		d.Refuse(&f.Unit, textForm)
	}
	tomlconf.Between(d, &f.Address, 0, math.MaxUint16)
	if function.Bits() {
		for _, k := range []struct {
			field any
			set   bool
		}{{&f.Type, f.Type != ""}, {&f.Length, f.Length != 1}, {&f.Bit, f.Bit != 0}, {&f.Scale, f.Scale != 1}, {&f.Offset, f.Offset != 0}} {
			if k.set {
				d.Refuse(k.field, "it has no use here: a coil and a discrete input are true or false")
			}
		}
		return
	}
	t, known := types[f.Type]
	if f.Type == boolType || !known {
		names := Types()
		if f.Type == "" {
			d.Refuse(f, "expected type, one of %s", strings.Join(names, ", "))
		} else if at := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, f.Type) }); at >= 0 {
			d.Refuse(&f.Type, "expected %q", names[at])
		} else {
			d.Refuse(&f.Type, "expected one of %s", strings.Join(names, ", "))
		}
		return
	}
	if f.Type == stringType {
		tomlconf.Between(d, &f.Length, 1, MaxRegisters)
	} else if f.Length != 1 {
		d.Refuse(&f.Length, "it has no use here: it is how many registers a STRING has")
	}
	if f.Type == "BIT" {
		tomlconf.Between(d, &f.Bit, 0, 15)
	} else if f.Bit != 0 {
		d.Refuse(&f.Bit, "it has no use here: it is for the type BIT")
	}
	if !t.number {
		if f.Scale != 1 {
			d.Refuse(&f.Scale, "it has no use here: %s is no number", f.Type)
		}
		if f.Offset != 0 {
			d.Refuse(&f.Offset, "it has no use here: %s is no number", f.Type)
		}
	}
	if f.Scale == 0 {
		d.Refuse(&f.Scale, "expected another number: all values would be the offset")
	}
	if last := f.Address + f.length() - 1; f.Address <= math.MaxUint16 && last > math.MaxUint16 {
		d.Refuse(&f.Address, "expected %d at most: the last register is 65535, and %s has %d", math.MaxUint16-f.length()+1, f.Type, f.length())
	}
}

// mostFields is within what an entry can hold.
var _ [lightchain.MaxReadings - mostFields]struct{}

// groupsOf returns the groups as package poll takes them; ask does one of the reads.
func groupsOf(c *Config, ask askFunc) (groups []poll.Group) {
	tables := c.Tables()
	for i := range c.Request {
		r := &c.Request[i]
		t := tables[r.Name]
		g := poll.Group{Name: r.Name, Device: strconv.Itoa(r.SlaveID), Interval: r.Interval, Deadline: r.Deadline, Form: fmt.Sprint(r.Fill, "\n", t.Text())}
		for _, span := range t.Spans(r.Fill) {
			g.Reads = append(g.Reads, ask(c.Name, t, span))
		}
		groups = append(groups, g)
	}
	return groups
}

type askFunc func(bus string, t *Table, span Span) poll.Read
