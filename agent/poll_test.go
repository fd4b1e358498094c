package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors/modbus"
)

// modbusOf returns the configuration of a device at an address, with one group for each name, of a register each.
func modbusOf(address string, groups ...string) modbus.Config {
	c := modbus.Config{Name: "line-1", Controller: "tcp://" + address}
	c.SetDefaults()
	c.Timeout = 5 * time.Second
	for i, name := range groups {
		r := modbus.Request{Name: name}
		r.SetDefaults()
		r.Interval = 100 * time.Millisecond
		f := modbus.Field{Address: 10 * i, Name: name + "-value", Type: "UINT16"}
		f.SetDefaults()
		f.Scale = 0.1
		r.Fields = []modbus.Field{f}
		c.Request = append(c.Request, r)
	}
	return c
}

// entriesOf returns the newest entries of a source, the newest first.
func entriesOf(t *testing.T, a *Agent, source string, limit int) (all []*store.Record) {
	t.Helper()
	for m, err := range a.store.Find(store.Query{Source: source, Reverse: true, Limit: limit}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Record)
	}
	return all
}

// pollEvents returns what was told of reads that fail or are answered again. That a group misses its interval is the machine's matter.
func pollEvents(t *testing.T, a *Agent) (all []pollEvent) {
	t.Helper()
	for _, r := range slices.Backward(entriesOf(t, a, "agent:poll", 0)) {
		var e pollEvent
		if err := json.Unmarshal(r.Entry.Payload, &e); err != nil {
			t.Fatal(err)
		}
		if e.Late == nil {
			all = append(all, e)
		}
	}
	return all
}

func runningSource(a *Agent, name string) *source {
	for _, s := range a.running() {
		if s.name == name {
			return s
		}
	}
	return nil
}

func TestWhatIsPolledIsRecordedAndItsAbsenceIsAState(t *testing.T) {
	device := testenv.ModbusTCP(t)
	c := quickConfig(t)
	c.Modbus = []modbus.Config{modbusOf(device.Address, "press")}
	a := startAgent(t, c)
	const source = "modbus:line-1:1/3/0"
	await(t, "an entry", func() bool { return len(entriesOf(t, a, source, 1)) > 0 })

	e := entriesOf(t, a, source, 1)[0].Entry
	want := []byte{1, 3, 0, 0, 0, 1, 3, 2, 0x03, 0xe8}
	if !slices.Equal(e.Payload, want) || e.Decoder != "modbus/1" || e.Flags != 0 || len(e.Readings) != 1 {
		t.Fatalf("got %+v", e)
	}
	r := e.Readings[0]
	if r.Device != "line-1/1" || r.Name != "press-value" || r.Value != lightchain.Float(100) || r.Timed || r.Meaning == nil {
		t.Errorf("got %+v", r)
	}
	var config configEvent
	if err := json.Unmarshal(entriesOf(t, a, "agent:config", 1)[0].Entry.Payload, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Tables) != 1 || config.Tables["modbus:line-1/press"] != r.Meaning.String() {
		t.Errorf("the configuration's entry has the tables %v, the reading means %v", config.Tables, r.Meaning)
	}

	newest := func() (e pollEvent) {
		if all := pollEvents(t, a); len(all) > 0 {
			e = all[len(all)-1]
		}
		return e
	}
	device.Stop()
	await(t, "the failure's entry", func() bool { return newest().Failing != nil })
	state := func() api.Source { return runningSource(a, "modbus:line-1").status() }
	await(t, "the failure in the status", func() bool { return state().State == api.SourceFailing })
	if s := state(); s.Connected || s.Since.IsZero() || s.Groups[0].Failing != 1 || !strings.Contains(s.Detail, "group press: 1/3/0: ") {
		t.Errorf("status: %+v", s)
	}
	fails := state().Groups[0].Failed
	await(t, "more polls that fail", func() bool { return state().Groups[0].Failed > fails+2 })
	last := entriesOf(t, a, source, 1)[0]
	device.Start()
	await(t, "the recovery's entry", func() bool { return newest().Recovered != nil })
	events := pollEvents(t, a)
	events = events[len(events)-2:]
	if f := events[0]; f.Source != "modbus:line-1" || f.Group != "press" || len(f.Failing) != 1 || f.Failing[0].Read != "1/3/0" || f.Failing[0].Why == "" || f.Recovered != nil {
		t.Errorf("failing: %+v", f)
	}
	if r := events[1].Recovered; len(r) != 1 || r[0].Read != "1/3/0" || r[0].Polls < 3 || r[0].From <= last.Entry.Received || r[0].To <= r[0].From {
		t.Errorf("recovered: %+v after an entry at %d", r, last.Entry.Received)
	}
	// Between them nothing old was recorded again.
	for _, rec := range entriesOf(t, a, source, 0) {
		if r := events[1].Recovered[0]; rec.Entry.Received > r.From && rec.Entry.Received < r.To {
			t.Errorf("entry %d was recorded while the device was away", rec.Number)
		}
	}
	await(t, "the recovery in the status", func() bool { s := state(); return s.Connected && s.Since.IsZero() && s.Groups[0].Failing == 0 })
}

