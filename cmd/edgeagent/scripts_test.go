package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"edgechain.example/build/testenv"
)

// Each script begins in a folder with edgeagent.toml, of a gateway whose data are below it and whose broker is at
// $PORT. Beside testscript's own commands there are
//
//	exits CODE PROGRAM ARGS…    runs the program, which must exit with the code
//	publish CLIENT TOPIC PAYLOAD
//	                            publishes with QoS 1
//	ready                       waits until the agent records
func TestScripts(t *testing.T) {
	t.Parallel()
	folder := wholeSystem(t)
	testenv.Need(t, "mosquitto_pub")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			port := testenv.FreePort(t)
			sockets, err := os.MkdirTemp("", "edgeagent") // a socket's path must stay short
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(sockets) })
			env.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("PORT", strconv.Itoa(port))
			env.Setenv("SOCKET", filepath.Join(sockets, "s"))
			env.Setenv("TZ", "UTC") // times are shown in local time
			text := fmt.Sprintf(sampleSettings, filepath.Join(env.WorkDir, "data"), filepath.Join(sockets, "s"), port) +
				"[[broker.decode]]\ntopics = [\"#\"]\ndevice_from = \"level\"\n"
			return os.WriteFile(filepath.Join(env.WorkDir, "edgeagent.toml"), []byte(text), 0o666)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "publish": publishScript, "ready": ready,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program args…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var exit *exec.ExitError
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s exits with %d, want %d", args[1], got, want)
	}
}

func publishScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: publish client topic payload")
	}
	ts.Check(ts.Exec("mosquitto_pub", "-h", "127.0.0.1", "-p", ts.Getenv("PORT"), "-q", "1", "-i", args[0], "-t", args[1], "-m", args[2]))
}

func ready(ts *testscript.TestScript, neg bool, args []string) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", ts.Getenv("SOCKET"))
		},
	}}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := client.Get("http://gateway/v1/status")
		if err != nil {
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK && recordsBy(string(body)) {
			return
		}
	}
	ts.Fatalf("the agent is not ready after %v", patience)
}
