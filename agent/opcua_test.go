package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/sensors/opcua"
)

// opcuaAgentConfig returns the page's configuration for a server of this machine that trusts its gateway.
func opcuaAgentConfig(t *testing.T) (*Config, *testenv.OPCUA) {
	t.Helper()
	text, _ := pageConfig(t, "opcua.md", "")
	folder := t.TempDir()
	certificate, key, password := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"), filepath.Join(folder, "password")
	own := testenv.RSACertificate(t, "urn:edgechain:edgeagent:press", certificate, key)
	if err := os.WriteFile(password, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := testenv.NewOPCUA(t, [][]byte{own}, nil)
	sum := sha256.Sum256(server.Certificate)
	text = strings.NewReplacer("opc.tcp://192.168.1.20:4840", server.Endpoint, "5f2d9c0b7e41a8365f2d9c0b7e41a8365f2d9c0b7e41a8365f2d9c0b7e41a836", hex.EncodeToString(sum[:]),
		"/etc/edgeagent/line-1.password", password).Replace(text)
	read, warnings, err := loadText(t, text, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	c := quickConfig(t)
	c.OPCUA = read.OPCUA
	// As the agent would have made them at its first connection.
	mine := filepath.Join(c.Gateway.Data, opcuaFolder)
	if err := os.MkdirAll(mine, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{certificate: "cert.pem", key: "key.pem"} {
		if err := os.Rename(from, filepath.Join(mine, to)); err != nil {
			t.Fatal(err)
		}
	}
	return c, server
}

func TestValuesOfAnOPCUAServerAreRecordedAndProved(t *testing.T) {
	_, shown := pageConfig(t, "opcua.md", "edgeagent poll once line-1")
	c, server := opcuaAgentConfig(t)
	a := startAgent(t, c)
	const source = "opcua:line-1:ns=1;s=Temperature"
	await(t, "an entry", func() bool { return len(entriesOf(t, a, source, 1)) > 0 })
	r := entriesOf(t, a, source, 1)[0]
	e := provesEntry(t, a, r.Number).Entry
	if got := shortly(&e); e.Decoder != "opcua/1" || len(got) != 1 || got[0] != "press-07 temperature = 21.7 Cel" || e.Readings[0].Time != 1772352000125000000 {
		t.Errorf("%s: %q at %d", e.Decoder, got, e.Readings[0].Time)
	}
	await(t, "the namespaces", func() bool { return len(entriesOf(t, a, "opcua:line-1:i=2255", 1)) > 0 })
	await(t, "an uncertain value", func() bool {
		all := entriesOf(t, a, "opcua:line-1:ns=1;s=Doubtful", 1)
		return len(all) > 0 && shortly(&all[0].Entry)[0] == "press-07 pressure = 1.5 bar bad"
	})

	client, err := api.Dial(t.Context(), c.API.Socket)
	if err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() ([]api.Polled, error){
		"the agent":  func() ([]api.Polled, error) { return client.Poll(t.Context(), "line-1") },
		"by oneself": func() ([]api.Polled, error) { return PollOnce(t.Context(), c, "opcua:line-1/press") },
	} {
		polled, err := ask()
		if err != nil {
			t.Fatal(name, err)
		}
		var got []string
		for _, p := range polled {
			for _, r := range p.Readings {
				line := fmt.Sprint(p.Group, " ", p.Read, " ", r.Device, " ", r.Name, " ", string(r.Value), " ", r.Unit)
				if len(r.Quality) > 0 {
					line += fmt.Sprint(" ", r.Quality)
				}
				got = append(got, strings.Join(strings.Fields(line), " "))
			}
		}
		if !slices.Equal(got, shown[1:]) {
			t.Errorf("%s: got\n%s\nthe page says\n%s", name, strings.Join(got, "\n"), strings.Join(shown[1:], "\n"))
		}
	}
	if nodes, err := c.BrowseOPCUA(t.Context(), "line-1", "ns=1;s=Press", 1); err != nil || !slices.ContainsFunc(nodes, func(n opcua.Node) bool { return n.ID == "ns=1;s=Temperature" }) {
		t.Errorf("%v, %v", nodes, err)
	}

	server.Stop()
	state := func() api.Source { return runningSource(a, "opcua:line-1").status() }
	await(t, "the failure", func() bool { return state().State == api.SourceFailing })
	server.Start()
	await(t, "the recovery", func() bool { return state().State == api.SourceUp })
	var events []pollEvent
	await(t, "two entries", func() bool { events = pollEvents(t, a); return len(events) == 2 })
	if f, r := events[0], events[1]; f.Source != "opcua:line-1" || f.Group != "" || len(f.Failing) != 1 || len(r.Recovered) != 1 || r.Recovered[0].To <= r.Recovered[0].From {
		t.Errorf("%+v", events)
	}
}

func TestAnOPCUAServerThatCannotWorkIsRefusedAtItsLine(t *testing.T) {
	const server = "[[opcua]]\nname = \"a\"\nendpoint = \"opc.tcp://plc:4840\"\n"
	const group = "[[opcua.subscribe]]\nname = \"g\"\nnodes = [{ id = \"ns=2;s=x\" }]\n"
	for _, test := range []struct{ text, want string }{
		{strings.Replace(server, "name = \"a\"\n", "", 1) + group, `x.toml:1:3: opcua: expected a name, such as name = "line-1"`},
		{server + group + server + group, `x.toml:8:1: opcua.name = "a": expected a name that no other has`},
		{strings.Replace(server, "opc.tcp://plc:4840", "opc.tcp://plc", 1) + group, `x.toml:3:1: opcua.endpoint = "opc.tcp://plc": expected "opc.tcp://" with host and port, such as "opc.tcp://192.168.1.20:4840"`},
		{server, `x.toml:1:3: opcua: expected [[opcua.subscribe]] below it: nothing would arrive`},
		{server + "security_policy = \"Basic256\"\n" + group, `x.toml:4:1: opcua.security_policy = "Basic256": expected "Basic256Sha256" or "None"`},
		{server + "security_mode = \"None\"\n" + group, `x.toml:4:1: opcua.security_mode = "None": expected "SignAndEncrypt" or "Sign": with security_policy = "Basic256Sha256" nothing else is`},
		{server + "server_fingerprint = \"12:34\"\n" + group, `x.toml:4:1: opcua.server_fingerprint = "12:34": expected the SHA-256 of the server's certificate, 64 hexadecimal digits`},
		{server + "password = \"x\"\n" + group, `x.toml:1:3: opcua: expected username beside the password`},
		{server + "user_certificate = \"/x\"\n" + group, `x.toml:1:3: opcua.user_private_key: expected user_certificate and user_private_key together`},
		{server + "timeout = \"1ms\"\n" + group, `x.toml:4:1: opcua.timeout = "1ms": expected 100ms to 5m`},
		{server + strings.Replace(group, "ns=2;s=x", "s2=x", 1), `x.toml:6:12: opcua.subscribe.nodes.id = "s2=x": expected the id of a node, such as "ns=2;s=Press.Temperature" or "ns=3;i=1001"`},
		{server + group + strings.Replace(group, `"g"`, `"h"`, 1), `x.toml:9:10: opcua.subscribe.nodes: expected a name that no other reading of "a" has: two series would become one`},
		{server + group + "queue = 0\n", `x.toml:7:1: opcua.subscribe.queue = 0: expected 1 to 10000`},
	} {
		_, _, err := loadText(t, test.text, nil, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\ngot  %v\nwant %s", test.text, err, test.want)
		}
	}
	_, warnings, err := loadText(t, server+"security_policy = \"None\"\nsecurity_mode = \"None\"\nusername = \"u\"\n"+group, nil, nil)
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0].Error(), "anybody on the network can answer in the server's place") {
		t.Error(err, warnings)
	}
}

// The gateway's certificate is what servers trust: restored without it, the gateway is a stranger to them. Keys go where keys are wanted.
func TestABackupWithKeysHasWhatServersTrust(t *testing.T) {
	c := DefaultConfig()
	c.OPCUA = []opcua.Config{{ServerCertificate: "/server", UserPrivateKey: "/user.key"}}
	without, with := c.namedFiles(false), c.namedFiles(true)
	if !slices.Contains(without, "/server") || slices.Contains(without, "/user.key") || slices.ContainsFunc(without, func(f string) bool { return strings.HasSuffix(f, "opcua/key.pem") }) {
		t.Errorf("without keys: %q", without)
	}
	for _, file := range []string{"/server", "/user.key", c.Gateway.Data + "/opcua/cert.pem", c.Gateway.Data + "/opcua/key.pem"} {
		if !slices.Contains(with, file) {
			t.Errorf("with keys %s is missing: %q", file, with)
		}
	}
}
