package aggregator

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/tomlconf"
)

// loadText reads a configuration file with the given text, found as x.toml in the working directory.
func loadText(t *testing.T, text string, env []string, flags map[string]string) (*Config, []tomlconf.Problem, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	writeConfig(t, "x.toml", text)
	return LoadConfig("x.toml", env, flags)
}

func writeConfig(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// named is what every configuration needs.
var named = map[string]string{"aggregator.name": "agg-1"}

func TestTheSampleSetsNothing(t *testing.T) {
	c, _, err := loadText(t, Sample, nil, named)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Aggregator.Name = "agg-1"
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%s", tomlconf.Format(c))
	}
}

func TestTheSampleShowsEveryKeyWithItsDefault(t *testing.T) {
	t.Chdir(t.TempDir())
	writeConfig(t, "x.toml", regexp.MustCompile(`(?m)^#(\[|[a-z_]+ = )`).ReplaceAllString(Sample, "$1"))
	read := &Config{}
	doc, err := tomlconf.Read(read, tomlconf.Source{Files: []string{"x.toml"}})
	if err == nil {
		err = doc.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	defaults := DefaultConfig()
	defaults.Key.File, defaults.Transparency.KeyFile, defaults.API.Socket, defaults.Aggregator.Replica = "", "", "", ""
	defaults.Broker = make([]BrokerConfig, 1)
	defaults.Broker[0].SetDefaults()
	got, want := strings.Split(tomlconf.Format(read), "\n"), strings.Split(tomlconf.Format(defaults), "\n")
	if len(got) != len(want) {
		t.Fatalf("the sample has %d keys, Config %d", len(got), len(want))
	}
	example := regexp.MustCompile(`^broker\[0\]\.(name|servers) `) // there is no default to show
	for i := range want {
		path, _, _ := strings.Cut(want[i], " = ")
		if path != "" && !doc.IsSet(path) {
			t.Errorf("the sample does not show %s", path)
		}
		if got[i] != want[i] && !example.MatchString(want[i]) {
			t.Errorf("the sample says %s, the default is %s", got[i], want[i])
		}
	}
}

func TestFilesEnvironmentAndFlagsGoOverEachOther(t *testing.T) {
	t.Chdir(t.TempDir())
	writeConfig(t, "x.toml", "[aggregator]\nname = \"a\"\ndata = \"/x\"\n[pull]\nmode = \"sparse\"\n")
	writeConfig(t, "conf.d/broker.toml", "[[broker]]\nname = \"office\"\nservers = [\"tcp://127.0.0.1\"]\n")
	c, warnings, err := LoadConfig("x.toml", []string{"EDGEAGGREGATOR_PULL_PAGE=32KiB", "EDGEAGGREGATOR_PULL_MODE=headers"}, map[string]string{"pull.page": "16KiB"})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if c.Pull.Mode != registry.Dense || c.Pull.Page != 16*tomlconf.KiB || c.Key.File != "/x/key" || c.API.Socket != "/x/edgeaggregator.sock" {
		t.Errorf("got\n%s", tomlconf.Format(c))
	}
	b := &c.Broker[0]
	if b.Prefix != "edgechain/v1" || b.KeepAlive != 30*time.Second || c.clientID(b) != "edgechain-a-single-office" {
		t.Errorf("the broker: %+v, %s", b, c.clientID(b))
	}
}

func TestWrongConfigurationsAreRefusedAtTheirLines(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[aggregator]\nname = \"A\"", "x.toml:2:1: aggregator.name = \"A\": expected 1 to 63"},
		{"[aggregator]\nreplica = \"x y\"", "x.toml:2:1: aggregator.replica"},
		{"[store]\nurl = \"mysql://root:secret@x\"", `x.toml:2:1: store.url: expected "postgres://`},
		{"[store]\ncrash_loss = \"allow\"", `x.toml:2:1: store.crash_loss = "allow": expected "refuse" or "warn"`},
		{"[store]\nfailover_loss = \"\"", `expected "refuse" or "warn"`},
		{"[trust]\ngateways = \"some\"", `expected "approved" or "all"`},
		{"[pull]\npage = \"256KiB\"", "expected 4KiB to 128KiB"},
		{"[pull]\nworkers = 0", "expected 1 to 1024"},
		{"[silence]\nafter = \"1ms\"", "expected 1s"},
		{"[api]\nlisten = \"0.0.0.0:9471\"", "this machine's own address"},
		{"[api]\nsocket = \"/" + strings.Repeat("x", 107) + "\"", "a path of 108 bytes"},
		{"[[broker]]\nservers = [\"tcp://x\"]", "expected a name"},
		{"[[broker]]\nname = \"a\"", "expected at least one server"},
		{"[[broker]]\nname = \"a\"\nservers = [\"http://x\"]", "http:// is not a way to a broker"},
		{"[[broker]]\nname = \"a\"\nservers = [\"tcp://u:secret@x\"]", "which is logged"},
		{"[[broker]]\nname = \"a\"\nservers = [\"tcp://x\"]\n[[broker]]\nname = \"a\"\nservers = [\"tcp://x\"]", "a name that no other has"},
		{"[[broker]]\nname = \"a\"\nservers = [\"tcp://x\"]\nprefix = \"a/#\"", "without + # $"},
		{"[[broker]]\nname = \"a\"\nservers = [\"tcp://x\"]\npassword = \"secret\"", "expected username beside it"},
		{"[[broker]]\nname = \"a\"\nservers = [\"tcp://x\"]\ntls_ca = \"x\"", "it is of no use"},
		{"[[broker]]\nname = \"a\"\nservers = [\"ssl://x\"]\ntls_cert = \"x\"", "expected tls_key beside it"},
		{"[[broker]]\nname = \"a\"\nservers = [\"tcp://x\"]\nshared = \"auto\"", `unknown key broker.shared`},
		{"[pul]\nmode = \"x\"", "unknown key pul"},
	} {
		_, _, err := loadText(t, c.text, nil, map[string]string{})
		var problems tomlconf.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s\ngives %v, want %s", c.text, err, c.want)
		}
	}
}

