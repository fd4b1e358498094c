package tomlconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// gateway is a target with every kind of field.
type gateway struct {
	Block  block    `toml:"block"`
	Store  store    `toml:"store"`
	Broker []broker `toml:"broker"`
}

type block struct {
	Interval time.Duration `toml:"interval"`
	Most     int           `toml:"max_entries"`
	Share    float64       `toml:"share"`
}

type store struct {
	Reserve  Size   `toml:"reserve"`
	Volatile bool   `toml:"allow_volatile"`
	Data     string `toml:"data"`
}

type broker struct {
	Name    string   `toml:"name"`
	Servers []string `toml:"servers"`
	QoS     int      `toml:"qos"`
	login
	Topics []struct {
		Topic string `toml:"topic"`
	} `toml:"topic_parsing"`
	Units map[string]string `toml:"units"`
}

type login struct {
	Username string `toml:"username"`
	Password Secret `toml:"password"`
}

func (b *broker) SetDefaults() { b.QoS = 1 }

func defaults() gateway {
	return gateway{
		Block: block{Interval: time.Minute, Most: 4096, Share: 0.5},
		Store: store{Reserve: 64 * MiB, Data: "/var/lib/x"},
	}
}

// read reads texts as files a.toml, b.toml and so on, and returns errors without the folder's name.
func read(t *testing.T, source Source, texts ...string) (*gateway, *Document, string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for i, text := range texts {
		name := string(rune('a'+i)) + ".toml"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		source.Files = append(source.Files, name)
	}
	value := defaults()
	g := &value
	d, err := Read(g, source)
	if err == nil {
		err = d.Err()
	}
	if err == nil {
		return g, d, ""
	}
	return g, d, err.Error()
}

func TestWhatIsNotWrittenKeepsItsDefault(t *testing.T) {
	g, _, problems := read(t, Source{}, "[block]\ninterval = \"1h30m\"\n")
	want := defaults()
	want.Block.Interval = 90 * time.Minute
	if problems != "" || !reflect.DeepEqual(*g, want) {
		t.Errorf("got %+v, %s", *g, problems)
	}
}

func TestEveryKindOfValueIsRead(t *testing.T) {
	g, _, problems := read(t, Source{}, `
block = { interval = "7d", max_entries = 0x10, share = 1 }
store.reserve = "2 GiB"
store.allow_volatile = true
[[broker]]
name = "line"
servers = ["tcp://a:1883",
           "tcp://b:1883"]
password = 'p"w'
units = { temperature = "Cel", "a b" = "${NONE:-x}" }
[[broker.topic_parsing]]
topic = "+/a"
[[broker.topic_parsing]]
topic = "+/b"
[[broker]]
qos = 2
`)
	if problems != "" {
		t.Fatal(problems)
	}
	const want = `block.interval = "7d"
block.max_entries = 16
block.share = 1
store.reserve = "2GiB"
store.allow_volatile = true
store.data = "/var/lib/x"
broker[0].name = "line"
broker[0].servers = ["tcp://a:1883", "tcp://b:1883"]
broker[0].qos = 1
broker[0].username = ""
broker[0].password = "(not shown)"
broker[0].topic_parsing[0].topic = "+/a"
broker[0].topic_parsing[1].topic = "+/b"
broker[0].units = {"a b" = "x", temperature = "Cel"}
broker[1].name = ""
broker[1].servers = []
broker[1].qos = 2
broker[1].username = ""
broker[1].password = ""
broker[1].units = {}
`
	if got := Format(g); got != want {
		t.Errorf("got\n%s", got)
	}
	if g.Broker[0].Password != `p"w` {
		t.Error("the secret's own text is not what was written")
	}
}