func TestAReloadChangesWhatIsPolled(t *testing.T) {
	device := testenv.ModbusTCP(t)
	c := quickConfig(t)
	c.Modbus = []modbus.Config{modbusOf(device.Address, "one")}
	a := startAgent(t, c)
	newest := func(source string) uint64 {
		if all := entriesOf(t, a, source, 1); len(all) > 0 {
			return all[0].Number
		}
		return 0
	}
	await(t, "an entry", func() bool { return newest("modbus:line-1:1/3/0") > 0 })
	running := runningSource(a, "modbus:line-1")

	next := *c
	next.Modbus = []modbus.Config{modbusOf(device.Address, "one", "two")}
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	await(t, "an entry of the new group", func() bool { return newest("modbus:line-1:1/3/10") > 0 })
	if runningSource(a, "modbus:line-1") != running {
		t.Error("the connection was begun anew for a group")
	}
	await(t, "the entry about the configuration", func() bool { return len(entriesOf(t, a, "agent:config", 0)) == 2 })

	next2 := next
	next2.Modbus = []modbus.Config{modbusOf(device.Address, "other")}
	next2.Modbus[0].Request[0].Fields[0].Address = 20
	if r, err := a.Reload(&next2); err != nil || len(r.Restarts) > 0 {
		t.Fatal(r, err)
	}
	await(t, "an entry of the group that took their place", func() bool { return newest("modbus:line-1:1/3/20") > 0 })
	gone := newest("modbus:line-1:1/3/10")
	last := newest("modbus:line-1:1/3/20")
	await(t, "three more", func() bool { return newest("modbus:line-1:1/3/20") > last+3 })
	if newest("modbus:line-1:1/3/10") != gone {
		t.Error("a group that is gone is polled")
	}

	next3 := next2
	next3.Modbus = []modbus.Config{modbusOf(device.Address, "other")}
	next3.Modbus[0].Between = time.Millisecond
	if r, err := a.Reload(&next3); err != nil || !slices.Equal(r.Restarts, []string{"modbus:line-1"}) {
		t.Errorf("another connection: %+v, %v", r, err)
	}
	next4 := next3
	next4.Modbus = nil
	if r, err := a.Reload(&next4); err != nil || !slices.Equal(r.Stops, []string{"modbus:line-1"}) {
		t.Errorf("none: %+v, %v", r, err)
	}
}

