package arm

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"time"

	"edgechain.example/build/testenv"
)

func recorded(t *testing.T, board string) Board {
	t.Helper()
	return Board{Root: testenv.Tree(t, "testdata/boards/"+board+".txtar")}
}

func TestRecordedBoardsTellWhatTheyAre(t *testing.T) {
	fine := Power{VoltageKnown: true, ThrottlingKnown: true}
	for board, want := range map[string]struct {
		model string
		cpu   CPU
		temp  Temperature
		power Power
		cards []Card
	}{
		"zero2w": {
			"Raspberry Pi Zero 2 W Rev 1.0", CPU{true, false}, Temperature{true, 52616},
			Power{VoltageKnown: true, UnderVoltage: true, ThrottlingKnown: true, Throttled: true},
			[]Card{{Device: "mmcblk0", Kind: "SD", Name: "SC16G", Manufacturer: "0x000003", OEM: "0x5344", Date: "05/2020", Serial: "0x7b0c12ef"}},
		},
		"3bplus": {
			"Raspberry Pi 3 Model B Plus Rev 1.3", CPU{true, false}, Temperature{true, 61224},
			Power{VoltageKnown: true, ThrottlingKnown: true, SoftLimit: true},
			[]Card{{Device: "mmcblk0", Kind: "SD", Name: "SD32G", Manufacturer: "0x000041", OEM: "0x3432", Date: "11/2021", Serial: "0x1d00a4c3"}},
		},
		"4b": {
			"Raspberry Pi 4 Model B Rev 1.4", CPU{true, false}, Temperature{true, 48199}, fine,
			[]Card{{Device: "mmcblk0", Kind: "SD", Name: "EB1QT", Manufacturer: "0x00001b", OEM: "0x534d", Date: "08/2022", Serial: "0x9a1c66e2"}},
		},
		"5": {
			"Raspberry Pi 5 Model B Rev 1.0", CPU{true, true}, Temperature{true, 55300}, Power{VoltageKnown: true},
			[]Card{{Device: "mmcblk0", Kind: "SD", Name: "SN64G", Manufacturer: "0x000003", OEM: "0x5344", Date: "02/2024", Serial: "0x3e5a90bb"}},
		},
		"cm4": {
			"Raspberry Pi Compute Module 4 Rev 1.1", CPU{true, false}, Temperature{true, 44312}, fine,
			[]Card{
				{Device: "mmcblk0", Kind: "MMC", Name: "BJTD4R", Manufacturer: "0x000015", OEM: "0x0100", Date: "06/2021", Serial: "0x5fa31c07",
					WearKnown: true, LifeA: 2, LifeB: 3, PreEOL: 1},
				{Device: "mmcblk1", Kind: "SD", Name: "SC32G", Manufacturer: "0x000003", OEM: "0x5344", Date: "09/2019", Serial: "0x00c0ffee"},
			},
		},
	} {
		b := recorded(t, board)
		if got := b.Model(); got != want.model {
			t.Errorf("%s: model %q, want %q", board, got, want.model)
		}
		if got := b.CPU(); got != want.cpu {
			t.Errorf("%s: %+v, want %+v", board, got, want.cpu)
		}
		if got := b.Temperature(); got != want.temp {
			t.Errorf("%s: %+v, want %+v", board, got, want.temp)
		}
		if got := b.Power(); got != want.power {
			t.Errorf("%s: %+v, want %+v", board, got, want.power)
		}
		if got := b.Cards(); !reflect.DeepEqual(got, want.cards) {
			t.Errorf("%s: %+v, want %+v", board, got, want.cards)
		}
	}
}

func TestMachineThatTellsNothingIsUnknownAndNoError(t *testing.T) {
	b := Board{Root: t.TempDir()}
	if b.Model() != "" || b.CPU() != (CPU{}) || b.Temperature() != (Temperature{}) || b.Power() != (Power{}) || b.Cards() != nil {
		t.Errorf("an empty tree tells %q, %+v, %+v, %+v, %+v", b.Model(), b.CPU(), b.Temperature(), b.Power(), b.Cards())
	}
	if f := b.Filesystem("/data"); f.MountKnown {
		t.Errorf("%+v", f)
	}
	if point := b.MissingMount("/data"); point != "" {
		t.Errorf("missing: %s", point)
	}
}

