//go:build !nomodbus

package modbus

import (
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"edgechain.example/build/testenv"
)

// crc is that of RTU frames (MODBUS over Serial Line V1.02, section 6.2.2).
func crc(b []byte) []byte {
	sum := uint16(0xffff)
	for _, x := range b {
		sum ^= uint16(x)
		for range 8 {
			low := sum & 1
			if sum >>= 1; low == 1 {
				sum ^= 0xa001
			}
		}
	}
	return []byte{byte(sum), byte(sum >> 8)}
}

// slave is a device at a line's end. It reads questions for registers, and what it says to each is given: nil, nothing.
func slave(t *testing.T, line string, answer func(n int, question []byte, say func([]byte))) {
	t.Helper()
	f, err := os.OpenFile(line, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	// A read of a terminal cannot be cut short: the answers end with the line, which ends with the test.
	done.Go(func() {
		question := make([]byte, 8)
		for n := 0; ; n++ {
			if _, err := io.ReadFull(f, question); err != nil {
				return
			}
			answer(n, question, func(frame []byte) { _, _ = f.Write(frame) })
		}
	})
	t.Cleanup(func() { f.Close() })
}

// rightFrame is the answer to a question, with the address as the value.
func rightFrame(q []byte) []byte {
	a := []byte{q[0], q[1], 2 * q[5]}
	for i := range q[5] {
		a = append(a, q[2], q[3]+i)
	}
	return append(a, crc(a)...)
}

func TestWrongAnswersOfASerialLineAreNobodys(t *testing.T) {
	sum := func(a []byte) []byte { return append(a, crc(a)...) }
	for _, test := range []struct {
		name, want string
		spoil      func(frame []byte) []byte
	}{
		{"a wrong checksum", "an answer with a wrong checksum", func(a []byte) []byte { a[len(a)-1] ^= 1; return a }},
		{"another unit", "an answer of another unit than the one that was asked", func(a []byte) []byte { a[0] = 9; return sum(a[:len(a)-2]) }},
		{"another function", "an answer that does not fit the question: unexpected response code (4)", func(a []byte) []byte { a[1] = 4; return sum(a[:len(a)-2]) }},
		{"short", "no whole answer within 2s", func(a []byte) []byte { return a[:5] }},
		{"very short", "an answer that is cut short", func(a []byte) []byte { return a[:2] }},
		{"more registers", "an answer that does not fit the question", func(a []byte) []byte { return sum([]byte{1, 3, 6, 0, 1, 0, 2, 0, 3}) }},
		{"an exception", "exception 2, illegal data address", func(a []byte) []byte { return sum([]byte{1, 0x83, 2}) }},
		{"nothing", "no whole answer within 2s", func(a []byte) []byte { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			here, there := testenv.SerialLine(t)
			slave(t, there, func(n int, question []byte, say func([]byte)) {
				frame := rightFrame(question)
				if n == 0 {
					frame = test.spoil(frame)
				}
				say(frame)
			})
			b, c := busOf(t, "file://"+here, 2*time.Second, request("holding", field(40, "x", "UINT16"), field(41, "y", "UINT16")))
			same(t, asked(t, b, c), []string{"1/3/40: " + test.want})
			b.config.Timeout = testenv.Patience / 10
			b.Close()
			same(t, asked(t, b, c), []string{"modbus:line-1:1/3/40", "  line-1/1 x = 40", "  line-1/1 y = 41"})
		})
	}
}

// Nothing on a serial line says to which question an answer belongs. One that comes after its time must not become the answer
// to the next question, which is about other registers.
func TestALateAnswerOfASerialLineIsNobodys(t *testing.T) {
	here, there := testenv.SerialLine(t)
	slave(t, there, func(n int, question []byte, say func([]byte)) {
		frame := rightFrame(question)
		if n == 0 { // half the time-out too late, when the next question would have been put; and only then it hears that
			time.Sleep(3 * time.Second)
		}
		say(frame)
	})
	b, c := busOf(t, "file://"+here, 2*time.Second, request("holding", field(1, "x", "UINT16")), request("holding", field(2, "y", "UINT16")))
	same(t, asked(t, b, c), []string{"1/3/1: no whole answer within 2s", "modbus:line-1:1/3/2", "  line-1/1 y = 2"})
}

// Nor must one that comes twice.
func TestAnAnswerThatComesTwiceIsReadOnce(t *testing.T) {
	here, there := testenv.SerialLine(t)
	twice := make(chan bool, 1)
	slave(t, there, func(n int, question []byte, say func([]byte)) {
		frame := rightFrame(question)
		say(frame)
		if n == 0 {
			say(frame)
			twice <- true
		}
	})
	b, c := busOf(t, "file://"+here, 5*time.Second, request("holding", field(1, "x", "UINT16")))
	same(t, asked(t, b, c), []string{"modbus:line-1:1/3/1", "  line-1/1 x = 1"})
	<-twice
	time.Sleep(100 * time.Millisecond) // for socat to bring it; without it the test shows nothing, and fails nobody
	c.Request[0].Fields[0].Address = 2
	same(t, asked(t, b, c), []string{"modbus:line-1:1/3/2", "  line-1/1 x = 2"})
}

func TestALineThatGoesAwayAndComesBack(t *testing.T) {
	here, there := testenv.SerialLine(t)
	slave(t, there, func(_ int, question []byte, say func([]byte)) { say(rightFrame(question)) })
	link := t.TempDir() + "/tty"
	if err := os.Symlink(here, link); err != nil {
		t.Fatal(err)
	}
	b, c := busOf(t, "file://"+link, 5*time.Second, request("holding", field(1, "x", "UINT16")))
	want := []string{"modbus:line-1:1/3/1", "  line-1/1 x = 1"}
	same(t, asked(t, b, c), want)
	b.Close()
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	same(t, asked(t, b, c), []string{"1/3/1: opening the line: open " + link + ": no such file or directory"})
	if err := os.Symlink(here, link); err != nil {
		t.Fatal(err)
	}
	same(t, asked(t, b, c), want)
}

// The serial library selects on a set of 1,024 descriptors: with one beyond it would watch another file, and write beyond the set.
func TestALineIsNotOpenedBeyondTheSetOfTheSerialLibrary(t *testing.T) {
	here, there := testenv.SerialLine(t)
	slave(t, there, func(_ int, question []byte, say func([]byte)) { say(rightFrame(question)) })
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < 1200 {
		t.Skip("fewer files may be open")
	}
	b, c := busOf(t, "file://"+here, 5*time.Second, request("holding", field(1, "x", "UINT16")))
	var open []*os.File
	shut := func() {
		for _, f := range open {
			f.Close()
		}
	}
	defer shut()
	for range 1100 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	same(t, asked(t, b, c), []string{"1/3/1: opening the line: the agent has more than 960 files open: with so many no serial line can be read"})
	shut()
	answered := []string{"modbus:line-1:1/3/1", "  line-1/1 x = 1"}
	same(t, asked(t, b, c), answered)
}

// A bus that is closed while its line is being opened, by a reload for instance, lets go of it: the next bus needs it.
func TestALineThatIsBeingOpenedIsLetGoOf(t *testing.T) {
	here, _ := testenv.SerialLine(t)
	b, _ := busOf(t, "file://"+here, 5*time.Second)
	l, err := openLine(here)
	if err != nil {
		t.Fatal(err)
	}
	b.line, b.dialed = l, &dialed{opened: make(chan error, 1)}
	b.dialed.opened <- io.EOF
	b.Close()
	testenv.Await(t, "the line is free", func() bool {
		l, err := openLine(here)
		if err == nil {
			l.Close()
		}
		return err == nil
	})
}
