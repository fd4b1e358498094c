package agent

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors/sparkplug"
)

// edgeNode is an edge node by the reference client in JavaScript.
type edgeNode struct {
	t    *testing.T
	in   io.WriteCloser
	said chan string
	end  func()
}

// startNode starts a node; births "none" has it send none but those that it is asked for.
func startNode(t *testing.T, address, name, births string) *edgeNode {
	t.Helper()
	cmd := exec.Command(testenv.Program(t, "node"), "testdata/sparkplug-node.cjs", "mqtt://"+address, name, births)
	cmd.Env = append(os.Environ(), "NODE_PATH="+testenv.Modules(t, "sparkplug-client", "sparkplug-payload"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &edgeNode{t: t, in: in, said: make(chan string, 1000)}
	go func() {
		defer close(n.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n.said <- lines.Text()
		}
	}()
	n.end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(n.end)
	n.await("connected")
	return n
}

// await waits until the node says something that begins so.
func (n *edgeNode) await(word string) string {
	n.t.Helper()
	limit := time.After(testenv.Patience)
	for {
		select {
		case line, ok := <-n.said:
			if !ok {
				n.t.Fatalf("the node has ended before it said %q", word)
			}
			if strings.HasPrefix(line, word) {
				return line
			}
		case <-limit:
			n.t.Fatalf("the node does not say %q", word)
		}
	}
}

// do has the node do something: members of JSON behind the word for it.
func (n *edgeNode) do(act, more string) {
	n.t.Helper()
	if _, err := fmt.Fprintf(n.in, "{\"do\":%q%s}\n", act, more); err != nil {
		n.t.Fatal(err)
	}
	n.await("did " + act)
}

// data has it send the node's temperature by its alias.
func (n *edgeNode) data(celsius float64) {
	n.t.Helper()
	n.do("ndata", fmt.Sprintf(`,"metrics":[{"alias":10,"type":"Double","value":%v,"timestamp":1700000000000}]`, celsius))
}

// sparkplugAt is a subscription to the nodes of a broker.
func sparkplugAt(address string) MQTTConfig {
	var c MQTTConfig
	c.SetDefaults()
	c.Name, c.Servers = "plant", []mqttconn.Server{mqttconn.Server("tcp://" + address)}
	c.Subscribe = []SubscribeConfig{{Topics: []string{"spBv1.0/#"}, QoS: 1}}
	c.Subscribe[0].Dialect = "sparkplug_b"
	return c
}

// readingsOf are the readings of a device and name, oldest first.
func readingsOf(t *testing.T, r *store.Reader, device, name string) (found []lightchain.Reading) {
	t.Helper()
	for m, err := range r.Find(store.Query{Device: device, Name: name}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, reading := range m.Entry.Readings {
			if reading.Device == device && reading.Name == name {
				found = append(found, reading)
			}
		}
	}
	return found
}

// valueNow is the text of the newest reading of a device and name, "" if none.
func valueNow(t *testing.T, r *store.Reader, device, name string) string {
	t.Helper()
	found := readingsOf(t, r, device, name)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1].Value.String()
}

// toldOf are what entries tell of nodes, as "what node/device times messages".
func toldOf(t *testing.T, r *store.Reader) (told []string) {
	t.Helper()
	for m, err := range r.Find(store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		var event sparkplugEvent
		if s := m.Entry.Source; s != "agent:sparkplug" && s != "agent:gap" || json.Unmarshal(m.Entry.Payload, &event) != nil {
			continue
		}
		for _, n := range event.Nodes {
			if n.What == "" {
				n.What = "gap"
			}
			told = append(told, strings.TrimSuffix(fmt.Sprintf("%s %s/%s", n.What, n.Node, n.Device), "/"))
		}
	}
	return told
}

func awaitTold(t *testing.T, r *store.Reader, what string) {
	t.Helper()
	await(t, what, func() bool { return slices.Contains(toldOf(t, r), what) })
}

// birthsIn are the hashes of the payloads of births in the chain.
func birthsIn(t *testing.T, r *store.Reader) map[lightchain.Hash]bool {
	t.Helper()
	found := map[lightchain.Hash]bool{}
	for m, err := range r.Find(store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(m.Entry.Source, "BIRTH/") {
			found[sha256.Sum256(m.Entry.Payload)] = true
		}
	}
	return found
}

// The reference client's node is read through a broker of the plant's, and through the embedded one.
func TestSparkplugNode(t *testing.T) {
	testenv.Modules(t, "sparkplug-client", "sparkplug-payload")
	for _, way := range []string{"mosquitto", "embedded"} {
		t.Run(way, func(t *testing.T) {
			c := quickConfig(t)
			var address string
			if way == "mosquitto" {
				b := testenv.Mosquitto(t, "")
				address = b.Addr
				c.MQTT = []MQTTConfig{sparkplugAt(address)}
			} else {
				c.Broker = openBroker() // nothing says that these are Sparkplug's but their topics
			}
			a := startAgent(t, c)
			r := &a.store.Reader
			await(t, "the source", func() bool { return a.ready() == nil })
			if address == "" {
				address = a.running()[0].stats().Detail
			}
			node := startNode(t, address, "E1", "")
			await(t, "the birth of the device", func() bool { return valueNow(t, r, "Plant/E1/Press", "Speed") == "4000000000" })
			for name, want := range map[string]string{
				"Inputs/Temperature": "20.5", "Inputs/Offset": "-3", "Inputs/Count": "-5", "State": "läuft", "Batch.0.Id": "-7", "Batch.1.Name": "b", "Motor.RPM": "1500", "Motor.Index": "1",
			} {
				if got := valueNow(t, r, "Plant/E1", name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			node.data(21.5)
			node.do("ddata", `,"metrics":[{"alias":20,"type":"UInt32","value":5,"timestamp":1700000000000,"isHistorical":true}]`)
			await(t, "data", func() bool { return valueNow(t, r, "Plant/E1/Press", "Speed") == "5" })
			all := readingsOf(t, r, "Plant/E1", "Inputs/Temperature")
			last := all[len(all)-1]
			if last.Value.String() != "21.5" || last.Unit != "Cel" || last.Time != 1700000000000*1e6 || last.Meaning == nil || !birthsIn(t, r)[*last.Meaning] {
				t.Errorf("got %+v", last)
			}
			if all := readingsOf(t, r, "Plant/E1/Press", "Speed"); all[len(all)-1].Quality != lightchain.Historical {
				t.Errorf("got %+v", all)
			}
			for _, algorithm := range []string{"DEFLATE", "GZIP"} {
				node.do("births", fmt.Sprintf(`,"options":{"compress":true,"algorithm":%q}`, algorithm))
				node.do("ndata", fmt.Sprintf(`,"metrics":[{"alias":10,"type":"Double","value":30.5,"timestamp":1700000000000}],"options":{"compress":true,"algorithm":%q}`, algorithm))
			}
			await(t, "what was compressed", func() bool { return valueNow(t, r, "Plant/E1", "Inputs/Temperature") == "30.5" })
			if told := toldOf(t, r); len(told) != 0 {
				t.Errorf("nothing has happened, and told is %q", told)
			}

			node.do("lose", `,"count":3`)
			node.data(22.5)
			awaitTold(t, r, "gap Plant/E1")
			node.do("ddeath", "")
			awaitTold(t, r, "device_death Plant/E1/Press")
			node.do("drop", "") // it connects again, with the same number for its birth
			node.await("connected")
			awaitTold(t, r, "death Plant/E1")
			awaitTold(t, r, "bdseq Plant/E1")
			node.data(23.5)
			await(t, "data behind another birth", func() bool { return valueNow(t, r, "Plant/E1", "Inputs/Temperature") == "23.5" })
			node.do("stop", "")

			source := map[string]string{"mosquitto": "mqtt:plant", "embedded": "broker"}[way]
			await(t, "the status", func() bool {
				s := sourceOf(a, source).Sparkplug
				return s != nil && s.Nodes == 1 && s.Online == 0 && s.Missing == 3 && s.Gaps == 1
			})
			s := sourceOf(a, source).Sparkplug
			for _, want := range []sparkplug.Oddity{sparkplug.BdSeqType, sparkplug.DeathQoS0, sparkplug.DataDatatype, sparkplug.Compressed} {
				if !slices.ContainsFunc(s.Oddities, func(o sparkplug.Odd) bool { return o.What == want }) {
					t.Errorf("the client breaks the specification in %s, and that is not counted: %v", want, s.Oddities)
				}
			}
			var gap gapEvent
			for m := range r.Find(store.Query{Source: "agent:gap"}) {
				if err := json.Unmarshal(m.Entry.Payload, &gap); err != nil || gap.Count != 3 || gap.Source != source || gap.SoFar.Count != 3 || len(gap.Nodes) != 1 || gap.Nodes[0].Numbers == nil {
					t.Errorf("%s: %v", m.Entry.Payload, err)
				}
			}
		})
	}
}

// A gateway that comes late, or comes back, knows what nodes are called that were born meanwhile, or before.
func TestSparkplugBirthsOutliveTheAgent(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c, _ := keptGateway(t)
	c.MQTT = []MQTTConfig{sparkplugAt(b.Addr)}
	late := startNode(t, b.Addr, "E1", "") // its births go to nobody

	a, stop := runAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	for range 20 {
		late.data(1.5)
	}
	awaitTold(t, &a.store.Reader, "unborn Plant/E1")
	if got := valueNow(t, &a.store.Reader, "Plant/E1", "Inputs/Temperature"); got != "" {
		t.Errorf("without a birth an alias is %s", got)
	}
	node := startNode(t, b.Addr, "E2", "")
	node.data(2.5)
	late.do("births", "")
	awaitTold(t, &a.store.Reader, "born Plant/E1")
	late.data(3.5)
	await(t, "data behind the births", func() bool {
		return valueNow(t, &a.store.Reader, "Plant/E1", "Inputs/Temperature") == "3.5" && valueNow(t, &a.store.Reader, "Plant/E2", "Inputs/Temperature") == "2.5"
	})
	told := len(toldOf(t, &a.store.Reader))
	stop()

	// Of what comes while nobody listens, numbers alone are left.
	node.data(4.5)
	node.data(4.5)
	check := func(celsius float64) {
		t.Helper()
		a, stop = runAgent(t, c)
		await(t, "the source", func() bool { return a.ready() == nil })
		node.data(celsius)
		await(t, "data by an alias of before", func() bool {
			return valueNow(t, &a.store.Reader, "Plant/E2", "Inputs/Temperature") == fmt.Sprint(celsius)
		})
		all := readingsOf(t, &a.store.Reader, "Plant/E2", "Inputs/Temperature")
		if last := all[len(all)-1]; last.Meaning == nil || !birthsIn(t, &a.store.Reader)[*last.Meaning] {
			t.Errorf("got %+v", last)
		}
	}
	check(5.5)
	awaitTold(t, &a.store.Reader, "gap Plant/E2")
	if now := len(toldOf(t, &a.store.Reader)); now != told+1 {
		t.Errorf("told are %d things, %d before", now, told)
	}
	stop()

	// Without what is written down of nodes, or with a birth that is torn, the chain says it, or the next birth does.
	births, err := filepath.Glob(filepath.Join(c.Gateway.Data, sparkplugFolder, "*"+birthSuffix))
	if err != nil || len(births) != 4 {
		t.Fatalf("%q, %v", births, err)
	}
	if err := os.WriteFile(filepath.Join(c.Gateway.Data, sparkplugFolder, sparkplugFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(6.5)
	stop()
}

// A start reads again what came after the file was written, as it does when the program was killed.
func TestSparkplugIsRecalledFromTheChain(t *testing.T) {
	c, _ := keptGateway(t)
	c.Broker = openBroker()
	a, stop := runAgent(t, c)
	node := startNode(t, a.running()[0].stats().Detail, "E1", "")
	await(t, "the file", func() bool {
		_, err := os.Stat(filepath.Join(c.Gateway.Data, sparkplugFolder, sparkplugFile))
		return err == nil && valueNow(t, &a.store.Reader, "Plant/E1/Press", "Speed") != ""
	})
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(filepath.Join(c.Gateway.Data, sparkplugFolder))); err != nil {
		t.Fatal(err)
	}
	node.do("births", "")
	node.data(7.5)
	await(t, "data", func() bool { return valueNow(t, &a.store.Reader, "Plant/E1", "Inputs/Temperature") == "7.5" })
	node.end()
	awaitTold(t, &a.store.Reader, "death Plant/E1")
	stop()
	folder := filepath.Join(c.Gateway.Data, sparkplugFolder)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	a, stop = runAgent(t, c)
	if s := sourceOf(a, "broker").Sparkplug; s == nil || s.Nodes != 1 || s.Online != 0 {
		t.Errorf("that the node has died is forgotten: %+v", s)
	}
	stop()
	// What others have recorded since need not be read again after a stop, though no node has said anything.
	a, stop = runAgent(t, c)
	next := a.store.Next()
	stop()
	var memory sparkplugMemory
	text, err := os.ReadFile(filepath.Join(folder, sparkplugFile))
	if err == nil {
		err = json.Unmarshal(text, &memory)
	}
	if err != nil || memory.Next < next || len(memory.Sources["broker"].Nodes) != 1 {
		t.Errorf("the next start reads from entry %d, the last began at %d: %v", memory.Next, next, err)
	}
}

// tap passes connections on to a broker, and keeps what clients send.
type tap struct {
	addr string

	mu    sync.Mutex
	sent  [][]byte   // guarded by mu; by connection
	conns []net.Conn // guarded by mu
}

func newTap(t *testing.T, broker string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: listener.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", broker)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			at := len(p.sent)
			p.sent = append(p.sent, nil)
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			running.Go(func() {
				defer client.Close()
				_, _ = io.Copy(client, server)
			})
			running.Go(func() {
				defer server.Close()
				b := make([]byte, 4096)
				for {
					n, err := client.Read(b)
					p.mu.Lock()
					p.sent[at] = append(p.sent[at], b[:n]...)
					p.mu.Unlock()
					if err != nil {
						return
					}
					if _, err := server.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		running.Wait()
	})
	return p
}

// cut breaks all connections, without a word.
func (p *tap) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// packets are what the client sent on its n-th connection, -1 the newest one.
func (p *tap) packets(t *testing.T, n int) (connect *mqttwire.Connect, all []string, published []mqttwire.Publish) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sent) == 0 {
		return nil, nil, nil
	}
	if n < 0 {
		n = len(p.sent) - 1
	}
	in := bufio.NewReader(strings.NewReader(string(p.sent[n])))
	for {
		h, err := mqttwire.ReadHeader(in, 1<<20)
		if err != nil {
			return connect, all, published
		}
		body := make([]byte, h.Length)
		if _, err := io.ReadFull(in, body); err != nil {
			return connect, all, published
		}
		all = append(all, h.Type.String())
		switch h.Type {
		case mqttwire.CONNECT:
			c, err := mqttwire.DecodeConnect(h, body)
			if err != nil {
				t.Fatal(err)
			}
			connect = &c
		case mqttwire.PUBLISH:
			m, err := mqttwire.DecodePublish(connect.Version, h, body)
			if err != nil {
				t.Fatal(err)
			}
			published = append(published, m)
		}
	}
}

// host is a gateway that is a host application, behind a tap.
type host struct {
	*Agent
	tap  *tap
	stop func()
	c    *Config
	b    *testenv.Broker
}

func startHost(t *testing.T) *host {
	t.Helper()
	b := testenv.Mosquitto(t, "")
	h := &host{b: b, tap: newTap(t, b.Addr)}
	h.c, _ = keptGateway(t)
	h.c.MQTT = []MQTTConfig{sparkplugAt(h.tap.addr)}
	h.c.MQTT[0].HostID, h.c.MQTT[0].ReorderTimeout = "Edge 1", time.Millisecond
	h.Agent, h.stop = runAgent(t, h.c)
	await(t, "the source", func() bool { return h.ready() == nil })
	return h
}

// state is what the broker keeps of the host's word, by a subscription of its own.
func (h *host) state(t *testing.T) (s struct {
	Online    bool   `json:"online"`
	Timestamp uint64 `json:"timestamp"`
}) {
	t.Helper()
	address, port, _ := strings.Cut(h.b.Addr, ":")
	out, err := exec.Command(testenv.Program(t, "mosquitto_sub"), "-h", address, "-p", port, "-t", "spBv1.0/STATE/Edge 1", "-C", "1", "-W", "60", "-F", "%r %q %p").Output()
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	kept, payload, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if _, payload, _ = strings.Cut(payload, " "); kept != "1" {
		t.Errorf("it is not retained: %s", out)
	}
	if err := json.Unmarshal([]byte(payload), &s); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return s
}

// Each test here is named after the assertion of Sparkplug 3.0 that it is about.
func TestSparkplugHostSpecification(t *testing.T) {
	testenv.Need(t, "mosquitto", "mosquitto_sub")
	h := startHost(t)
	await(t, "its first words", func() bool { _, _, published := h.tap.packets(t, 0); return len(published) > 0 })
	connect, all, published := h.tap.packets(t, 0)
	birth := published[0]
	will := connect.Will
	check := func(id string, holds bool) {
		t.Run(id, func(t *testing.T) {
			if !holds {
				t.Errorf("packets %q, will %+v, first published %+v", all, will, birth)
			}
		})
	}
	type word struct {
		Online    *bool
		Timestamp *uint64
	}
	var dies, lives word
	_ = json.Unmarshal(will.Payload, &dies)
	_ = json.Unmarshal(birth.Payload, &lives)
	check("tck-id-host-topic-phid-death-required", connect.HasWill)
	check("tck-id-host-topic-phid-death-topic", string(will.Topic) == "spBv1.0/STATE/Edge 1")
	check("tck-id-host-topic-phid-death-qos", will.QoS == 1)
	check("tck-id-host-topic-phid-death-retain", will.Retain)
	check("tck-id-host-topic-phid-death-payload", dies.Online != nil && !*dies.Online && dies.Timestamp != nil)
	check("tck-id-host-topic-phid-birth-message", string(birth.Topic) == "spBv1.0/STATE/Edge 1")
	check("tck-id-host-topic-phid-birth-qos", birth.QoS == 1)
	check("tck-id-host-topic-phid-birth-retain", birth.Retain)
	check("tck-id-host-topic-phid-birth-payload", lives.Online != nil && *lives.Online && lives.Timestamp != nil)
	check("tck-id-host-topic-phid-birth-payload-timestamp", *lives.Timestamp == *dies.Timestamp)
	check("tck-id-host-topic-phid-birth-sub-required", slices.Index(all, "SUBSCRIBE") < slices.Index(all, "PUBLISH") && slices.Contains(all, "SUBSCRIBE"))
	age := time.Since(time.UnixMilli(int64(*dies.Timestamp)))
	check("tck-id-host-topic-phid-death-payload-timestamp-connect", age > -time.Second && age < testenv.Patience)

	t.Run("tck-id-message-flow-hid-sparkplug-state-message-delivered", func(t *testing.T) {
		publishRetained(t, h.b, "spBv1.0/STATE/Edge 1", `{"online":false,"timestamp":1}`)
		await(t, "its word again", func() bool { s := h.state(t); return s.Online && s.Timestamp == *lives.Timestamp })
		// What nodes cannot read takes the word away as well, and so does who erases it.
		for _, payload := range []string{"OFFLINE", ""} {
			_, _, before := h.tap.packets(t, -1)
			publishRetained(t, h.b, "spBv1.0/STATE/Edge 1", payload)
			await(t, "its word again", func() bool { _, _, now := h.tap.packets(t, -1); return len(now) > len(before) })
		}
	})
	t.Run("tck-id-operational-behavior-host-application-connect-will", func(t *testing.T) {
		h.tap.cut()
		await(t, "another connection", func() bool { _, _, published := h.tap.packets(t, -1); return h.tap.count() > 1 && len(published) > 0 })
		again, _, published := h.tap.packets(t, -1)
		var dies, said word
		_ = json.Unmarshal(again.Will.Payload, &dies)
		_ = json.Unmarshal(published[0].Payload, &said)
		if dies.Timestamp == nil || said.Timestamp == nil || *dies.Timestamp != *said.Timestamp || *said.Timestamp < *lives.Timestamp {
			t.Errorf("the will says %s, the birth %s", again.Will.Payload, published[0].Payload)
		}
		await(t, "that it is online", func() bool { return h.state(t).Online })
	})
	t.Run("tck-id-operational-behavior-data-commands-ncmd-rebirth-verb", func(t *testing.T) {
		node := startNode(t, h.b.Addr, "E1", "none")
		node.data(1.5)
		if said := node.await("ncmd"); said != "ncmd Node Control/Rebirth=true" {
			t.Error(said)
		}
		await(t, "the birth", func() bool { return valueNow(t, &h.store.Reader, "Plant/E1/Press", "Speed") != "" })
		node.data(2.5)
		await(t, "data", func() bool { return valueNow(t, &h.store.Reader, "Plant/E1", "Inputs/Temperature") == "2.5" })
		if s := sourceOf(h.Agent, "mqtt:plant").Sparkplug; s.Requests != 1 || s.HostID != "Edge 1" || s.Unborn != 0 {
			t.Errorf("the status says %+v", s)
		}
	})
	t.Run("tck-id-payloads-ncmd-qos", func(t *testing.T) {
		_, _, published := h.tap.packets(t, -1)
		requests := slices.DeleteFunc(published, func(p mqttwire.Publish) bool { return string(p.Topic) != "spBv1.0/Plant/NCMD/E1" })
		if len(requests) != 1 || requests[0].QoS != 0 || requests[0].Retain {
			t.Errorf("sent %+v", requests)
		}
	})
	t.Run("tck-id-operational-behavior-host-application-termination", func(t *testing.T) {
		before := time.Now()
		h.stop()
		var all []string
		var published []mqttwire.Publish
		await(t, "its last packet to come through", func() bool {
			_, all, published = h.tap.packets(t, -1)
			return all[len(all)-1] == "DISCONNECT"
		})
		last := published[len(published)-1]
		var said word
		_ = json.Unmarshal(last.Payload, &said)
		if said.Online == nil || *said.Online || time.UnixMilli(int64(*said.Timestamp)).Before(before.Truncate(time.Millisecond)) || last.QoS != 1 || !last.Retain {
			t.Errorf("it parts with %s, packets %q", last.Payload, all)
		}
		if h.state(t).Online {
			t.Error("the broker keeps that it is online")
		}
	})
}

func (p *tap) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent)
}

func publishRetained(t *testing.T, b *testenv.Broker, topic, payload string) {
	t.Helper()
	host, port, _ := strings.Cut(b.Addr, ":")
	if out, err := exec.Command(testenv.Program(t, "mosquitto_pub"), "-h", host, "-p", port, "-q", "1", "-r", "-t", topic, "-m", payload).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A passive gateway says nothing on a topic of Sparkplug's, whatever is missing.
func TestSparkplugIsPassiveByDefault(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	p := newTap(t, b.Addr)
	c := quickConfig(t)
	c.MQTT = []MQTTConfig{sparkplugAt(p.addr)}
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	node := startNode(t, b.Addr, "E1", "none")
	node.data(1.5)
	awaitTold(t, &a.store.Reader, "unborn Plant/E1")
	if connect, _, published := p.packets(t, 0); connect.HasWill || len(published) != 0 {
		t.Errorf("it sends %+v, will %+v", published, connect.Will)
	}
}

// At the embedded broker a host speaks for itself, also when a reload makes it one.
func TestSparkplugHostAtTheEmbeddedBroker(t *testing.T) {
	testenv.Need(t, "mosquitto_sub")
	c := quickConfig(t)
	c.Broker = openBroker()
	a := startAgent(t, c)
	address := a.running()[0].stats().Detail
	node := startNode(t, address, "E1", "none")
	node.data(1.5)
	awaitTold(t, &a.store.Reader, "unborn Plant/E1")
	next := *c
	next.Broker.HostID = "Edge 2"
	if would, err := a.WouldReload(&next); err != nil || len(would.Restarts) != 0 || would.Sessions != 0 {
		t.Errorf("it would do %+v, %v", would, err)
	}
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	// Its word stays, whoever erases it or says the opposite: what it answers comes behind what it is an answer to.
	server, port, _ := strings.Cut(address, ":")
	for _, payload := range []string{"-", "", "OFFLINE", `{"online":false,"timestamp":1}`} {
		if payload != "-" {
			publishRetained(t, &testenv.Broker{Addr: address}, "spBv1.0/STATE/Edge 2", payload)
		}
		await(t, "that it is online", func() bool {
			out, err := exec.Command(testenv.Program(t, "mosquitto_sub"), "-h", server, "-p", port, "-t", "spBv1.0/STATE/+", "-C", "1", "-W", "60", "-F", "%r %t %p").Output()
			return err == nil && strings.HasPrefix(string(out), `1 spBv1.0/STATE/Edge 2 {"online":true,"timestamp":`)
		})
	}
	node.data(2.5)
	if said := node.await("ncmd"); said != "ncmd Node Control/Rebirth=true" {
		t.Error(said)
	}
	node.data(3.5)
	await(t, "data", func() bool { return valueNow(t, &a.store.Reader, "Plant/E1", "Inputs/Temperature") == "3.5" })
}

// At another broker a node of the same name may be another machine: no birth of before names its data. Nor does one of a source that
// was not heard for a while.
func TestSparkplugBirthsStayAtTheirBroker(t *testing.T) {
	here, there := testenv.Mosquitto(t, ""), testenv.Mosquitto(t, "")
	c, _ := keptGateway(t)
	c.MQTT = []MQTTConfig{sparkplugAt(here.Addr)}
	a, stop := runAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	node, other := startNode(t, here.Addr, "E1", ""), startNode(t, there.Addr, "E1", "")
	node.data(1.5)
	now := func(celsius string) {
		t.Helper()
		await(t, celsius, func() bool { return valueNow(t, &a.store.Reader, "Plant/E1", "Inputs/Temperature") == celsius })
	}
	nodesKnown := func() int {
		if s := sourceOf(a, "mqtt:plant").Sparkplug; s != nil {
			return s.Nodes
		}
		return 0
	}
	change := func(m ...MQTTConfig) {
		t.Helper()
		next := *c
		next.MQTT = m
		if would, err := a.WouldReload(&next); err != nil {
			t.Fatal(would, err)
		}
		if _, err := a.Reload(&next); err != nil {
			t.Fatal(err)
		}
		c = &next
		if len(m) > 0 {
			await(t, "the source", func() bool { return a.ready() == nil })
		}
	}
	now("1.5")
	both := sparkplugAt(here.Addr)
	both.Servers = append(both.Servers, sparkplugAt(there.Addr).Servers...)
	change(both)
	node.data(2.5) // one address more is the same broker
	now("2.5")
	change(sparkplugAt(here.Addr))
	change(sparkplugAt(there.Addr))
	await(t, "data without a birth", func() bool {
		other.data(66)
		return slices.Contains(toldOf(t, &a.store.Reader), "unborn Plant/E1")
	})
	other.do("births", "")
	other.data(3.5)
	now("3.5")
	stop()

	c.MQTT = []MQTTConfig{sparkplugAt(here.Addr)}
	a, stop = runAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	if n := nodesKnown(); n != 0 {
		t.Errorf("after a start %d nodes of another broker are known", n)
	}
	await(t, "data without a birth", func() bool {
		node.data(66)
		return nodesKnown() == 1
	})
	node.do("births", "")
	node.data(4.5)
	now("4.5")
	change()
	change(sparkplugAt(here.Addr))
	if n := nodesKnown(); n != 0 {
		t.Errorf("%d nodes are known of a source that was not heard", n)
	}
	for _, r := range readingsOf(t, &a.store.Reader, "Plant/E1", "Inputs/Temperature") {
		if r.Value == lightchain.Float(66) {
			t.Errorf("it was named by a birth of another broker: %v", r)
		}
	}
	stop()
}
