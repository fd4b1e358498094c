//go:build !nomodbus

package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/sensors/poll"
	"edgechain.example/sensors/serialline"
)

// busOf returns a bus with one request for each of the given, and closes it at the test's end.
func busOf(t *testing.T, controller string, timeout time.Duration, requests ...*Request) (*Bus, *Config) {
	t.Helper()
	c := &Config{Name: "line-1", Controller: controller}
	c.SetDefaults()
	c.Timeout, c.BaudRate = timeout, 19200
	for i, r := range requests {
		r.Name = fmt.Sprintf("g%d", i)
		c.Request = append(c.Request, *r)
	}
	b, err := NewBus(*c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, c
}

// asked is what a group answers: of each read its source or error, and the readings.
func asked(t *testing.T, b *Bus, c *Config) (lines []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	for _, a := range poll.Ask(ctx, b.Groups(c)) {
		if a.Err != nil {
			lines = append(lines, a.Read+": "+a.Err.Error())
			continue
		}
		lines = append(lines, a.Message.Source)
		for _, r := range a.Message.Readings {
			line := fmt.Sprintf("  %s %s = %v", r.Device, r.Name, r.Value)
			if r.Unit != "" {
				line += " " + r.Unit
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func inUnit(r *Request, unit int) *Request {
	r.SlaveID = unit
	return r
}

// device is what modbus.py has, and what it is read as.
func device() (requests []*Request, want []string) {
	length := func(n int) func(*Field) { return func(f *Field) { f.Length = n } }
	return []*Request{
			request("holding", field(100, "i16", "INT16", scaled(0.1, 0)), field(110, "i32", "INT32"), field(120, "i64", "INT64"), field(130, "u64", "UINT64"),
				field(140, "f32", "FLOAT32", func(f *Field) { f.Unit = "°C" }), field(150, "f64", "FLOAT64"), field(160, "f16", "FLOAT16"), field(170, "name", "STRING", length(5))),
			inUnit(request("holding", field(5, "r", "UINT16")), 2),
			request("input", field(9, "in", "UINT16")),
			request("coil", field(3, "c3", ""), field(4, "c4", "")),
			request("discrete", field(0, "d0", ""), field(1, "d1", "")),
		}, []string{
			"modbus:line-1:1/3/100", "  line-1/1 i16 = -12.3", "modbus:line-1:1/3/110", "  line-1/1 i32 = -70000", "modbus:line-1:1/3/120", "  line-1/1 i64 = -5000000000",
			"modbus:line-1:1/3/130", "  line-1/1 u64 = 18446744073709551615", "modbus:line-1:1/3/140", "  line-1/1 f32 = 21.7 Cel", "modbus:line-1:1/3/150", "  line-1/1 f64 = -0.001",
			"modbus:line-1:1/3/160", "  line-1/1 f16 = 1.5", "modbus:line-1:1/3/170", "  line-1/1 name = Press 07",
			"modbus:line-1:2/3/5", "  line-1/2 r = 2005", "modbus:line-1:1/4/9", "  line-1/1 in = 63",
			"modbus:line-1:1/1/3", "  line-1/1 c3 = true", "  line-1/1 c4 = false", "modbus:line-1:1/2/0", "  line-1/1 d0 = true", "  line-1/1 d1 = false",
		}
}

func TestADeviceIsReadOverTCP(t *testing.T) {
	requests, want := device()
	b, c := busOf(t, "tcp://"+testenv.ModbusTCP(t).Address, 5*time.Second, requests...)
	same(t, asked(t, b, c), want)
}

func TestADeviceIsReadOverASerialLine(t *testing.T) {
	here, there := testenv.SerialLine(t)
	testenv.ModbusRTU(t, there)
	first := request("holding", field(0, "x", "UINT16"))
	requests, want := device()
	b, c := busOf(t, "file://"+here, time.Second, first)
	testenv.Await(t, "the device has the line open", func() bool { return strings.HasPrefix(asked(t, b, c)[0], "modbus:") })
	b.Close()
	b, c = busOf(t, "file://"+here, 5*time.Second, requests...)
	same(t, asked(t, b, c), want)
}

// What mbpoll reads of a device is what stands in the payload.
func TestAnotherClientReadsTheSame(t *testing.T) {
	mbpoll := testenv.Program(t, "mbpoll")
	at := testenv.ModbusTCP(t).Address
	b, c := busOf(t, "tcp://"+at, 5*time.Second, request("holding", field(100, "text", "STRING", func(f *Field) { f.Length = 75 })))
	host, port, _ := net.SplitHostPort(at)
	out, err := exec.Command(mbpoll, "-0", "-1", "-m", "tcp", "-a", "1", "-r", "100", "-c", "75", "-t", "4:hex", "-p", port, host).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := poll.Ask(t.Context(), b.Groups(c))
	if len(answers) != 1 || answers[0].Err != nil {
		t.Fatalf("got %+v", answers)
	}
	e, err := ParseExchange(answers[0].Message.Payload)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int(e.Quantity) {
		if line := fmt.Sprintf("[%d]: \t0x%04X", 100+i, binary.BigEndian.Uint16(e.Data[2*i:])); !strings.Contains(string(out), line) {
			t.Errorf("mbpoll does not say %q:\n%s", line, out)
		}
	}
}

func TestExceptionsAreToldByName(t *testing.T) {
	b, c := busOf(t, "tcp://"+testenv.ModbusTCP(t).Address, 5*time.Second, request("input",
		field(9001, "a", "UINT16"), field(9003, "b", "UINT16"), field(9005, "c", "UINT16"), field(9007, "d", "UINT16"), field(9011, "e", "UINT16")),
		request("input", field(9002, "f", "UINT16"), field(9004, "g", "UINT16"), field(9006, "h", "UINT16")), request("holding", field(0, "x", "UINT16")))
	same(t, asked(t, b, c), []string{
		"1/4/9001: exception 1, illegal function", "1/4/9003: exception 3, illegal data value", "1/4/9005: exception 5, acknowledge: the device needs longer",
		"1/4/9007: exception 7, which has no name", "1/4/9011: exception 11, the device behind the gateway does not answer",
		"1/4/9002: exception 2, illegal data address", "1/4/9004: exception 4, server device failure", "1/4/9006: exception 6, server device busy",
		"modbus:line-1:1/3/0", "  line-1/1 x = 1000"})
	for _, a := range poll.Ask(t.Context(), b.Groups(c)) {
		refused := errors.As(a.Err, new(*poll.RefusedError))
		if there := a.Err != nil && a.Read != "1/4/9011"; refused != there {
			t.Errorf("%s: %v: the device is there: %v", a.Read, a.Err, refused)
		}
	}
}

func TestASlowDeviceAndOneThatGoesAwayAndComesBack(t *testing.T) {
	device := testenv.ModbusTCP(t)
	b, c := busOf(t, "tcp://"+device.Address, 200*time.Millisecond, request("input", field(9100, "slow", "UINT16")))
	lines := asked(t, b, c)
	for strings.Contains(lines[0], "connecting") { // a slow machine
		lines = asked(t, b, c)
	}
	same(t, lines, []string{"1/4/9100: no whole answer within 200ms"})
	b.Close()

	b, c = busOf(t, "tcp://"+device.Address, 5*time.Second, request("input", field(9100, "slow", "UINT16"), field(9, "in", "UINT16")))
	answered := []string{"modbus:line-1:1/4/9", "  line-1/1 in = 63", "modbus:line-1:1/4/9100", "  line-1/1 slow = 9100"}
	same(t, asked(t, b, c), answered)
	device.Stop()
	for _, line := range asked(t, b, c) {
		if !strings.Contains(line, "connection refused") {
			t.Errorf("while it is away: %s", line)
		}
	}
	device.Start()
	same(t, asked(t, b, c), answered)
}

// server is a device over TCP that answers as it is told: with the frames that answer returns, and nothing where it returns none.
func server(t *testing.T, answer func(n int, frame []byte) (frames []byte, end bool)) (controller string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	var mu sync.Mutex
	n := 0 // questions so far, over all connections; guarded by mu
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				for frame := make([]byte, 12); ; {
					if _, err := io.ReadFull(conn, frame); err != nil {
						return
					}
					mu.Lock()
					frames, end := answer(n, frame)
					n++
					mu.Unlock()
					if _, err := conn.Write(frames); err != nil || end {
						return
					}
				}
			})
		}
	})
	return "tcp://" + l.Addr().String()
}

