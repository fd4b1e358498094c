package arm

import "strings"

// The most a program may weigh, in bytes, on any target, built as it is shipped: -trimpath -ldflags "-s -w".
const (
	MaxAgentSize    = 25_000_000
	MaxVerifierSize = 4_000_000
)

// A Target is one kind of board that the programs are built for, and the emulator that stands in for it in tests.
type Target struct {
	Name   string // as in the names of packages: "armv6"
	GOARCH string
	GOARM  string // "" where GOARCH has no such choice
	// Emulator is a program and its arguments, to be followed by those of the program under test. It imitates the oldest
	// core of its kind, so that an instruction a board lacks is a failure here and not in the field.
	Emulator []string
}

// Targets returns every target, the widest used first.
func Targets() []Target {
	return []Target{
		// Zero 2 W, 3, 4, 5 with a 64-bit system.
		{Name: "arm64", GOARCH: "arm64", Emulator: []string{"qemu-aarch64-static", "-cpu", "cortex-a53"}},
		// 2 and later with a 32-bit system.
		{Name: "armv7", GOARCH: "arm", GOARM: "7", Emulator: []string{"qemu-arm-static", "-cpu", "cortex-a7"}},
		// Zero, Zero W, 1; runs on every other 32-bit system too.
		{Name: "armv6", GOARCH: "arm", GOARM: "6", Emulator: []string{"qemu-arm-static", "-cpu", "arm1176"}},
	}
}

// Env returns the variables with which the go command builds for t: a program that is one file and links no C.
func (t Target) Env() []string {
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + t.GOARCH}
	if t.GOARM != "" {
		env = append(env, "GOARM="+t.GOARM)
	}
	return env
}

// Exec returns the emulator as `go test -exec` takes it.
func (t Target) Exec() string { return strings.Join(t.Emulator, " ") }