func TestASourceIsAskedOnce(t *testing.T) {
	device := testenv.ModbusTCP(t)
	c := quickConfig(t)
	c.Modbus = []modbus.Config{modbusOf(device.Address, "one", "two")}
	for i := range c.Modbus[0].Request {
		c.Modbus[0].Request[i].Interval = 24 * time.Hour
	}
	c.Modbus[0].Request[1].Fields[0].Address = 60000
	a := startAgent(t, c)
	await(t, "the first polls", func() bool { return len(pollEvents(t, a)) == 1 })
	before := a.store.Next()
	client, err := api.Dial(t.Context(), c.API.Socket)
	if err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func(string) ([]api.Polled, error){
		"the agent":  func(name string) ([]api.Polled, error) { return client.Poll(t.Context(), name) },
		"by oneself": func(name string) ([]api.Polled, error) { return PollOnce(t.Context(), c, name) },
	} {
		all, err := ask("line-1")
		if err != nil || len(all) != 2 {
			t.Fatalf("%s: %+v, %v", name, all, err)
		}
		if p := all[0]; p.Group != "one" || p.Source != "modbus:line-1:1/3/0" || len(p.Payload) != 10 || p.Received.IsZero() || len(p.Readings) != 1 || string(p.Readings[0].Value) != "100.0" || p.Error != "" {
			t.Errorf("%s: %+v", name, p)
		}
		if p := all[1]; p.Group != "two" || p.Error != "exception 2, illegal data address" || !p.Refused || p.Source != "" {
			t.Errorf("%s: %+v", name, p)
		}
		if one, err := ask("modbus:line-1/two"); err != nil || len(one) != 1 || one[0].Group != "two" {
			t.Errorf("%s: %+v, %v", name, one, err)
		}
		for _, none := range []string{"line-2", "line-1/three", ""} {
			if _, err := ask(none); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %q: %v", name, none, err)
			}
		}
	}
	if a.store.Next() != before {
		t.Error("something was recorded of it")
	}
}

