package main

import (
	"os/exec"
	"testing"
	"time"
)

func TestDebianOrdersVersionsAsTheyFollow(t *testing.T) {
	date := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	order := []struct{ version, want string }{
		{"dev", "0~20260301080000"},
		{"abc1234", "0~20260301080000.gabc1234"},
		{"abc1234-dirty", "0~20260301080000.gabc1234+dirty"},
		{"v1.4.0-rc.1", "1.4.0~rc.1"},
		{"v1.4.0-rc.1-7-g1234567", "1.4.0~rc.1+7.g1234567"},
		{"v1.4.0-rc.2", "1.4.0~rc.2"},
		{"v1.4.0", "1.4.0"},
		{"v1.4.0-dirty", "1.4.0+dirty"},
		{"v1.4.1-12-gabcdef0-dirty", "1.4.1+12.gabcdef0+dirty"},
		{"1.10.0", "1.10.0"},
	}
	dpkg, err := exec.LookPath("dpkg")
	for i, c := range order {
		r := release{version: c.version, date: date}
		if got := r.debianVersion(); got != c.want {
			t.Errorf("%s becomes %s, want %s", c.version, got, c.want)
		}
		if err == nil && i > 0 && exec.Command(dpkg, "--compare-versions", order[i-1].want, "lt", c.want).Run() != nil {
			t.Errorf("dpkg does not hold %s for older than %s", order[i-1].want, c.want)
		}
	}
}

func TestAMaintainerHasANameAndAnAddress(t *testing.T) {
	for given, want := range map[string]string{
		"":                                  "Nobody yet <unreleased@edgechain.example>",
		"Ada Byron <ada@plant.example>":     "Ada Byron <ada@plant.example>",
		` "Ada Byron"  <ada@plant.example>`: "Ada Byron <ada@plant.example>",
		"ada@plant.example":                 "",
		"Ada Byron":                         "",
		"Ada <ada@plant.example>\nX: y":     "",
	} {
		if got, err := answerable(given); got != want || (err == nil) != (want != "") {
			t.Errorf("%q becomes %q, %v", given, got, err)
		}
	}
}

func TestHelpIsTakenApartAsItIsPrinted(t *testing.T) {
	h := parseHelp([]byte(`It records.

Begin with:   edgeagent init

Usage:
  edgeagent [flags]
  edgeagent [command]

Running a gateway:
  check-config Check the configuration
  run          Record until told to stop

Additional Commands:
  help         Help about any command

Flags:
  -c, --config FILE   the configuration
      --set K=V       set one key; may
                      be repeated

Use "edgeagent [command] --help" for more information about a command.
`))
	if got := h.commands(); len(got) != 2 || got[0] != "check-config" || got[1] != "run" {
		t.Errorf("commands are %q", got)
	}
	if len(h.usage) != 2 || h.usage[1] != "edgeagent [command]" {
		t.Errorf("usage is %q", h.usage)
	}
	flags := h.lists[len(h.lists)-1].items
	if len(flags) != 2 || flags[0] != (item{"-c, --config FILE", "the configuration"}) || flags[1] != (item{"--set K=V", "set one key; may be repeated"}) {
		t.Errorf("flags are %q", flags)
	}
}

func TestASettingReplacesItsOwnTablesDefault(t *testing.T) {
	sample := "[store]\n#socket = \"not this\"\n\n[api]\n\n# A socket.\n#socket = \"\"\n#listen = \"\"\n\n[log]\n#level = \"info\"\n"
	got, err := setting{"api", "socket", `"/run/s"`}.apply([]byte(sample))
	want := "[store]\n#socket = \"not this\"\n\n[api]\n\n# A socket.\nsocket = \"/run/s\"\n#listen = \"\"\n\n[log]\n#level = \"info\"\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
	for _, missing := range []setting{{"ap", "socket", ""}, {"api", "level", ""}, {"api", "sock", ""}} {
		if _, err := missing.apply([]byte(sample)); err == nil {
			t.Errorf("%v is set where it is not", missing)
		}
	}
}
