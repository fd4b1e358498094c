package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors/serial"
)

// pageConfig returns the configuration that a page shows, and what it shows of a command.
func pageConfig(t *testing.T, page, command string) (config string, shown []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/operate/" + page)
	if err != nil {
		t.Fatal(err)
	}
	within, commands := false, false
	for line := range strings.Lines(string(text)) {
		switch code, indented := strings.CutPrefix(line, "    "); {
		case indented && strings.HasPrefix(code, "$ "):
			within, commands = strings.TrimSpace(code[2:]) == command, true
		case indented && within:
			shown = append(shown, strings.Join(strings.Fields(code), " "))
		case indented && !commands:
			config += code
		}
	}
	return config, shown
}

// serialAgent runs the page's configuration with lines of this machine.
func serialAgent(t *testing.T) (a *Agent, c *Config, lines map[string]*testenv.Line) {
	t.Helper()
	text, _ := pageConfig(t, "serial.md", "")
	lines = map[string]*testenv.Line{}
	for i, name := range []string{"meter", "scale-1", "wind"} {
		lines[name] = testenv.NewLine(t)
		text = strings.Replace(text, fmt.Sprint("/dev/ttyUSB", i), lines[name].One, 1)
	}
	read, warnings, err := loadText(t, text, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	c = quickConfig(t)
	c.Serial = read.Serial
	a = startAgent(t, c)
	awaitOpen(t, a, "scale-1", true) // of the meter, whose silence is told, nobody can say so before it has sent something
	awaitOpen(t, a, "wind", true)
	return a, c, lines
}

func awaitOpen(t *testing.T, a *Agent, name string, open bool) {
	t.Helper()
	await(t, fmt.Sprintf("%s is open: %v", name, open), func() bool {
		s := runningSource(a, serial.SourceName(name)).status()
		return s.Connected == open && (open || s.State == api.SourceFailing)
	})
}

// shortly returns the readings of an entry in short.
func shortly(e *lightchain.Entry) (all []string) {
	for _, r := range e.Readings {
		text := fmt.Sprintf("%s %s = %s %s", r.Device, r.Name, r.Value, r.Unit)
		if r.Quality&lightchain.Bad != 0 {
			text += " bad"
		}
		all = append(all, strings.TrimSpace(text))
	}
	return all
}

// awaitReading says something again and again until it has come as an entry with readings: the first line may be torn.
func awaitReading(t *testing.T, a *Agent, line *testenv.Line, source, says string) *store.Record {
	t.Helper()
	var found *store.Record
	await(t, "a reading of "+says, func() bool {
		line.Say(says)
		for _, r := range entriesOf(t, a, source, 0) {
			if len(r.Entry.Readings) > 0 {
				found = r
			}
		}
		return found != nil
	})
	return found
}

// provesEntry has an auditor check one entry.
func provesEntry(t *testing.T, a *Agent, number uint64) *lightchain.Report {
	t.Helper()
	var proof *lightchain.Proof
	await(t, "the block", func() (sealed bool) {
		p, err := a.store.Prove(number, 0)
		proof = p
		return err == nil
	})
	report, err := proof.Verify(&lightchain.Trust{Chains: []lightchain.ChainID{a.store.Chain()}})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestTelegramsOfAMeterAndLinesOfAScaleAreRecordedAndProved(t *testing.T) {
	telegram, err := os.ReadFile("../sensors/testdata/p1.txt") // the configuration is read in another folder
	if err != nil {
		t.Fatal(err)
	}
	a, _, lines := serialAgent(t)
	r := awaitReading(t, a, lines["meter"], "serial:meter:", string(telegram))
	e := provesEntry(t, a, r.Number).Entry
	if e.Decoder != "p1/2" || string(e.Payload) != strings.TrimRight(string(telegram), "\r\n") {
		t.Errorf("%s of %q", e.Decoder, e.Payload)
	}
	if got := strings.Join(shortly(&e), "\n"); !strings.Contains(got, "meter 1-0:1.8.1 = 1581.123 kWh") || !strings.Contains(got, "meter 0-1:24.2.1 = 981.443 m3") {
		t.Errorf("got\n%s", got)
	}

	r = awaitReading(t, a, lines["scale-1"], "serial:scale-1:", "ST,GS,+ 012.345kg\r\n")
	e = provesEntry(t, a, r.Number).Entry
	if got := shortly(&e); len(got) != 1 || e.Decoder != "regexp/2" {
		t.Errorf("%s: %q", e.Decoder, got)
	}
	r = awaitReading(t, a, lines["wind"], "serial:wind:", "$WIMWV,084.0,R,10.4,N,A*1A\r\n")
	if e := r.Entry; e.Decoder != "nmea/2" || shortly(&e)[0] != "wind WIMWV.1 = 84.0" {
		t.Errorf("%s: %q", e.Decoder, shortly(&e))
	}

	// A digit that was misread is no value.
	spoilt := strings.Replace(string(telegram), "001581", "001580", 1)
	lines["meter"].Say(spoilt)
	await(t, "the spoilt telegram", func() bool {
		e := entriesOf(t, a, "serial:meter:", 1)[0].Entry
		return e.Flags&lightchain.NotUnderstood != 0 && len(e.Readings) == 0 && strings.Contains(string(e.Payload), "001580")
	})
	await(t, "the spoilt telegram in the status", func() bool {
		all, _ := a.unread.status()
		return len(all) > 0 && all[0].Source == "serial:meter" && all[0].Reason == "checksum"
	})
	// So is what stands between two.
	lines["meter"].Say("\x00\x01\x02" + string(telegram))
	await(t, "the loss", func() bool {
		for _, r := range entriesOf(t, a, "agent:gap", 0) {
			if strings.Contains(string(r.Entry.Payload), `"source":"serial:meter"`) && strings.Contains(string(r.Entry.Payload), "3 bytes came between telegrams") {
				return true
			}
		}
		return false
	})
}

// A line that is opened in the middle of a number must not give another number.
func TestTheEndOfALineIsNoValue(t *testing.T) {
	line := testenv.NewLine(t)
	c := quickConfig(t)
	c.Serial = []serial.Config{{Name: "scale"}}
	c.Serial[0].SetDefaults()
	c.Serial[0].Port = line.One
	a := startAgent(t, c)
	awaitOpen(t, a, "scale", true)
	r := awaitReading(t, a, line, "serial:scale:", "345\r\n12.345\r\n")
	_ = r
	for _, r := range entriesOf(t, a, "serial:scale:", 0) {
		e := r.Entry
		if torn := e.Flags&lightchain.NotUnderstood != 0; torn && (len(e.Readings) > 0 || e.Decoder != "" || string(e.Payload) != "345") {
			t.Errorf("%+v", e)
		}
	}
}

func TestALineThatIsUnpluggedIsAState(t *testing.T) {
	a, _, lines := serialAgent(t)
	scale := lines["scale-1"]
	awaitReading(t, a, scale, "serial:scale-1:", "ST,GS,+ 1kg\r\n")
	scale.Unplug()
	awaitOpen(t, a, "scale-1", false)
	await(t, "more attempts", func() bool {
		return runningSource(a, "serial:scale-1").status().State == api.SourceFailing && strings.Contains(runningSource(a, "serial:scale-1").status().Detail, "no such file")
	})
	scale.Plug()
	awaitOpen(t, a, "scale-1", true)
	var events []pollEvent
	await(t, "two entries", func() bool { events = pollEvents(t, a); return len(events) == 2 })
	if f := events[0]; f.Source != "serial:scale-1" || f.Group != "" || len(f.Failing) != 1 || f.Failing[0].Why != "the line has gone: was it unplugged?" {
		t.Errorf("failing: %+v", f)
	}
	if r := events[1].Recovered; len(r) != 1 || r[0].Polls < 2 || r[0].To <= r[0].From {
		t.Errorf("recovered: %+v", r)
	}
	last := entriesOf(t, a, "serial:scale-1:", 1)[0].Number
	await(t, "a telegram after that", func() bool {
		scale.Say("ST,GS,+ 2kg\r\n")
		return entriesOf(t, a, "serial:scale-1:", 1)[0].Number > last
	})
}

func TestThePageOfSerialLinesWasRun(t *testing.T) {
	_, shown := pageConfig(t, "serial.md", "edgeagent poll once scale-1")
	a, c, lines := serialAgent(t)
	client, err := api.Dial(t.Context(), c.API.Socket)
	if err != nil {
		t.Fatal(err)
	}
	scale := lines["scale-1"]
	awaitReading(t, a, scale, "serial:scale-1:", "ST,GS,+ 12.345kg\r\n")
	type result struct {
		polled []api.Polled
		err    error
	}
	answers := make(chan result, 1)
	go func() {
		polled, err := client.Poll(t.Context(), "scale-1")
		answers <- result{polled, err}
	}()
	var got result
	await(t, "the next telegram", func() bool {
		scale.Say("ST,GS,+ 12.345kg\r\n")
		select {
		case got = <-answers:
			return true
		default:
			return false
		}
	})
	if got.err != nil || len(got.polled) != 1 || len(got.polled[0].Readings) != 1 {
		t.Fatal(got)
	}
	r := got.polled[0].Readings[0]
	if line := fmt.Sprint("- - ", r.Device, " ", r.Name, " ", string(r.Value), " ", r.Unit); len(shown) != 2 || line != shown[1] {
		t.Errorf("got %q, the page says %q", line, shown)
	}
}

// How telegrams are read changes under the open line; a new line is opened anew.
func TestAReloadChangesHowTelegramsAreRead(t *testing.T) {
	a, c, lines := serialAgent(t)
	running := runningSource(a, "serial:scale-1")
	next := *c
	next.Serial = append([]serial.Config(nil), c.Serial...)
	next.Serial[1].Device = "balance"
	if r, err := a.Reload(&next); err != nil || len(r.Restarts) > 0 || runningSource(a, "serial:scale-1") != running {
		t.Fatal(r, err)
	}
	r := awaitReading(t, a, lines["scale-1"], "serial:scale-1:", "ST,GS,+ 1kg\r\n")
	if r.Entry.Readings[0].Device != "balance" {
		t.Errorf("got %q", shortly(&r.Entry))
	}
	next2 := next
	next2.Serial = append([]serial.Config(nil), next.Serial...)
	next2.Serial[1].BaudRate = 19200
	if r, err := a.Reload(&next2); err != nil || len(r.Restarts) != 1 || r.Restarts[0] != "serial:scale-1" {
		t.Errorf("%+v, %v", r, err)
	}
	awaitOpen(t, a, "scale-1", true)
	if all := entriesOf(t, a, "agent:poll", 0); len(all) > 0 {
		var e any
		_ = json.Unmarshal(all[0].Entry.Payload, &e)
		t.Errorf("a reload was told as a failure: %v", e)
	}
}

func TestASerialLineThatCannotWorkIsRefusedAtItsLine(t *testing.T) {
	const line = "[[serial]]\nname = \"a\"\nport = \"/dev/ttyUSB0\"\n"
	for _, test := range []struct{ text, want string }{
		{"[[serial]]\nport = \"/dev/ttyUSB0\"", `x.toml:1:3: serial: expected a name, such as name = "scale-1"`},
		{"[[serial]]\nname = \"a/b\"\nport = \"/dev/ttyUSB0\"", `x.toml:2:1: serial.name = "a/b": expected 1 to 64 letters, digits, '.', '_' and '-'`},
		{line + strings.Replace(line, "USB0", "USB1", 1), `x.toml:5:1: serial.name = "a": expected a name that no other has`},
		{line + strings.Replace(line, `"a"`, `"b"`, 1), `x.toml:6:1: serial.port = "/dev/ttyUSB0": expected another line: "a" has this one`},
		{"[[serial]]\nname = \"a\"", `x.toml:1:3: serial: expected port, such as port = "/dev/ttyUSB0"`},
		{"[[serial]]\nname = \"a\"\nport = \"ttyUSB0\"", `x.toml:3:1: serial.port = "ttyUSB0": expected the full path of a serial line, such as "/dev/ttyUSB0"`},
		{line + "baud_rate = 9601", `x.toml:4:1: serial.baud_rate = 9601: expected a rate that serial lines have`},
		{line + "frame = \"dsmr\"", `x.toml:4:1: serial.frame = "dsmr": expected "line", "nmea" or "p1"`},
		{line + "frame = \"p1\"\nterminator = \"x\"", `x.toml:5:1: serial.terminator = "x": it has no use here: it ends the telegrams of frame = "line"`},
		{line + "terminator = \"123456789\"", `x.toml:4:1: serial.terminator = "123456789": expected at most 8 bytes`},
		{line + "silence = \"100ms\"", `x.toml:4:1: serial.silence = "100ms": expected 1s to 366d`},
		{line + "dialect = \"regexp\"\npattern = \"(\"", `x.toml:5:1: serial.pattern = "(": error parsing regexp: missing closing )`},
		{line + "frame = \"p1\"\ncolumns = [\"a\"]", `x.toml:5:1: serial.columns = ["a"]: has no use with the dialect p1`},
	} {
		_, _, err := loadText(t, test.text, nil, nil)
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+test.want) {
			t.Errorf("%s\ngot  %v\nwant %s", test.text, err, test.want)
		}
	}
	both := "[[modbus]]\nname = \"m\"\ncontroller = \"file:///dev/ttyUSB0\"\n[[modbus.request]]\nname = \"g\"\nfields = [{ address = 0, name = \"x\", type = \"INT16\" }]\n" + line
	if _, _, err := loadText(t, both, nil, nil); err == nil || !strings.Contains(err.Error(), `serial.port = "/dev/ttyUSB0": expected another line: "m" has this one`) {
		t.Error(err)
	}
}
