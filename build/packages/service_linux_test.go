package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// Drop-ins for a test that has no three minutes; what they shorten is tried, not replaced. The watchdog is impatient with
// a service that hangs, and with no other: one that is only slow would be killed too.
const (
	quicker   = "[Service]\nRestartSec=1s\n"
	impatient = "[Service]\nWatchdogSec=10s\n"
)

// The agent as a plant engineer has it: installed, configured by one file, and then left alone with what happens.
func TestAgentServesUnderALiveServiceManager(t *testing.T) {
	t.Parallel()
	need(t, "make", "git", "mosquitto", "mosquitto_pub")
	dist := must(t, packages)
	m := debianTree(t).boot()
	m.write("/run/systemd/system/edgeagent.service.d/quicker.conf", quicker)
	m.install(built(t, dist, "edgeverify", "amd64"), built(t, dist, "edgeagent", "amd64"))
	if enabled := strings.TrimSpace(m.do("systemctl", "is-enabled", "edgeagent")); enabled != "enabled" {
		t.Errorf("installed, the unit is %s", enabled)
	}
	if state := m.property("edgeagent", "ActiveState"); state != "inactive" {
		t.Errorf("installed, and nothing configured, the service is %s", state)
	}

	t.Log("a configuration with a mistake does not start, and the journal names its line")
	const wrong, right = "[broker]\nenabled = true\n", "[broker]\nenabled = true\nallow_anonymous = true\n"
	m.write("/etc/edgeagent/conf.d/plant.toml", wrong)
	if m.in("systemctl", "start", "edgeagent").Run() == nil {
		t.Error("it starts with a broker to which nobody could connect")
	}
	m.await("it is not tried again", func() bool { return m.property("edgeagent", "ActiveState") == "failed" })
	if code, starts := m.property("edgeagent", "ExecMainStatus"), m.property("edgeagent", "NRestarts"); code != "78" || starts != "0" {
		t.Errorf("it ended with %s, and was started again %s times", code, starts)
	}
	m.do("systemctl", "stop", "edgeagent")
	m.awaitJournal("edgeagent", "/etc/edgeagent/conf.d/plant.toml:2:1: broker.enabled")
	m.expect("/var/lib/edgeagent/key", "")

	t.Log("whoever starts it does not wait for a broker that is away: its status says so until the broker is there")
	m.write("/etc/edgeagent/conf.d/plant.toml", "[[mqtt]]\nname = \"plant\"\nservers = [\"tcp://127.0.0.1:1884\"]\n[[mqtt.subscribe]]\ntopics = [\"factory/#\"]\n")
	m.do("systemctl", "start", "edgeagent")
	if state := m.property("edgeagent", "ActiveState"); state != "active" {
		t.Errorf("while its broker is away the service is %s", state)
	}
	plant := func() string { return m.status().Live.Sources[0].State }
	m.await("it says that its broker is away", func() bool { return plant() == "failing" })
	m.awaitJournal("edgeagent", "failed to connect to the broker, waiting for it")
	broker := m.outsider("mosquitto", "-p", "1884") // on loopback, open to everybody
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	m.await("its source is up", func() bool { return plant() == "up" })
	m.do("systemctl", "stop", "edgeagent")
	_ = broker.Process.Kill()
	_ = broker.Wait()

	t.Log("the first start has made key and chain, and a start returns when the chain is open and the broker listens")
	m.write("/etc/edgeagent/conf.d/plant.toml", right)
	m.do("systemctl", "start", "edgeagent")
	first := m.status()
	if !first.Running || len(first.Live.Sources) != 1 || !first.Live.Sources[0].Connected {
		t.Errorf("started, it says %+v", first)
	}
	m.publish(21)
	if said := m.property("edgeagent", "StatusText"); !strings.Contains(said, first.Chain) {
		t.Errorf("the service manager knows %q", said)
	}
	if chain := strings.TrimSpace(m.read("/etc/edgeagent/chain")); chain != first.Chain {
		t.Errorf("the file beside the configuration has %q, the chain is %s", chain, first.Chain)
	}
	m.awaitJournal("edgeagent", first.Chain)
	m.expect("/var/lib/edgeagent/key", "edgeagent:edgeagent 600")

	t.Log("confined, it reads the clock's state all the same, and the load")
	if clock := first.Live; clock.Clock == "unknown" || clock.ClockError <= 0 {
		t.Errorf("the clock is %q, wrong by %v s at most", clock.Clock, clock.ClockError)
	}
	// Not so where somebody adds what looks like more of the same.
	m.write("/run/systemd/system/edgeagent.service.d/clock.conf", "[Service]\nProtectClock=yes\n")
	m.do("systemctl", "daemon-reload")
	m.do("systemctl", "restart", "edgeagent")
	if clock := m.status().Live.Clock; clock != "unknown" {
		t.Errorf("with ProtectClock= the clock is %s: the unit need not do without it", clock)
	}
	m.remove("/run/systemd/system/edgeagent.service.d/clock.conf")
	m.do("systemctl", "daemon-reload")
	m.do("systemctl", "restart", "edgeagent")

	t.Log("the group may ask, and nobody else")
	m.do("useradd", "--groups=edgeagent", "engineer")
	m.do("useradd", "visitor")
	m.expect("/run/edgeagent/edgeagent.sock", "edgeagent:edgeagent 660")
	m.do("runuser", "-u", "engineer", "--", "edgeagent", "status")
	m.do("edgeagent", "reload") // as root
	if out, err := m.in("runuser", "-u", "engineer", "--", "edgeagent", "reload").CombinedOutput(); err == nil {
		t.Errorf("the group changes what is in force\n%s", out)
	}
	if out, err := m.in("runuser", "-u", "visitor", "--", "edgeagent", "status").CombinedOutput(); err == nil {
		t.Errorf("a visitor is told\n%s", out)
	}

	t.Log("a reload with a mistake changes nothing and says why, another is sealed")
	m.write("/etc/edgeagent/conf.d/plant.toml", wrong)
	m.do("systemctl", "reload", "edgeagent")
	m.awaitJournal("edgeagent", "failed to reload the configuration")
	m.publish(22)
	m.write("/etc/edgeagent/conf.d/plant.toml", right+"[block]\ninterval = \"1s\"\n")
	m.do("systemctl", "reload", "edgeagent")
	m.awaitJournal("edgeagent", "the new configuration is in force")
	m.publish(23)

	again := func(before string) func() bool {
		return func() bool {
			pid := m.property("edgeagent", "MainPID")
			return pid != "0" && pid != before && m.property("edgeagent", "ActiveState") == "active"
		}
	}
	t.Log("killed, it is started again, and has what it acknowledged")
	before := m.property("edgeagent", "MainPID")
	m.do("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "edgeagent")
	m.await("the service is started again after SIGKILL", again(before))
	if n := m.property("edgeagent", "NRestarts"); n != "1" {
		t.Errorf("after SIGKILL it was started again %s times", n)
	}
	m.publish(24)

	t.Log("hung, it leaves the watchdog alone, and is started again")
	m.write("/run/systemd/system/edgeagent.service.d/impatient.conf", impatient)
	m.do("systemctl", "daemon-reload")
	m.do("systemctl", "restart", "edgeagent")
	before = m.property("edgeagent", "MainPID")
	_ = m.in("kill", "-STOP", before).Run() // if it has missed the watchdog already, it need not be stopped
	m.remove("/run/systemd/system/edgeagent.service.d/impatient.conf")
	m.do("systemctl", "daemon-reload") // holds from the next start on
	m.awaitJournal("edgeagent", "Watchdog timeout")
	m.await("the service is started again after SIGSTOP", again(before))
	if n := m.property("edgeagent", "NRestarts"); n == "0" {
		t.Error("after SIGSTOP the service manager did not start it again")
	}
	m.publish(25)

	t.Log("an upgrade puts the new program to work on the old chain")
	m.install(built(t, must(t, upgraded), "edgeagent", "amd64"))
	m.await("the new version runs", func() bool {
		s, err := m.ask()
		return err == nil && s.Running && s.Version == "v1.10.0" && m.property("edgeagent", "ActiveState") == "active" // it answers while it opens the chain
	})
	m.publish(26)
	if s := m.status(); s.Chain != first.Chain {
		t.Errorf("the chain was %s, and is %s", first.Chain, s.Chain)
	}
	m.do("systemctl", "stop", "edgeagent")
	if result := m.property("edgeagent", "Result"); result != "success" {
		t.Errorf("it stopped with %s", result)
	}
	if s := m.status(); s.Running || s.Open != 0 {
		t.Errorf("stopped, it says %+v", s)
	}
	m.do("edgeagent", "verify")
	history := m.do("edgeagent", "log", "--output", "json")
	for _, temperature := range []string{"21.5", "22.5", "23.5", "24.5", "25.5", "26.5"} {
		if strings.Count(history, temperature) == 0 {
			t.Errorf("%s was acknowledged, and is not in the chain", temperature)
		}
	}

	t.Log("purging stops it and takes everything")
	m.do("systemctl", "start", "edgeagent")
	m.do("dpkg", "--purge", "edgeagent")
	if state := m.property("edgeagent", "LoadState"); state != "not-found" {
		t.Errorf("purged, the unit is %s", state)
	}
	for _, path := range []string{"/var/lib/edgeagent", "/run/edgeagent", "/etc/edgeagent/chain", "/etc/edgeagent/edgeagent.toml"} {
		m.expect(path, "")
	}
}

// Both services on one machine, the aggregator by way of the agent's broker, the agent with its drop-ins.
func TestAggregatorServesUnderALiveServiceManager(t *testing.T) {
	t.Parallel()
	need(t, "make", "git")
	dist := must(t, packages)
	m := debianTree(t).boot()
	m.install(built(t, dist, "edgeagent", "amd64"), built(t, dist, "edgeaggregator", "amd64"))
	m.write("/etc/edgeagent/conf.d/plant.toml", "[broker]\nenabled = true\nallow_anonymous = true\n")
	m.write("/etc/edgeaggregator/conf.d/office.toml", "[aggregator]\nname = \"office\"\n[clock]\nassume_synchronised = true\n[[broker]]\nname = \"plant\"\nservers = [\"tcp://127.0.0.1\"]\n")

	t.Log("it does not start without the key that its operator makes")
	if m.in("systemctl", "start", "edgeaggregator").Run() == nil {
		t.Error("it starts without a key")
	}
	m.do("systemctl", "stop", "edgeaggregator")
	m.expect("/var/lib/edgeaggregator/key", "")

	t.Log("the agent beside it has its passphrase by credential, and may use serial ports")
	m.write("/etc/edgeagent/passphrase", "correct horse\n")
	for _, name := range []string{"passphrase.conf", "devices.conf"} {
		m.do("install", "-D", "-m", "644", "/usr/share/doc/edgeagent/examples/"+name, "/etc/systemd/system/edgeagent.service.d/"+name)
	}
	m.do("systemctl", "daemon-reload")
	m.do("systemctl", "start", "edgeagent")
	m.do("systemctl", "restart", "edgeagent") // now it reads the key that it has made
	encoded := strings.Split(m.read("/var/lib/edgeagent/key"), "-----")
	if key, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(encoded[len(encoded)/2], "\n", "")); err != nil || !bytes.Contains(key, []byte("bcrypt")) {
		t.Errorf("the key is not encrypted: %v", err)
	}

	m.do("runuser", "-u", "edgeaggregator", "--", "edgeaggregator", "init")
	m.expect("/var/lib/edgeaggregator/key", "edgeaggregator:edgeaggregator 600")
	m.do("systemctl", "start", "edgeaggregator")
	m.do("edgeaggregator", "status")
	m.expect("/run/edgeaggregator/edgeaggregator.sock", "edgeaggregator:edgeaggregator 660")

	before := m.property("edgeaggregator", "MainPID")
	m.do("systemctl", "kill", "--signal=KILL", "edgeaggregator")
	m.await("it is started again", func() bool {
		pid := m.property("edgeaggregator", "MainPID")
		return pid != "0" && pid != before && m.property("edgeaggregator", "ActiveState") == "active"
	})
	m.do("edgeaggregator", "status")
	m.do("dpkg", "--purge", "edgeaggregator")
	for _, path := range []string{"/var/lib/edgeaggregator", "/run/edgeaggregator", "/etc/edgeaggregator/edgeaggregator.toml"} {
		m.expect(path, "")
	}
}

