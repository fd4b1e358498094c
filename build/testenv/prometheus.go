package testenv

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Prometheus starts one with the given configuration, on a free port of 127.0.0.1, and returns its address, host:port, when
// it answers.
func Prometheus(t testing.TB, config string) (address string) {
	t.Helper()
	folder, program := t.TempDir(), Program(t, "prometheus")
	file := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, "prometheus", filepath.Join(folder, "prometheus.log"), syscall.SIGKILL)
	for range 5 { // a program that is no test may take the port before Prometheus does
		address = fmt.Sprintf("127.0.0.1:%d", FreePort(t))
		cmd := exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address)
		if s.start(cmd, func() bool {
			response, err := http.Get("http://" + address + "/-/ready")
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == http.StatusOK
		}) {
			return address
		}
	}
	t.Fatal("prometheus does not start")
	return ""
}
