package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// machineTemperature is the temperature of an industrial machine, every five minutes for two and a half months.
const (
	machineTemperature = "../../../shared/data/machine_temperature.csv"
	machineRows        = 22695
)

// machineMessages returns the payloads that the machine's sensor would publish, and the index of the lowest value.
func machineMessages(t testing.TB) (payloads []string, lowest int) {
	t.Helper()
	type row struct{ time, value string }
	var rows []row
	file, err := os.Open(machineTemperature)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.Logf("%s is not there: %d rows of its shape are generated", machineTemperature, machineRows)
		at := time.Date(2013, 12, 2, 21, 15, 0, 0, time.UTC)
		for i := range machineRows {
			value := 85 + 15*math.Sin(float64(i)/288*2*math.Pi) + 5*math.Sin(float64(i*i%7919)) - float64(i%9001)/300
			rows = append(rows, row{at.Format("2006-01-02 15:04:05"), strconv.FormatFloat(value, 'g', -1, 64)})
			at = at.Add(5 * time.Minute)
		}
	case err != nil:
		t.Fatal(err)
	default:
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Scan() // the heading
		for lines.Scan() {
			at, value, _ := strings.Cut(lines.Text(), ",")
			rows = append(rows, row{at, value})
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if len(rows) != machineRows {
		t.Fatalf("%s has %d rows, want %d", machineTemperature, len(rows), machineRows)
	}
	least := math.Inf(1)
	for i, r := range rows {
		payloads = append(payloads, fmt.Sprintf(`{"time":"%sZ","temperature":%s,"unit":"[degF]"}`, strings.Replace(r.time, " ", "T", 1), r.value))
		v, err := strconv.ParseFloat(r.value, 64)
		if err != nil {
			t.Fatal(err)
		}
		if v < least {
			least, lowest = v, i
		}
	}
	return payloads, lowest
}

// readsMachine makes readings of the machine's payloads; the table's name goes in front.
const readsMachine = `
topics = ["factory/#"]
device_from = "level"
dialect = "json"
timestamp_path = "time"
timestamp_format = "rfc3339"
unit_path = "unit"
`

// subscribes is the configuration of a gateway that hears the machine through a broker of its own.
func subscribes(broker *testenv.Broker) string {
	return fmt.Sprintf("[[mqtt]]\nname = \"plant\"\nservers = [\"tcp://%s\"]\n[[mqtt.subscribe]]%s", broker.Addr, readsMachine)
}

const machineTopic = "factory/machine-7/temperature"

func TestEveryRowReplayedToEmbeddedBrokerIsInChainOnceInOrder(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[[broker.decode]]"+readsMachine)
	g.start()
	replay(t, g, g.port)
}

func TestEveryRowReplayedThroughMosquittoIsInChainOnceInOrder(t *testing.T) {
	t.Parallel()
	wholeSystem(t)
	broker := testenv.Mosquitto(t, testenv.KeepsAll)
	g := newGateway(t, subscribes(broker))
	g.start()
	replay(t, g, portOfAddress(t, broker.Addr))
}

func portOfAddress(t testing.TB, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// replay publishes all rows with mosquitto_pub and looks at what became of them.
func replay(t *testing.T, g *gateway, port int) {
	payloads, lowest := machineMessages(t)
	began := time.Now()
	pub := mosquittoPub(t, port, "-i", "machine-7", "-t", machineTopic, "-l")
	pub.Stdin = strings.NewReader(strings.Join(payloads, "\n") + "\n")
	program.Must(t, pub)
	g.await("in the chain whole", func() bool { return g.received() >= len(payloads) })
	t.Logf("%d rows in %v", len(payloads), time.Since(began).Round(time.Millisecond))
	g.stop()

	entries := g.entries()
	if len(entries) != len(payloads) {
		t.Errorf("%d entries, want %d", len(entries), len(payloads))
	}
	for i := range min(len(entries), len(payloads)) {
		e := &entries[i]
		if string(e.Payload) != payloads[i] || len(e.Flags) > 0 || !e.Sealed {
			t.Fatalf("entry %d has flags %v and payload %s, want row %d: %s", e.Number, e.Flags, e.Payload, i, payloads[i])
		}
		if !readsAs(e, payloads[i]) {
			t.Fatalf("entry %d was read as %+v, want %s", e.Number, e.Readings, e.Payload)
		}
	}
	chain := g.verify()
	_, says := g.prove(chain, entries[lowest].Number)
	var row struct{ Temperature json.Number }
	if err := json.Unmarshal([]byte(payloads[lowest]), &row); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(says, row.Temperature.String()) {
		t.Errorf("the proof of the lowest value does not say %s:\n%s", row.Temperature, says)
	}
}

// received returns how many entries devices have sent since the agent's start that are on disk.
func (g *gateway) received() int {
	var sum float64
	_, body := g.get("/metrics")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "edgeagent_entries_total{source=\""); ok && !strings.HasPrefix(rest, "agent") {
			_, value, _ := strings.Cut(rest, "} ")
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				g.t.Fatal(err)
			}
			sum += v
		}
	}
	return int(sum)
}

// readsAs compares the one reading of an entry with the payload it was read from.
func readsAs(e *api.Entry, payload string) bool {
	var row struct {
		Time        time.Time
		Temperature json.Number
		Unit        string
	}
	if err := json.Unmarshal([]byte(payload), &row); err != nil || len(e.Readings) != 1 {
		return false
	}
	r := &e.Readings[0]
	want, err := row.Temperature.Float64()
	if err != nil {
		return false
	}
	got, err := strconv.ParseFloat(strings.TrimSpace(string(r.Value)), 64)
	return err == nil && got == want && r.Device == "machine-7" && r.Name == "temperature" && r.Unit == row.Unit &&
		r.Time.Equal(row.Time)
}