func TestWhatCannotBePolledIsRefusedAtItsLine(t *testing.T) {
	const bus = "[[modbus]]\nname = \"a\"\ncontroller = \"tcp://plc\"\n"
	group := func(keys, fields string) string {
		return bus + "[[modbus.request]]\nname = \"g\"\n" + keys + "fields = [{ " + fields + " }]\n"
	}
	const field = `address = 0, name = "x", type = "UINT16"`
	types := strings.Join(modbus.Types(), ", ")
	for _, test := range []struct{ text, want string }{
		{"[[modbus]]\ncontroller = \"tcp://plc\"\n[[modbus.request]]\nname = \"g\"\nfields = [{ " + field + " }]", `x.toml:1:3: modbus: expected a name, such as name = "line-1"`},
		{strings.Replace(group("", field), `"a"`, `"a:b"`, 1), `x.toml:2:1: modbus.name = "a:b": expected 1 to 64 letters, digits, '.', '_' and '-'`},
		{group("", field) + group("", field), `x.toml:8:1: modbus.name = "a": expected a name that no other has`},
		{strings.Replace(group("", field), "tcp://plc", "udp://plc", 1), `x.toml:3:1: modbus.controller = "udp://plc": expected "tcp://" with a host, such as "tcp://192.168.1.10:502", or "file://" with the full path of a serial line, such as "file:///dev/ttyUSB0"`},
		{bus, `x.toml:1:3: modbus: expected [[modbus.request]] below it: nothing would be polled`},
		{bus + "parity = \"even\"\n[[modbus.request]]\nname = \"g\"\nfields = [{ " + field + " }]", `x.toml:4:1: modbus.parity = "even": expected "N", "E" or "O"`},
		{bus + "timeout = \"1m\"\n[[modbus.request]]\nname = \"g\"\ninterval = \"2m\"\nfields = [{ " + field + " }]", `x.toml:4:1: modbus.timeout = "1m": expected 10ms to 30s`},
		{bus + "[[modbus.request]]\nfields = [{ " + field + " }]", `x.toml:4:10: modbus.request: expected a name, such as name = "press"`},
		{strings.Replace(group("", field), "tcp://plc", "file:///dev/ttyS0\"\nbaud_rate = 12345\nparity = \"N", 1), `x.toml:4:1: modbus.baud_rate = 12345: expected a rate that serial lines have, such as 9600, 19200, 38400, 57600 or 115200`},
		{strings.Replace(group("", field), "tcp://plc", "tcp://plc:99999", 1), `x.toml:3:1: modbus.controller = "tcp://plc:99999": expected "tcp://" with a host`},
		{group("device = \"a\\u0000b\"\n", field), `x.toml:6:1: modbus.request.device = "a\x00b": expected at most 256 bytes without control characters`},
		{group("", field+`, unit = "`+strings.Repeat("u", 257)+`"`), `x.toml:6:55: modbus.request.fields.unit = `},
		{group("slave_id = 256\n", field), `x.toml:6:1: modbus.request.slave_id = 256: expected 0 to 255`},
		{strings.Replace(group("slave_id = 0\n", field), "tcp://plc", "file:///dev/ttyUSB0", 1), `x.toml:6:1: modbus.request.slave_id = 0: expected 1 to 247`},
		{group("register = \"coils\"\n", field), `x.toml:6:1: modbus.request.register = "coils": expected "coil", "discrete", "holding" or "input"`},
		{group("byte_order = \"BACD\"\n", field), `x.toml:6:1: modbus.request.byte_order = "BACD": expected "ABCD", "DCBA", "BADC" or "CDAB"`},
		{group("interval = \"1ms\"\n", field), `x.toml:6:1: modbus.request.interval = "1ms": expected 10ms to 24h`},
		{group("deadline = \"500ms\"\n", field), `x.toml:6:1: modbus.request.deadline = "500ms": expected 0, for the interval, or timeout, 1s, or more: the first answer may take so long`},
		{group("deadline = \"20s\"\n", field), `x.toml:6:1: modbus.request.deadline = "20s": expected at most interval, 10s`},
		{group("optimization_max_register_fill = 125\n", field), `x.toml:6:1: modbus.request.optimization_max_register_fill = 125: expected 0 to 124`},
		{bus + "[[modbus.request]]\nname = \"g\"\n", `x.toml:4:10: modbus.request: expected fields, such as fields = [{ address = 0, name = "temperature", type = "INT16" }]`},
		{group("", `address = 65536, name = "x", type = "UINT16"`), `x.toml:6:13: modbus.request.fields.address = 65536: expected 0 to 65535`},
		{group("", `address = 65535, name = "x", type = "FLOAT32"`), `x.toml:6:13: modbus.request.fields.address = 65535: expected 65534 at most: the last register is 65535, and FLOAT32 has 2`},
		{group("", `address = 0, type = "UINT16"`), `x.toml:6:11: modbus.request.fields: expected a name, such as name = "temperature"`},
		{group("", `address = 0, name = "x"`), `x.toml:6:11: modbus.request.fields: expected type, one of ` + types},
		{group("", `address = 0, name = "x", type = "int16"`), `x.toml:6:38: modbus.request.fields.type = "int16": expected "INT16"`},
		{group("", `address = 0, name = "x", type = "INT17"`), `x.toml:6:38: modbus.request.fields.type = "INT17": expected one of ` + types},
		{group("", `address = 0, name = "x", type = "BIT", bit = 16`), `x.toml:6:52: modbus.request.fields.bit = 16: expected 0 to 15`},
		{group("", `address = 0, name = "x", type = "INT16", bit = 1`), `x.toml:6:54: modbus.request.fields.bit = 1: it has no use here: it is for the type BIT`},
		{group("", `address = 0, name = "x", type = "INT16", length = 2`), `x.toml:6:54: modbus.request.fields.length = 2: it has no use here: it is how many registers a STRING has`},
		{group("", `address = 0, name = "x", type = "STRING", length = 126`), `x.toml:6:55: modbus.request.fields.length = 126: expected 1 to 125`},
		{group("", `address = 0, name = "x", type = "STRING", scale = 2`), `x.toml:6:55: modbus.request.fields.scale = 2: it has no use here: STRING is no number`},
		{group("", `address = 0, name = "x", type = "INT16", scale = 0`), `x.toml:6:54: modbus.request.fields.scale = 0: expected another number: all values would be the offset`},
		{group("register = \"coil\"\n", field), `x.toml:7:38: modbus.request.fields.type = "UINT16": it has no use here: a coil and a discrete input are true or false`},
		{group("", field+" }, { "+field), `x.toml:6:72: modbus.request.fields.name = "x": expected a name that no other reading of "a/1" has: two series would become one`},
		{group("", field+", colour = 1"), `x.toml:6:55: unknown key modbus.request.fields.colour; expected address, name`},
	} {
		_, _, err := loadText(t, test.text, nil, nil)
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+test.want) {
			t.Errorf("%s\ngot  %v\nwant %s", test.text, err, test.want)
		}
	}
	line := strings.Replace(group("", field), "tcp://plc", "file:///dev/ttyS0", 1)
	_, _, err := loadText(t, line+strings.Replace(line, `"a"`, `"b"`, 1), nil, nil)
	if want := `x.toml:9:1: modbus.controller = "file:///dev/ttyS0": expected another line: "a" has this one, and its requests may go to several units`; fmt.Sprint(err) != want {
		t.Errorf("got %v", err)
	}
	other := strings.Replace(strings.Replace(group("device = \"a/1\"\n", field), "tcp://plc", "tcp://plc2", 1), `"a"`, `"b"`, 1)
	_, _, err = loadText(t, group("", field)+other, nil, nil)
	if want := `x.toml:13:26: modbus.request.fields.name = "x": expected a name that no other reading of "a/1" has: two series would become one`; fmt.Sprint(err) != want {
		t.Errorf("got %v", err)
	}
	if _, warnings, err := loadText(t, group("interval = \"500ms\"\n", field), nil, nil); err != nil || len(warnings) != 1 ||
		!strings.Contains(warnings[0].Error(), "it is below timeout, 1s: a device that says nothing for a moment costs more than one interval") {
		t.Error(warnings, err)
	}
}