// said is what this test reads of the answer to `edgeagent status`.
type said struct {
	Chain   string
	Running bool
	Version string
	Open    uint64 `json:"open_entries"`
	Live    struct {
		Clock      string
		ClockError float64 `json:"clock_error_seconds"`
		Sources    []struct {
			State     string
			Connected bool
		}
	}
}

// ask asks the agent how it stands.
func (m machine) ask() (s said, err error) {
	err = readStatus(m.in("edgeagent", "status", "--output", "json"), &s)
	return s, err
}

func (m machine) status() said {
	m.t.Helper()
	s, err := m.ask()
	if err != nil {
		m.t.Fatalf("edgeagent status: %v", err)
	}
	return s
}

// publish has a device publish a reading, and returns when it is acknowledged.
func (m machine) publish(degrees int) {
	m.t.Helper()
	payload, err := json.Marshal(map[string]float64{"temperature": float64(degrees) + 0.5})
	if err != nil {
		m.t.Fatal(err)
	}
	if out, err := m.outsider("mosquitto_pub", "-h", "127.0.0.1", "-q", "1", "-t", "factory/press-7/state", "-m", string(payload)).CombinedOutput(); err != nil {
		m.t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
}

// awaitJournal waits until a unit has said something.
func (m machine) awaitJournal(unit, text string) {
	m.t.Helper()
	m.await("the journal has "+text, func() bool {
		return strings.Contains(m.do("journalctl", "--no-pager", "--unit="+unit), text)
	})
}

// install has the package manager install packages while the service manager runs.
func (m machine) install(debs ...string) {
	m.t.Helper()
	args := []string{"dpkg", "--force-confdef", "--force-confold", "--install"}
	m.do(append(args, m.carry(debs...)...)...)
}

// write writes a file below the tree as the machine sees it, /run included, which is not the tree's.
func (m machine) write(path, text string) {
	m.t.Helper()
	c := m.in("sh", "-c", `mkdir -p "${0%/*}" && cat >"$0"`, path)
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		m.t.Fatalf("writing %s: %v\n%s", path, err, out)
	}
}

func (m machine) remove(path string) {
	m.t.Helper()
	m.do("rm", path)
}

// read and expect look at what the machine sees.
func (m machine) read(path string) string {
	m.t.Helper()
	return m.do("cat", path)
}

func (m machine) expect(path, want string) {
	m.t.Helper()
	got := ""
	if out, err := m.in("stat", "-c", "%U:%G %a", path).Output(); err == nil {
		got = strings.TrimSpace(string(out))
	}
	if got != want {
		m.t.Errorf("%s is %q, want %q", path, got, want)
	}
}
