package testenv

import (
	_ "embed" // modbus.py
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

//go:embed modbus.py
var modbusDevice string

// Python is Debian's, which has the modules of Debian's packages, whatever else is called python3.
const python, pymodbus = "/usr/bin/python3", "/usr/lib/python3/dist-packages/pymodbus/version.py"

// Modbus is a device that speaks Modbus: see modbus.py for what it holds.
type Modbus struct {
	Address string // host:port, or the device file
	args    []string
	s       *server
}

// ModbusTCP starts a device on a free port of 127.0.0.1.
func ModbusTCP(t testing.TB) *Modbus {
	t.Helper()
	port := FreePort(t)
	m := newModbus(t, "tcp", strconv.Itoa(port))
	m.Address = address(port)
	m.Start()
	return m
}

// ModbusRTU starts a device at the end of a serial line.
func ModbusRTU(t testing.TB, line string) *Modbus {
	t.Helper()
	m := newModbus(t, "rtu", line)
	m.Address = line
	m.Start()
	return m
}

func newModbus(t testing.TB, args ...string) *Modbus {
	t.Helper()
	NeedFile(t, pymodbus)
	folder := t.TempDir()
	script := filepath.Join(folder, "modbus.py")
	if err := os.WriteFile(script, []byte(modbusDevice), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Modbus{args: append([]string{script}, args...), s: newServer(t, "pymodbus", filepath.Join(folder, "log"), syscall.SIGKILL)}
}

// Start starts a device that was stopped, and waits until it answers; of one on a serial line nobody can say when.
func (m *Modbus) Start() {
	m.s.t.Helper()
	ready := func() bool { return true }
	if m.args[1] == "tcp" {
		ready = func() bool {
			c, err := net.Dial("tcp", m.Address)
			if err == nil {
				c.Close()
			}
			return err == nil
		}
	}
	if !m.s.start(exec.Command(python, m.args...), ready) {
		m.s.showLog()
		m.s.t.Fatal("pymodbus does not start")
	}
}

// Stop takes the device away.
func (m *Modbus) Stop() { m.s.kill() }