// The page's configuration does what the page says.
func TestThePageOfModbusWasRun(t *testing.T) {
	page, err := os.ReadFile("../docs/operate/modbus.md")
	if err != nil {
		t.Fatal(err)
	}
	var config, shown []string
	at := &config
	for line := range strings.Lines(string(page)) {
		switch code, indented := strings.CutPrefix(line, "    "); {
		case strings.HasPrefix(line, "    $ edgeagent poll once line-1"):
			at = &shown
		case indented:
			*at = append(*at, code)
		}
	}
	here, there := testenv.SerialLine(t)
	text := strings.NewReplacer("192.168.1.10:502", testenv.ModbusTCP(t).Address, "/dev/ttyUSB0", here, `timeout = "1s"`, "").Replace(strings.Join(config, ""))
	testenv.ModbusRTU(t, there)
	c, warnings, err := loadText(t, text, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	var got []string
	polled, err := PollOnce(t.Context(), c, "line-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range polled {
		for _, r := range p.Readings {
			got = append(got, strings.Join(strings.Fields(fmt.Sprint(p.Group, " ", p.Read, " ", r.Device, " ", r.Name, " ", strings.Trim(string(r.Value), `"`), " ", r.Unit)), " "))
		}
	}
	var want []string
	for _, line := range shown[1:] {
		want = append(want, strings.Join(strings.Fields(line), " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nthe page says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	testenv.Await(t, "the meter answers", func() bool {
		polled, err := PollOnce(t.Context(), c, "rs485/meter")
		return err == nil && len(polled) == 1 && len(polled[0].Readings) == 1 && string(polled[0].Readings[0].Value) == "1.3153276e+06"
	})
}