// put writes one file of a tree.
func put(t *testing.T, b Board, name, content string) {
	t.Helper()
	path := under(b.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFilesAreUnknown(t *testing.T) {
	b := Board{Root: t.TempDir()}
	for _, text := range []string{"", "\n", "zzz\n", "-1\n", "99999999999999999999\n", "0x\n", "\x00\x00"} {
		put(t, b, "sys/devices/platform/soc/soc:firmware/get_throttled", text)
		put(t, b, "sys/class/hwmon/hwmon0/name", "rpi_volt\n")
		put(t, b, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", text)
		put(t, b, "sys/block/mmcblk0/device/life_time", text)
		put(t, b, "sys/block/mmcblk0/device/pre_eol_info", text)
		put(t, b, "proc/cpuinfo", text)
		put(t, b, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
		put(t, b, "sys/class/thermal/thermal_zone0/temp", "x"+text)
		if p, cards := b.Power(), b.Cards(); p != (Power{}) || len(cards) != 1 || cards[0] != (Card{Device: "mmcblk0"}) {
			t.Errorf("%q: %+v, %+v", text, p, cards)
		}
		if b.CPU().Known || b.Temperature().Known {
			t.Errorf("%q: %+v, %+v", text, b.CPU(), b.Temperature())
		}
	}
	// Values that JESD84-B51 leaves undefined.
	put(t, b, "sys/block/mmcblk0/device/life_time", "0x0c 0xff\n")
	put(t, b, "sys/block/mmcblk0/device/pre_eol_info", "0x04\n")
	if c := b.Cards()[0]; c != (Card{Device: "mmcblk0", WearKnown: true}) {
		t.Errorf("%+v", c)
	}
}

func TestThrottlingIsNotReadWhereAWarningStopsTheMachine(t *testing.T) {
	b := recorded(t, "zero2w")
	put(t, b, "proc/sys/kernel/panic_on_warn", "1\n")
	if got, want := b.Power(), (Power{VoltageKnown: true, UnderVoltage: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestThisMachineIsRead(t *testing.T) {
	var b Board
	t.Logf("%q %+v %+v %+v %+v", b.Model(), b.CPU(), b.Temperature(), b.Power(), b.Cards())
	if runtime.GOOS != "linux" {
		return
	}
	if runtime.GOARCH == "amd64" && !b.CPU().Known {
		t.Error("the processor's features are not known")
	}
	f := b.Filesystem(t.TempDir())
	if !f.MountKnown || !f.SpaceKnown || f.Size == 0 || f.Free > f.Size {
		t.Errorf("%+v", f)
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		if f := b.Filesystem("/dev/shm/not/there/yet"); !f.Volatile() {
			t.Errorf("/dev/shm: %+v", f)
		}
	}
}

// The firmware's flags last two seconds: what is seen once is shown for a minute, and what comes and goes is one trouble.
func TestAFlagOfTheSupplyIsHeldForAMinute(t *testing.T) {
	at := time.Unix(0, 0)
	var latch PowerLatch
	known := Power{VoltageKnown: true, ThrottlingKnown: true}
	low := known
	low.UnderVoltage = true
	for _, c := range []struct {
		after time.Duration
		read  Power
		want  bool
	}{
		{0, known, false}, {time.Second, low, true}, {2 * time.Second, known, true},
		{50 * time.Second, low, true}, {109 * time.Second, known, true}, {110 * time.Second, known, false},
	} {
		got := latch.Observe(c.read, at.Add(c.after))
		if got.UnderVoltage != c.want || got.Capped || got.Throttled || got.SoftLimit || !got.VoltageKnown {
			t.Errorf("after %s: %+v, want under-voltage %v", c.after, got, c.want)
		}
	}
}

// A probe reads what the files say now, not what they said when it was made.
func TestAProbeReadsAgain(t *testing.T) {
	b := recorded(t, "4b")
	probe := b.PowerProbe()
	if p := probe.Read(); p.UnderVoltage || p.Throttled {
		t.Fatalf("%+v", p)
	}
	files, err := filepath.Glob(under(b.Root, "sys/devices/platform/soc*/soc*:firmware/get_throttled"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("50005\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if p := probe.Read(); !p.UnderVoltage || !p.Throttled {
		t.Errorf("%+v", p)
	}
}

// It is read each second for as long as the gateway runs.
func BenchmarkPowerProbe(b *testing.B) {
	board := Board{Root: testenv.Tree(b, "testdata/boards/4b.txtar")}
	probe := board.PowerProbe()
	for b.Loop() {
		probe.Read()
	}
}