// answerTo returns the right answer to a question over TCP, with the address as the value.
func answerTo(question []byte) []byte {
	count := binary.BigEndian.Uint16(question[10:])
	a := append([]byte{}, question[0], question[1], 0, 0, 0, byte(3+2*count), question[6], question[7], byte(2*count))
	for i := range count {
		a = binary.BigEndian.AppendUint16(a, binary.BigEndian.Uint16(question[8:])+i)
	}
	return a
}

func TestWrongAnswersOverTCPAreNobodys(t *testing.T) {
	set := func(at int, to byte) func([]byte) []byte {
		return func(a []byte) []byte { a[at] = to; return a }
	}
	for _, test := range []struct {
		name, want string
		spoil      func([]byte) []byte
	}{
		{"another unit", "an answer of another unit than the one that was asked", set(6, 9)},
		{"another transaction", "no whole answer within 2s: received unexpected transaction id (expected 0x0001, received 0x7701)", set(0, 0x77)},
		{"another protocol", "no whole answer within 2s: received unexpected protocol id 0x0100", set(2, 1)},
		{"another function", "an answer that does not fit the question: unexpected response code (4)", set(7, 4)},
		{"a wrong count", "an answer that does not fit the question", set(8, 3)},
		{"short", "no whole answer within 2s", func(a []byte) []byte { return a[:10] }},
		{"fewer registers", "an answer that does not fit the question", func(a []byte) []byte { a[5], a[8] = 5, 2; return a[:11] }},
		{"no length", "an answer that does not fit the question", set(5, 0)},
		{"too long", "an answer that does not fit the question", set(4, 9)},
	} {
		t.Run(test.name, func(t *testing.T) {
			controller := server(t, func(n int, question []byte) ([]byte, bool) {
				if n == 0 {
					return test.spoil(answerTo(question)), false
				}
				return answerTo(question), false
			})
			t.Parallel()
			timeout := testenv.Patience / 10
			if strings.Contains(test.want, "within") {
				timeout = 2 * time.Second
			}
			b, c := busOf(t, controller, timeout, request("holding", field(40, "x", "UINT16"), field(41, "y", "UINT16")))
			same(t, asked(t, b, c), []string{"1/3/40: " + test.want})
			// What comes after it is read as what it is.
			b.config.Timeout = testenv.Patience / 10
			same(t, asked(t, b, c), []string{"modbus:line-1:1/3/40", "  line-1/1 x = 40", "  line-1/1 y = 41"})
		})
	}
}