func TestMistakesAreNamedWithPlaceAndForm(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "[block]\nintervall = \"1s\"",
			`a.toml:2:1: unknown key block.intervall; did you mean interval?`},
		{"swapped letters", "[block]\n  inteval = \"1s\"",
			`a.toml:2:3: unknown key block.inteval; did you mean interval?`},
		{"unlike any key", "[block]\nperiod = 1",
			`a.toml:2:1: unknown key block.period; expected interval, max_entries or share`},
		{"unknown table", "[blok]\ninterval = \"1s\"",
			`a.toml:1:2: unknown key blok; did you mean block?`},
		{"key with a dot", "[block]\n\"a.b\" = 1",
			`a.toml:2:1: unknown key block."a.b"; expected interval, max_entries or share`},
		{"unknown key in the second element", "[[broker]]\nname = \"a\"\n[[broker]]\nnmae = \"b\"",
			`a.toml:4:1: unknown key broker.nmae; did you mean name?`},
		{"no quotes", "[block]\ninterval = 60s # a minute",
			`a.toml:2:14: strings must be quoted; texts, durations and sizes stand in quotes: interval = "60s"`},
		{"no quotes, no number", "[store]\ndata = /srv",
			`a.toml:2:8: unexpected character U+002F '/' at start of value; texts, durations and sizes stand in quotes: data = "/srv"`},
		{"no unit", "[block]\ninterval = 60",
			`a.toml:2:1: block.interval = 60: expected a duration with its unit, such as "1m"`},
		{"negative duration", "[block]\ninterval = \"-5s\"",
			`a.toml:2:1: block.interval = "-5s": expected a duration with its unit, such as "1m"`},
		{"days in parts", "[block]\ninterval = \"1.5d\"",
			`a.toml:2:1: block.interval = "1.5d": expected a duration with its unit, such as "1m"`},
		{"bits", "[store]\nreserve = \"64Mb\"",
			`a.toml:2:1: store.reserve: "64Mb": expected a size with its unit, such as "64MiB", "256KiB" or "10MB"`},
		{"too large a size", "[store]\nreserve = \"9999999999TiB\"",
			`a.toml:2:1: store.reserve: "9999999999TiB": too large: the largest size is "8388607TiB"`},
		{"too large a number for a size", "[store]\nreserve = \"99999999999999999999 B\"",
			`a.toml:2:1: store.reserve: "99999999999999999999 B": too large: the largest size is "8388607TiB"`},
		{"text for a number", "[block]\nmax_entries = \"many\"",
			`a.toml:2:1: block.max_entries = "many": expected a whole number, such as 4096`},
		{"a float for a whole number", "[block]\nmax_entries = 1.5",
			`a.toml:2:1: block.max_entries = 1.5: expected a whole number, such as 4096`},
		{"infinite", "[block]\nshare = inf",
			`a.toml:2:1: block.share = +Inf: expected a number, such as 0.5`},
		{"text for a truth", "[store]\nallow_volatile = \"yes\"",
			`a.toml:2:1: store.allow_volatile = "yes": expected true or false`},
		{"number for a text", "[store]\ndata = 7",
			`a.toml:2:1: store.data = 7: expected a text in quotes, such as "/var/lib/x"`},
		{"list for a text", "[store]\ndata = [\"a\"]",
			`a.toml:2:1: store.data = […]: expected a text in quotes, such as "/var/lib/x"`},
		{"number for a secret", "[[broker]]\npassword = 12345",
			`a.toml:2:1: broker.password: expected a text in quotes, such as "text"`},
		{"text for a list", "[[broker]]\nservers = \"tcp://a\"",
			`a.toml:2:1: broker.servers: expected a list in brackets, such as ["text"]`},
		{"wrong element", "[[broker]]\nservers = [\n  \"tcp://a\",\n  5,\n]",
			`a.toml:4:3: broker.servers = 5: expected a text in quotes, such as "text"`},
		{"table for an array of tables", "[broker]\nname = \"a\"",
			`a.toml:1:2: broker: there may be several such tables: expected [[broker]]`},
		{"array of tables for a table", "[[block]]\nmax_entries = 1",
			`a.toml:1:3: block: there is only one such table: expected [block]`},
		{"key for a table", "block = 5",
			`a.toml:1:1: block: expected a table: [block] and its keys on the lines below`},
		{"table for a key", "[block.interval]\nx = 1",
			`a.toml:1:8: block.interval: it is a key, not a table: expected interval = "1m"`},
		{"twice", "[block]\nmax_entries = 1\nmax_entries = 2",
			`a.toml:3:1: key max_entries is already defined`},
		{"unset variable", "[store]\n\ndata = \"${NOWHERE}/x\"",
			`a.toml:3:1: store.data: the environment has no variable NOWHERE; ${NOWHERE:-text} would give it a default`},
		{"unclosed variable", "[store]\ndata = \"${NOWHERE\"",
			`a.toml:2:1: store.data: ${ without }; a dollar before { is written $$`},
		{"nested variable", "[store]\ndata = \"${A:-${B}}\"",
			`a.toml:2:1: store.data: ${A:-…: a default cannot hold another ${…}`},
		{"bad variable", "[store]\ndata = \"${1}\"",
			`a.toml:2:1: store.data: expected ${NAME} or ${NAME:-text}, the name of A-Z, a-z, 0-9 and _; a dollar before { is written $$`},
		{"text for a table of own words", "[[broker]]\nunits = \"Cel\"",
			`a.toml:2:1: broker.units: expected a table, such as units = { name = "text" }`},
		{"number among own words", "[[broker]]\n[broker.units]\ntemperature = 1",
			`a.toml:3:1: broker.units.temperature = 1: expected a text in quotes, such as "text"`},
		{"table among own words", "[[broker]]\n[broker.units.temperature]",
			`a.toml:2:15: broker.units.temperature: it is a key, not a table: expected temperature = "text"`},
		{"after a byte order mark and CRLF", "\ufeff[block]\r\nmax_entries = \"x\"\r\n",
			`a.toml:2:1: block.max_entries = "x": expected a whole number, such as 4096`},
		{"in an inline table", "block = { max_entries = \"x\" }",
			`a.toml:1:11: block.max_entries = "x": expected a whole number, such as 4096`},
		{"in a dotted key", "block.share = \"x\"",
			`a.toml:1:7: block.share = "x": expected a number, such as 0.5`},
		{"below an element", "[[broker]]\n[[broker]]\n[[broker.topic_parsing]]\n[[broker.topic_parsing]]\ntopic = 1",
			`a.toml:5:1: broker.topic_parsing.topic = 1: expected a text in quotes, such as "text"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, problems := read(t, Source{}, test.text)
			if problems != test.want {
				t.Errorf("got  %s\nwant %s", problems, test.want)
			}
		})
	}
}

func TestAllMistakesThoseOfMeaningTooAreToldInTheirOrder(t *testing.T) {
	g, d, _ := read(t, Source{}, "[store]\ndata = 1\n[block]\nmax_entries = 70000\ninterval = 5\n[[broker]]\n[[broker]]\nqos = 3\npassword = \"s3cret\"\n")
	Between(d, &g.Block.Most, 1, 65536)
	Between(d, &g.Broker[1].QoS, 0, 2)
	Between(d, &g.Store.Reserve, GiB, TiB)
	OneOf(d, &g.Broker[0].Name, "a", "b", "c")
	d.Refuse(&g.Broker[1], "expected servers")
	d.RefuseKey(&g.Broker[1], "password", "too short")
	d.RefuseKey(&g.Broker[1], "port", "%d is taken", 1883)
	want := `a.toml:1:2: store.reserve: expected 1GiB to 1TiB
a.toml:2:1: store.data = 1: expected a text in quotes, such as "/var/lib/x"
a.toml:4:1: block.max_entries = 70000: expected 1 to 65536
a.toml:5:1: block.interval = 5: expected a duration with its unit, such as "1m"
a.toml:6:3: broker.name: expected "a", "b" or "c"
a.toml:7:3: broker: expected servers
a.toml:7:3: broker: port: 1883 is taken
a.toml:8:1: broker.qos = 3: expected 0 to 2
a.toml:9:1: broker.password: too short`
	if got := d.Err().Error(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestVariablesAreExpandedAfterParsing(t *testing.T) {
	env := []string{"A=x\"\nreserve = 1\n# ${B} $$", "B=b", "EMPTY="}
	for text, want := range map[string]string{
		"${A}":                   "x\"\nreserve = 1\n# ${B} $$", // no TOML, and not read again
		"<${B}${B}>":             "<bb>",
		"${EMPTY}":               "",
		"${EMPTY:-default}":      "default",
		"${NONE:-a b:-c $ $$ {}": "a b:-c $ $$ {",
		"${NONE:-}":              "",
		"$$":                     "$",
		"$${B}":                  "${B}",
		"$$$$":                   "$$",
		"$SYS/# 5$":              "$SYS/# 5$",
	} {
		g, _, problems := read(t, Source{Env: env}, fmt.Sprintf("store.data = '%s'", text))
		if problems != "" || g.Store.Data != want {
			t.Errorf("%s: got %q, %s", text, g.Store.Data, problems)
		}
	}
}

func TestCommandLineOverEnvironmentOverFileOverDefault(t *testing.T) {
	source := Source{EnvPrefix: "X", Env: []string{"X_BLOCK_MAX_ENTRIES=2", "X_STORE_RESERVE=2MiB", "X_STORE_ALLOW_VOLATILE=true",
		"X_BLOCK_SHARE=0.25", "X_STORE_DATA=${NOT} $$"}, Flags: map[string]string{"block.max_entries": "3", "block.interval": "3s"}}
	g, _, problems := read(t, source, "[block]\nmax_entries = 1\nshare = 0.75\n[store]\nreserve = \"1MiB\"\n")
	want := gateway{
		Block: block{Interval: 3 * time.Second, Most: 3, Share: 0.25},
		Store: store{Reserve: 2 * MiB, Volatile: true, Data: "${NOT} $$"},
	}
	if problems != "" || !reflect.DeepEqual(*g, want) {
		t.Errorf("got %+v, %s", *g, problems)
	}
}

func TestListsFromOutsideAreSplitAtCommas(t *testing.T) {
	target := struct {
		Topics []string `toml:"topics"`
		Sizes  []Size   `toml:"sizes"`
	}{}
	d, err := Read(&target, Source{EnvPrefix: "X", Env: []string{"X_TOPICS=a/#, b ,"}, Flags: map[string]string{"sizes": "1KiB,2"}})
	if err != nil || d.Err() != nil || !reflect.DeepEqual(target.Topics, []string{"a/#", "b"}) || !reflect.DeepEqual(target.Sizes, []Size{KiB, 2}) {
		t.Error(target, err, d.Err())
	}
}

func TestMistakesOutsideTheFilesNameTheirSource(t *testing.T) {
	source := Source{EnvPrefix: "X", Env: []string{"X_BLOCK_MAX_ENTRIES=many", "X_STORE_RESERVE=1"},
		Flags: map[string]string{"store.allow_volatile": "maybe", "blok.x": "1"}}
	g, d, _ := read(t, source, "")
	Between(d, &g.Store.Reserve, MiB, GiB)
	want := `environment variable X_BLOCK_MAX_ENTRIES: block.max_entries = "many": expected a whole number, such as 4096
command line: store.allow_volatile = "maybe": expected true or false
command line: unknown key blok; did you mean block?
environment variable X_STORE_RESERVE: store.reserve = "1B": expected 1MiB to 1GiB`
	if got := d.Err().Error(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestVariablesThatSetNothingAreWarnedOf(t *testing.T) {
	source := Source{EnvPrefix: "X", Env: []string{"X_BLOK_INTERVAL=1s", "X_BROKER_QOS=1", "X_USED=1", "X_KNOWN=1", "XY=1", "X_BLOCK_SHARE=1"}}
	_, d, problems := read(t, source, "store.data = '${X_USED}'")
	d.UsesVariable("X_KNOWN")
	var got []string
	for _, warning := range d.Warnings() {
		got = append(got, warning.Error())
	}
	want := []string{
		"environment variable X_BLOK_INTERVAL: it sets no key; did you mean X_BLOCK_INTERVAL?",
		"environment variable X_BROKER_QOS: it sets no key: [[broker]] can be set in the file only, where ${X_BROKER_QOS} would be its value",
	}
	if problems != "" || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %s", got, problems)
	}
}

func TestFilesMerge(t *testing.T) {
	g, _, problems := read(t, Source{}, "[block]\nmax_entries = 1\n[[broker]]\nname = \"a\"\n", "[block]\nshare = 1\n[[broker]]\nname = \"b\"\n")
	if problems != "" || g.Block.Most != 1 || g.Block.Share != 1 || len(g.Broker) != 2 || g.Broker[1].Name != "b" {
		t.Errorf("got %+v, %s", *g, problems)
	}
	_, _, problems = read(t, Source{}, "[block]\nmax_entries = 1\n", "[block]\nmax_entries = 1\n[[broker]]\nnmae = \"b\"\n")
	want := "b.toml:2:1: block.max_entries: it is already set at a.toml:2:1\nb.toml:4:1: unknown key broker.nmae; did you mean name?"
	if problems != want {
		t.Errorf("got %s", problems)
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	g := defaults()
	_, err := Read(&g, Source{Files: []string{"/nowhere/x.toml"}})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/x.toml") {
		t.Error(err)
	}
	if _, err := Read(&g, Source{Files: []string{t.TempDir()}}); err == nil {
		t.Error("a folder was read")
	}
	large := filepath.Join(t.TempDir(), "large.toml")
	if err := os.WriteFile(large, []byte(strings.Repeat("#\n", maxFile/2+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&g, Source{Files: []string{large}}); err == nil || !strings.Contains(err.Error(), "is larger than 1MiB") {
		t.Error(err)
	}
}

func TestASecretIsNotPrinted(t *testing.T) {
	const plain = "s3cret"
	encoded, err := json.Marshal(login{Password: plain})
	if err != nil {
		t.Fatal(err)
	}
	s := Secret(plain)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, login{"u", s}, login{"u", s}, s, s), string(encoded)} {
		if strings.Contains(text, plain) {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestSizesAndDurationsAreReadBackAsWritten(t *testing.T) {
	for text, size := range map[string]Size{"0B": 0, "1B": 1, "16MiB": 16 * MiB, "10MB": 1e7, "1536KiB": 1536 * KiB, "1001B": 1001} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != size || got.String() != text {
			t.Errorf("%s: got %d, %v, written %s", text, got, err, got)
		}
	}
	for text, d := range map[string]time.Duration{"0s": 0, "25ms": 25 * time.Millisecond, "1m": time.Minute, "10m": 10 * time.Minute,
		"1h": time.Hour, "1h0m1s": time.Hour + time.Second, "1m30s": 90 * time.Second, "10s": 10 * time.Second, "20h": 20 * time.Hour, "24h": 24 * time.Hour, "90d": 90 * 24 * time.Hour, "49h": 49 * time.Hour} {
		if got, err := ParseDuration(text); err != nil || got != d || formatDuration(d) != text {
			t.Errorf("%s: got %v, %v, written %s", text, got, err, formatDuration(d))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("[block]\nmax_entries = 1\n[[broker]]\nservers = [\"a\"]\n[[broker.topic_parsing]]\ntopic = '${A:-b}'\n")
	f.Add("a.b.c = [{d = 1}, {d = {e = 2}}]\n[a.x]\n[[a.y]]\n[a.y.z]\n[[a.y.z.q]]")
	f.Add("\ufeffbroker = [[], {}]")
	f.Fuzz(func(t *testing.T, text string) {
		root, problem := parse("f", []byte(text))
		if problem != nil {
			return
		}
		// Whatever is valid has a line for every key, and binds or is refused, without a panic.
		g, d := defaults(), &Document{used: map[string]bool{}, set: map[string]Position{}, paths: map[any]string{}}
		d.bindTable("", root, reflect.ValueOf(&g).Elem())
		for _, p := range d.problems {
			if p.At.Line == 0 {
				t.Errorf("no line: %v", p)
			}
		}
	})
}

// A path in a file means the same wherever the program is started; one of the environment or the command line is of who
// starts it.
func TestARelativePathBeginsWhereItsWriterStands(t *testing.T) {
	type target struct {
		Store struct {
			Data  string `toml:"data"`
			Key   string `toml:"key"`
			Flag  string `toml:"flag"`
			Env   string `toml:"env"`
			Unset string `toml:"unset"`
			Empty string `toml:"empty"`
		} `toml:"store"`
	}
	dir, started := t.TempDir(), t.TempDir()
	t.Chdir(started)
	started, err := os.Getwd() // as the system has it, which may differ by a link
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte("[store]\ndata = \"data\"\nkey = \"/keys/one\"\nempty = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := Folder(file, "")
	if err != nil || folder != dir {
		t.Fatalf("the folder is %s, %v, want %s", folder, err, dir)
	}
	var c target
	c.Store.Unset = "unset"
	d, err := Read(&c, Source{Files: []string{file}, Folder: folder, EnvPrefix: "X", Env: []string{"X_STORE_ENV=env"}, Flags: map[string]string{"store.flag": "../flag"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &c.Store
	d.Whole(&s.Data, &s.Key, &s.Flag, &s.Env, &s.Unset, &s.Empty)
	for got, want := range map[string]string{
		s.Data: filepath.Join(dir, "data"), s.Key: "/keys/one", s.Flag: filepath.Join(filepath.Dir(started), "flag"), s.Env: filepath.Join(started, "env"),
		s.Unset: "unset", s.Empty: "",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if folder, err := Folder("/dev/null", ""); err != nil || folder != started {
		t.Errorf("of what is no file the folder is %s, %v, want %s", folder, err, started)
	}
}
