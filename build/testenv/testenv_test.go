package testenv_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"edgechain.example/build/testenv"
)

func TestMosquittoKeepsPersistentSessionThroughKillAndRestart(t *testing.T) {
	testenv.Need(t, "mosquitto_pub", "mosquitto_sub")
	broker := testenv.Mosquitto(t, testenv.Persistent+testenv.KeepsAll)
	host, port, _ := net.SplitHostPort(broker.Addr)
	client := func(program string, args ...string) string {
		t.Helper()
		args = append([]string{"-h", host, "-p", port, "-t", "press", "-q", "1"}, args...)
		output, err := exec.Command(program, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, output)
		}
		return string(output)
	}
	client("mosquitto_sub", "-i", "reader", "-c", "-E") // leaves a session behind
	client("mosquitto_pub", "-m", "73.9")
	broker.Stop()
	if conn, err := net.Dial("tcp", broker.Addr); err == nil {
		conn.Close()
		t.Fatal("a stopped broker takes connections")
	}
	broker.Restart()
	broker.Kill()
	broker.Restart()
	if got := client("mosquitto_sub", "-i", "reader", "-c", "-C", "1"); got != "73.9\n" {
		t.Errorf("after the restart the session holds %q, want the message sent before it", got)
	}
}

func TestPostgresAnswers(t *testing.T) {
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var isolation string
	if err := conn.QueryRow(ctx, "show transaction_isolation").Scan(&isolation); err != nil {
		t.Fatal(err)
	}
}

func TestPromtoolRefusesBadMetrics(t *testing.T) {
	cmd := exec.Command(testenv.Promtool(t), "check", "metrics")
	cmd.Stdin = strings.NewReader("edge-chain 1\n")
	if output, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("promtool accepts a hyphen in a name:\n%s", output)
	}
}

// The test process is this same binary, started again with this variable: it starts a broker and waits to be killed.
const orphan = "TESTENV_ORPHAN"

func TestServerDiesWithKilledTestProcess(t *testing.T) {
	if os.Getenv(orphan) != "" {
		broker := testenv.Mosquitto(t, "")
		fmt.Printf("\nlistening %s\n", broker.Addr)
		select {}
	}
	testenv.Need(t, "mosquitto")
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), orphan+"=1", "TMPDIR="+t.TempDir())
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addr string
	for lines := bufio.NewScanner(output); addr == "" && lines.Scan(); {
		if after, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
			addr = after
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if addr == "" {
		t.Fatal("the test process ended before it had a broker")
	}
	testenv.Await(t, "the broker has ended with the test process that started it", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

func TestAPortBelongsToOneTestUntilItsEnd(t *testing.T) {
	var port int
	t.Run("holds", func(t *testing.T) {
		port = testenv.FreePort(t)
		for range 2 { // its server may come and go
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
		}
		if held, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			held.Close()
			t.Errorf("port %d could be another test's", port)
		}
	})
	testenv.Await(t, "the port is free after its test", func() bool {
		held, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			held.Close()
		}
		return err == nil
	})
}

func TestMissingProgramFailsWhereCIIsSet(t *testing.T) {
	for _, c := range []struct{ ci, want string }{{"", "skipped"}, {"true", "failed"}} {
		t.Setenv("CI", c.ci)
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() { // Skip and Fatal end their goroutine
			defer close(done)
			testenv.Need(r, "no-such-program-anywhere")
		}()
		<-done
		if r.end != c.want {
			t.Errorf("with CI=%q the test was %q, want %q", c.ci, r.end, c.want)
		}
	}
}

// recorder is a test of which only the end is wanted.
type recorder struct {
	testing.TB
	end string
}

func (r *recorder) Fatal(...any) { r.stop("failed") }
func (r *recorder) Skip(...any)  { r.stop("skipped") }
func (r *recorder) stop(end string) {
	r.end = end
	runtime.Goexit()
}
