package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"edgechain.example/localhttp"
)

// aggregation is an aggregation node as it is shipped, with a store in a folder.
type aggregation struct {
	*program
	dir    string
	config string // file
	socket string
	key    string // "ssh-ed25519 …"
}

const aggregationConfig = `
[aggregator]
name = "` + benchAggregator + `"
data = %q

[trust]
gateways = "all"

[clock]
assume_synchronised = true # nothing hangs on these receipts

[api]
socket = %q

[log]
level = "warn"

[[broker]]
name = "office"
servers = ["tcp://%s"]
`

// newAggregation makes an aggregator's key and configuration; extra is the rest of it.
func (b *bench) newAggregation(ctx context.Context, broker, extra string) (*aggregation, error) {
	path, err := b.program(ctx, "edgeaggregator")
	if err != nil {
		return nil, err
	}
	n := &aggregation{}
	if n.dir, err = os.MkdirTemp(b.dir, "aggregator-"); err != nil {
		return nil, err
	}
	if n.socket, err = socketPath(); err != nil {
		return nil, err
	}
	n.config = filepath.Join(n.dir, "edgeaggregator.toml")
	text := fmt.Sprintf(aggregationConfig, filepath.Join(n.dir, "data"), n.socket, broker) + extra
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, path, "init", "--config", n.config, "--output", "json").Output()
	if err != nil {
		return nil, fmt.Errorf("edgeaggregator init: %w", err)
	}
	var made struct{ Key string }
	if err := json.Unmarshal(out, &made); err != nil {
		return nil, err
	}
	n.key = made.Key
	return n, nil
}

// start runs the aggregator, and returns when it is connected to its broker.
func (b *bench) startAggregation(ctx context.Context, n *aggregation) (err error) {
	path, err := b.program(ctx, "edgeaggregator")
	if err != nil {
		return err
	}
	if n.program, err = startProgram(ctx, path, "run", "--config", n.config); err != nil {
		return err
	}
	return n.await(func() bool {
		_, err := n.get(ctx, "/readyz")
		return err == nil
	})
}

// get asks the aggregator on its socket.
func (n *aggregation) get(ctx context.Context, path string) (string, error) {
	carrier, err := localhttp.Dial(ctx, n.socket)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: carrier}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edgeaggregator"+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, body)
	}
	return string(body), err
}

// received returns how many messages came from the broker.
func (n *aggregation) received(ctx context.Context) (int, error) {
	text, err := n.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(text, "\nedgeaggregator_broker_received_total{broker=\"office\"} ")
	line, _, _ := strings.Cut(after, "\n")
	count, err := strconv.ParseFloat(line, 64)
	return int(count), err
}

func (n *aggregation) close() error {
	if n.program != nil {
		n.stop()
		if !n.cmd.ProcessState.Success() {
			return fmt.Errorf("the aggregator ended with %v: %s", n.cmd.ProcessState, &n.output)
		}
	}
	return os.RemoveAll(n.dir)
}