// What comes before the answer, with another number, is passed over.
func TestALateAnswerOverTCPIsNobodys(t *testing.T) {
	controller := server(t, func(_ int, question []byte) ([]byte, bool) {
		late := append([]byte{}, question...)
		late[0], late[9] = 0x77, 1
		return append(answerTo(late), answerTo(question)...), false
	})
	b, c := busOf(t, controller, 5*time.Second, request("holding", field(2, "y", "UINT16")))
	same(t, asked(t, b, c), []string{"modbus:line-1:1/3/2", "  line-1/1 y = 2"})
}

// Devices close a connection that was silent for a while: the next question is put over a new one, and nothing has failed.
func TestAConnectionThatTheDeviceClosesIsMadeAnew(t *testing.T) {
	controller := server(t, func(_ int, question []byte) ([]byte, bool) { return answerTo(question), true })
	b, c := busOf(t, controller, 5*time.Second, request("holding", field(1, "x", "UINT16"), field(5, "y", "UINT16")))
	want := []string{"modbus:line-1:1/3/1", "  line-1/1 x = 1", "modbus:line-1:1/3/5", "  line-1/1 y = 5"}
	same(t, asked(t, b, c), want)
	same(t, asked(t, b, c), want)

	controller = server(t, func(int, []byte) ([]byte, bool) { return nil, true })
	b, c = busOf(t, controller, 5*time.Second, request("holding", field(1, "x", "UINT16")))
	same(t, asked(t, b, c), []string{"1/3/1: the device closed the connection"})
}

func TestAnEndIsNotHeldUpByADeviceThatCannotBeReached(t *testing.T) {
	b, c := busOf(t, "tcp://192.0.2.1:502", mostTimeout, request("holding", field(1, "x", "UINT16")))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []poll.Answer)
	go func() { done <- poll.Ask(ctx, b.Groups(c)) }()
	cancel()
	if answers := <-done; len(answers) != 1 || answers[0].Err == nil {
		t.Errorf("got %+v", answers)
	}
}

// What is left of the rest after silence when a poll's time is over can be waited for.
func TestABusRestsAfterSilence(t *testing.T) {
	controller := server(t, func(int, []byte) ([]byte, bool) { return nil, false })
	b, c := busOf(t, controller, 500*time.Millisecond, request("holding", field(1, "x", "UINT16")))
	poll.Ask(t.Context(), b.Groups(c))
	b.Rest(t.Context())
	if left := time.Until(b.quiet); b.quiet.IsZero() || left > 0 {
		t.Errorf("%v of the rest is left, which is until %v", left, b.quiet)
	}
}

func TestControllers(t *testing.T) {
	for controller, want := range map[string]string{
		"tcp://plc": "plc:502", "tcp://plc:1502": "plc:1502", "tcp://192.168.1.7": "192.168.1.7:502", "tcp://[fd00::1]:502": "[fd00::1]:502", "tcp://[fd00::1]": "[fd00::1]:502",
		"file:///dev/ttyUSB0": "/dev/ttyUSB0", "/dev/ttyUSB0": "", "tcp://": "", "tcp://plc/1": "", "tcp://plc:99999": "", "tcp://plc:0": "", "tcp://plc:modbus": "", "udp://plc:502": "", "file://ttyUSB0": "", "": "", "plc:502": "",
	} {
		a, err := parseController(controller)
		if a.at != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", controller, a.at, err, want)
		}
	}
}

func TestALineIsOpenedOnce(t *testing.T) {
	here, _ := testenv.SerialLine(t)
	l, err := openLine(here)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openLine(here); !errors.Is(err, serialline.ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	l.Close()
	if l, err = openLine(here); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := openLine(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a line that is not there was opened")
	}
	if _, err := openLine(os.DevNull); err == nil || !strings.Contains(err.Error(), "it is no serial line") {
		t.Errorf("another device: %v", err)
	}
}
