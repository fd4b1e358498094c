package arm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Board reads what the kernel tells about the board and what is plugged into it. Its zero value reads this machine.
// What a board does not tell is not known, and no error: most boards lack most of it.
type Board struct {
	Root string // what stands for "/"; empty for "/" itself
}

// Model returns what the board calls itself, "Raspberry Pi 4 Model B Rev 1.4"; "" where there is no device tree.
func (b Board) Model() string {
	for _, name := range []string{"proc/device-tree/model", "sys/firmware/devicetree/base/model"} {
		if model := b.line(name); model != "" {
			return model
		}
	}
	return ""
}

// CPU is what matters here of the processor.
type CPU struct {
	Known bool
	SHA2  bool // it has instructions for SHA-256; a 32-bit Go program does not use them
}

// CPU reads which instructions the processor has: "Features" in an ARM's /proc/cpuinfo, "flags" in a PC's.
func (b Board) CPU() CPU {
	for line := range strings.Lines(string(b.file("proc/cpuinfo", 64<<10))) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "Features", "flags":
		default:
			continue
		}
		cpu := CPU{Known: true}
		for _, word := range strings.Fields(value) {
			if word == "sha2" || word == "sha_ni" {
				cpu.SHA2 = true
			}
		}
		return cpu
	}
	return CPU{}
}

// Temperature is the processor's.
type Temperature struct {
	Known        bool
	MilliCelsius int64
}

// Temperature reads the thermal zone of the processor: that whose type names a CPU or a SoC, as all Raspberry Pis' do,
// or a PC's package.
func (b Board) Temperature() Temperature {
	zones, _ := filepath.Glob(under(b.Root, "sys/class/thermal/thermal_zone*"))
	for _, zone := range zones {
		kind := firstLine(filepath.Join(zone, "type"))
		if !strings.HasPrefix(kind, "cpu") && !strings.HasPrefix(kind, "soc") && kind != "x86_pkg_temp" {
			continue
		}
		if n, err := strconv.ParseInt(firstLine(filepath.Join(zone, "temp")), 10, 64); err == nil {
			return Temperature{Known: true, MilliCelsius: n}
		}
	}
	return Temperature{}
}

// line returns the first line of a file, "" if it cannot be read.
func (b Board) line(name string) string { return firstLine(under(b.Root, name)) }

// file returns the content of a file, as much as limit allows, nil if it cannot be read.
func (b Board) file(name string, limit int64) []byte { return content(under(b.Root, name), limit) }

func content(path string, limit int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil
	}
	return data
}

// firstLine also takes off the zero byte with which the strings of a device tree end.
func firstLine(path string) string {
	line, _, _ := strings.Cut(string(content(path, 4096)), "\n")
	return strings.TrimSpace(strings.TrimRight(line, "\x00"))
}

// hexadecimal reads a number as sysfs writes it, with or without 0x.
func hexadecimal(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is not a hexadecimal number", s)
	}
	return n, nil
}