func TestWhatIsAllowedAndHardlyMeantIsWarnedOf(t *testing.T) {
	_, warnings, err := loadText(t, "[trust]\ngateways = \"all\"\n[clock]\nassume_synchronised = true\n[store]\ncrash_loss = \"warn\"\n[[broker]]\nname = \"a\"\nservers = [\"tcp://192.0.2.1\"]\nusername = \"u\"\npassword = \"secret\"\n", nil, named)
	if err != nil || len(warnings) != 4 || !strings.Contains(warnings[0].Text, "any gateway") || !strings.Contains(warnings[1].Text, "receipts say when") || !strings.Contains(warnings[2].Text, "once and for all") || !strings.Contains(warnings[3].Text, "in the clear") {
		t.Errorf("%v, %v", warnings, err)
	}
}

// The log of heads has a key of its own beside the aggregator's, wherever that is, and what is said of it waits for the next start.
func TestTheLogOfHeadsFollowsTheAggregatorsKeyAndWaits(t *testing.T) {
	c, _, err := loadText(t, "[key]\nfile = \"/run/keys/agg\"\n[transparency]\norigin = \"agg-1.example/plant\"\n", nil, named)
	if err != nil {
		t.Fatal(err)
	}
	if c.Transparency.KeyFile != "/run/keys/agg-log" || c.LogOrigin() != "agg-1.example/plant/heads" || c.Transparency.Interval != time.Minute {
		t.Errorf("%+v, origin %s", c.Transparency, c.LogOrigin())
	}
	if mark := c.logMark(c.Transparency.Origin); filepath.Dir(mark) != c.Aggregator.Data {
		t.Errorf("the mark is %s", mark)
	}
	next := *c
	next.Transparency.Entries, next.Transparency.Interval, next.Silence.After = true, time.Hour, time.Hour
	if got := c.waiting(&next); !slices.Equal(got, []string{"transparency.entries", "transparency.interval"}) && !slices.Equal(got, []string{"transparency.interval", "transparency.entries"}) {
		t.Errorf("%v wait for the next start", got)
	}
	for _, name := range []string{"Agg", "a b", "/a", "a/", "a//b", "a+b", "..", "a/../b", "./a", "a/heads", strings.Repeat("a", 129)} {
		if _, _, err := loadText(t, "", nil, map[string]string{"aggregator.name": "agg-1", "transparency.origin": name}); err == nil {
			t.Errorf("the origin %q is taken", name)
		}
	}
	if _, _, err := loadText(t, "[key]\nfile = \"/run/keys/agg\"\n[transparency]\norigin = \"agg-1.example\"\nkey_file = \"/run/keys/agg\"\n", nil, named); err == nil || !strings.Contains(err.Error(), "5:1: transparency.key_file") {
		t.Errorf("the key of receipts signs checkpoints: %v", err)
	}
}
