package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const suite = "bookworm" // Debian 12, the oldest release that the packages are for

// debianArchive makes a minimal Debian with debootstrap once a month, and keeps it in the user's cache. An older one does
// where no mirror answers.
var debianArchive = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	archive := filepath.Join(cache, "edgechain", "debian-"+suite+".tar")
	kept, missing := os.Stat(archive)
	if missing == nil && time.Since(kept.ModTime()) < 30*24*time.Hour {
		return archive, nil
	}
	fresh, err := bootstrap()
	if err != nil && missing == nil {
		fmt.Fprintf(os.Stderr, "installing into the Debian of %s: %v\n", kept.ModTime().Format(time.DateOnly), err)
		return archive, nil
	}
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		return "", err
	}
	// Complete or not at all: two checkouts may come here at once.
	partial := fmt.Sprintf("%s.%d", archive, os.Getpid())
	if log, err := exec.Command("tar", "-C", fresh, "-cpf", partial, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("packing it: %w\n%s", err, log)
	}
	return archive, os.Rename(partial, archive)
})

// bootstrap makes a minimal Debian in a folder. It asks where this machine has its own packages from, then where Debian
// has them, and then again: a mirror that fails may be one that is being written.
func bootstrap() (fresh string, err error) {
	for _, try := range []struct {
		after time.Duration
		from  []string
	}{{0, mirror()}, {0, nil}, {time.Minute, mirror()}} {
		time.Sleep(try.after)
		if fresh, err = os.MkdirTemp(scratch, "debian-"); err == nil {
			err = os.Chmod(fresh, 0o755) // it becomes /
		}
		if err != nil {
			return "", err
		}
		var log []byte
		log, err = exec.Command("debootstrap", append([]string{"--variant=minbase", "--include=systemd,procps", suite, fresh}, try.from...)...).CombinedOutput()
		if err == nil {
			return fresh, nil
		}
		err = fmt.Errorf("debootstrap cannot make a Debian: %w\n%s", err, log)
	}
	return "", err
}

// mirror returns where this machine has the suite from, if it does: another may be out of its reach.
func mirror() []string {
	list, err := exec.Command("apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages", "Component: main").Output()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(list)) {
		if release, site, _ := strings.Cut(strings.TrimSpace(line), " "); release == suite && strings.HasPrefix(site, "http") {
			return []string{site}
		}
	}
	return nil
}

// debianTree unpacks that Debian into a folder of the test's.
func debianTree(t *testing.T) root {
	t.Helper()
	need(t, "debootstrap", "tar", "chroot", "dpkg-deb")
	if os.Geteuid() != 0 {
		lack(t, "installing packages into a tree needs root")
	}
	archive, err := debianArchive()
	if err != nil {
		lack(t, err.Error())
	}
	tree := t.TempDir()
	output(t, "tar", "-C", tree, "-xpf", archive)
	return root{t, tree}
}

// A root is an installed Debian in a folder, in which no service manager runs.
type root struct {
	t    *testing.T
	path string
}

func (r root) command(user string, args ...string) *exec.Cmd {
	c := exec.Command("chroot", append([]string{"--userspec=" + user + ":" + user, r.path}, args...)...)
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	return c
}

// run runs a program in the tree, which must succeed, and returns what it prints.
func (r root) run(user string, args ...string) string {
	r.t.Helper()
	out, err := r.command(user, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install has dpkg install packages in the tree, as an administrator would who keeps his own
// configuration.
func (r root) install(debs ...string) {
	r.t.Helper()
	args := []string{"dpkg", "--force-confdef", "--force-confold", "--install"}
	r.run("root", append(args, r.carry(debs...)...)...)
}

// carry copies files into the tree, and returns where they are there.
func (r root) carry(files ...string) (names []string) {
	r.t.Helper()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		name := filepath.Join("/root", filepath.Base(file))
		if err := os.WriteFile(filepath.Join(r.path, name), data, 0o644); err != nil {
			r.t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// expect holds a file's owner, group and mode to what `stat -c '%U:%G %a'` prints; "" means that it is not there.
func (r root) expect(path, want string) {
	r.t.Helper()
	if _, err := os.Lstat(filepath.Join(r.path, path)); err != nil {
		if want != "" || !errors.Is(err, fs.ErrNotExist) {
			r.t.Errorf("%s: %v", path, err)
		}
		return
	}
	if got := strings.TrimSpace(r.run("root", "stat", "-c", "%U:%G %a", path)); got != want {
		r.t.Errorf("%s is %q, want %q", path, got, want)
	}
}

func (r root) read(path string) string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.path, path))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}

// agent runs the agent in the tree as its unit does, until it is ready, calls f and stops it.
func (r root) agent(f func()) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Join(r.path, "run/edgeagent"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.run("root", "chown", "edgeagent:edgeagent", "/run/edgeagent")
	var log bytes.Buffer
	c := r.command("edgeagent", "edgeagent", "run", "--init")
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		// The sample names no source, and status says so.
		c := r.command("edgeagent", "edgeagent", "status")
		if _ = c.Run(); c.ProcessState != nil && c.ProcessState.ExitCode() == 7 && r.socket() {
			break
		}
		select {
		case err := <-ended:
			r.t.Fatalf("the agent ended: %v\n%s", err, log.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			_ = c.Process.Kill()
			<-ended
			r.t.Fatalf("the agent does not answer\n%s", log.Bytes())
		}
	}
	f()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if err := <-ended; err != nil {
		r.t.Fatalf("the agent ended with %v\n%s", err, log.Bytes())
	}
}

func (r root) socket() bool {
	stat, err := os.Stat(filepath.Join(r.path, "run/edgeagent/edgeagent.sock"))
	return err == nil && stat.Mode().Type() == fs.ModeSocket
}

// readStatus reads what a status command says in JSON, whether the agent runs, and all is well, or not.
func readStatus(c *exec.Cmd, into any) error {
	out, err := c.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && (exit.ExitCode() == 5 || exit.ExitCode() == 7)) {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return json.Unmarshal(out, into)
}

// chain asks edgeagent which chain it has.
func (r root) chain() string {
	r.t.Helper()
	var status struct{ Chain string }
	if err := readStatus(r.command("edgeagent", "edgeagent", "status", "--output", "json"), &status); err != nil || len(status.Chain) != 52 {
		r.t.Fatalf("status: %v, chain %q", err, status.Chain)
	}
	return status.Chain
}

func TestTheAgentsPackageLivesOnDebian(t *testing.T) {
	t.Parallel()
	need(t, "make", "git")
	debian := debianTree(t)
	old := must(t, packages)
	debian.install(built(t, old, "edgeverify", "amd64"), built(t, old, "edgeagent", "amd64"))

	t.Log("installing makes a user and places for everything, and no key")
	if passwd := debian.run("root", "getent", "passwd", "edgeagent"); !strings.Contains(passwd, ":/var/lib/edgeagent:/usr/sbin/nologin") {
		t.Errorf("the user is %q", passwd)
	}
	debian.expect("/etc/edgeagent", "root:edgeagent 750")
	debian.expect("/etc/edgeagent/edgeagent.toml", "root:edgeagent 640")
	debian.expect("/etc/edgeagent/chain", "edgeagent:edgeagent 644")
	debian.expect("/var/lib/edgeagent", "edgeagent:edgeagent 750")
	debian.expect("/var/lib/edgeagent/key", "")
	debian.expect("/etc/systemd/system/multi-user.target.wants/edgeagent.service", "root:root 777") // enabled
	if status := debian.run("root", "dpkg-query", "-W", "-f", "${Conffiles}", "edgeagent"); !strings.Contains(status, "/etc/edgeagent/edgeagent.toml") {
		t.Errorf("conffiles are %q", status)
	}
	debian.run("edgeagent", "edgeagent", "check-config")
	for _, p := range []string{"edgeagent", "edgeverify"} {
		if version := debian.run("root", p, "--version"); !strings.Contains(version, "v1.2.3") {
			t.Errorf("%s is version %q", p, version)
		}
	}

	for _, path := range []string{"/usr/share/man/man1/edgeagent.1.gz", "/usr/share/man/man5/edgeagent.toml.5.gz", "/usr/share/man/man1/edgeverify.1.gz",
		"/usr/share/bash-completion/completions/edgeagent", "/usr/share/zsh/vendor-completions/_edgeagent", "/usr/share/fish/vendor_completions.d/edgeagent.fish",
		"/usr/share/doc/edgeagent/operate/install.md.gz", "/usr/share/doc/edgeagent/reference/exit-codes.md.gz", "/usr/share/doc/edgeagent/examples/devices.conf",
		"/usr/share/edgechain/verify.html"} {
		debian.expect(path, "root:root 644")
	}
	debian.run("root", "bash", "-n", "/usr/share/bash-completion/completions/edgeagent")

	t.Log("the first start makes the key and the chain")
	debian.agent(func() { debian.expect("/run/edgeagent/edgeagent.sock", "edgeagent:edgeagent 660") })
	debian.expect("/var/lib/edgeagent/key", "edgeagent:edgeagent 600")
	chain := debian.chain()

	t.Log("upgrading keeps them, and what the administrator wrote, though the sample is another now")
	config := debian.read("/etc/edgeagent/edgeagent.toml") + "\n[[mqtt]]\nname = \"line-1\"\nservers = [\"tcp://127.0.0.1:1\"]\n[[mqtt.subscribe]]\ntopics = [\"#\"]\n"
	if err := os.WriteFile(filepath.Join(debian.path, "etc/edgeagent/edgeagent.toml"), []byte(config), 0o640); err != nil {
		t.Fatal(err)
	}
	debian.install(built(t, must(t, upgraded), "edgeagent", "amd64"))
	if version := debian.run("root", "edgeagent", "--version"); !strings.Contains(version, "v1.10.0") {
		t.Errorf("upgraded to %q", version)
	}
	if got := debian.read("/etc/edgeagent/edgeagent.toml"); got != config {
		t.Error("the configuration is not the administrator's any more")
	}
	debian.expect("/etc/edgeagent/edgeagent.toml", "root:edgeagent 640")
	debian.expect("/etc/edgeagent/edgeagent.toml.dpkg-dist", "root:edgeagent 640")
	if got := debian.chain(); got != chain {
		t.Errorf("the chain was %s, and is %s", chain, got)
	}
	debian.run("edgeagent", "edgeagent", "verify")

	t.Log("removing keeps data and configuration, and installing again finds them")
	debian.run("root", "dpkg", "--remove", "edgeagent")
	debian.expect("/usr/bin/edgeagent", "")
	debian.expect("/var/lib/edgeagent/key", "edgeagent:edgeagent 600")
	if got := debian.read("/etc/edgeagent/edgeagent.toml"); got != config {
		t.Error("removing took the configuration")
	}
	debian.install(built(t, must(t, upgraded), "edgeagent", "amd64"))
	if got := debian.chain(); got != chain {
		t.Errorf("the chain was %s, and is %s", chain, got)
	}

	t.Log("purging removes all but the user")
	debian.run("root", "dpkg", "--purge", "edgeagent", "edgeverify")
	for _, path := range []string{"/etc/edgeagent", "/var/lib/edgeagent", "/usr/bin/edgeverify", "/usr/share/doc/edgeagent", "/usr/share/edgechain",
		"/etc/systemd/system/multi-user.target.wants/edgeagent.service", "/var/lib/systemd/deb-systemd-helper-enabled/edgeagent.service.dsh-also"} {
		debian.expect(path, "")
	}
	debian.run("root", "getent", "passwd", "edgeagent")
}

func TestTheAggregatorsPackageLivesOnDebian(t *testing.T) {
	t.Parallel()
	need(t, "make", "git")
	debian := debianTree(t)
	debian.install(built(t, must(t, packages), "edgeaggregator", "amd64"))

	t.Log("installing makes a user and places for everything, and no key")
	if passwd := debian.run("root", "getent", "passwd", "edgeaggregator"); !strings.Contains(passwd, ":/var/lib/edgeaggregator:/usr/sbin/nologin") {
		t.Errorf("the user is %q", passwd)
	}
	debian.expect("/etc/edgeaggregator", "root:edgeaggregator 750")
	debian.expect("/etc/edgeaggregator/edgeaggregator.toml", "root:edgeaggregator 640")
	debian.expect("/etc/edgeaggregator/chain", "") // that is the agent's
	debian.expect("/var/lib/edgeaggregator", "edgeaggregator:edgeaggregator 750")
	debian.expect("/var/lib/edgeaggregator/key", "")
	debian.expect("/etc/systemd/system/multi-user.target.wants/edgeaggregator.service", "root:root 777") // enabled

	t.Log("its operator makes the key")
	config := debian.read("/etc/edgeaggregator/edgeaggregator.toml") + "\n[[broker]]\nname = \"plant\"\nservers = [\"tcp://127.0.0.1\"]\n"
	config = strings.Replace(config, "#name = \"\"", "name = \"office\"", 1)
	if err := os.WriteFile(filepath.Join(debian.path, "etc/edgeaggregator/edgeaggregator.toml"), []byte(config), 0o640); err != nil {
		t.Fatal(err)
	}
	debian.run("edgeaggregator", "edgeaggregator", "check-config")
	debian.run("edgeaggregator", "edgeaggregator", "init")
	debian.expect("/var/lib/edgeaggregator/key", "edgeaggregator:edgeaggregator 600")
	key := debian.run("edgeaggregator", "edgeaggregator", "key", "show")

	t.Log("upgrading, and removing and installing again, keep both")
	holds := func(after string) {
		t.Helper()
		if got := debian.read("/etc/edgeaggregator/edgeaggregator.toml"); got != config {
			t.Errorf("after %s the configuration is not the administrator's any more", after)
		}
		if got := debian.run("edgeaggregator", "edgeaggregator", "key", "show"); got != key {
			t.Errorf("after %s the key is another", after)
		}
	}
	debian.install(built(t, must(t, upgraded), "edgeaggregator", "amd64"))
	if version := debian.run("root", "edgeaggregator", "--version"); !strings.Contains(version, "v1.10.0") {
		t.Errorf("upgraded to %q", version)
	}
	holds("upgrading")
	debian.run("root", "dpkg", "--remove", "edgeaggregator")
	debian.expect("/usr/bin/edgeaggregator", "")
	debian.expect("/var/lib/edgeaggregator/key", "edgeaggregator:edgeaggregator 600")
	debian.install(built(t, must(t, upgraded), "edgeaggregator", "amd64"))
	holds("removing")

	t.Log("purging removes all but the user")
	debian.run("root", "dpkg", "--purge", "edgeaggregator")
	for _, path := range []string{"/etc/edgeaggregator", "/var/lib/edgeaggregator", "/usr/bin/edgeaggregator", "/usr/share/doc/edgeaggregator",
		"/etc/systemd/system/multi-user.target.wants/edgeaggregator.service"} {
		debian.expect(path, "")
	}
	debian.run("root", "getent", "passwd", "edgeaggregator")
}

// upgraded packs the snapshot as a later version, with other sample configurations.
var upgraded = sync.OnceValues(func() (string, error) {
	dir, err := snapshot()
	if err != nil {
		return "", err
	}
	tree := filepath.Join(scratch, "later")
	if err := os.CopyFS(tree, os.DirFS(dir)); err != nil {
		return "", err
	}
	for _, sample := range []string{"agent/sample.toml", "aggregator/sample.toml"} {
		text, err := os.ReadFile(filepath.Join(tree, sample))
		if err == nil {
			err = os.WriteFile(filepath.Join(tree, sample), append(text, "\n# A later version says more.\n"...), 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	dist := filepath.Join(scratch, "upgraded")
	return dist, pack(tree, dist, targets[:1], "VERSION=v1.10.0")
})

// Debian's armhf begins with ARMv7, so one that does not run on the first Pi would be noticed by a customer only.
func TestPackagedProgramsRunOnTheOldestBoards(t *testing.T) {
	t.Parallel()
	need(t, "make", "git", "dpkg-deb", "qemu-arm-static", "qemu-aarch64-static")
	dist := must(t, packages)
	for _, c := range []struct {
		architecture string
		emulator     []string
	}{
		{"armhf", []string{"qemu-arm-static", "-cpu", "arm1176"}},        // Pi 1, Zero
		{"arm64", []string{"qemu-aarch64-static", "-cpu", "cortex-a53"}}, // Pi 3, Zero 2
	} {
		for _, p := range programs() {
			dir := t.TempDir()
			output(t, "dpkg-deb", "--extract", built(t, dist, p.name, c.architecture), dir)
			args := append(c.emulator[1:], filepath.Join(dir, "usr/bin", p.name), "--version")
			if version := output(t, c.emulator[0], args...); !strings.Contains(version, "v1.2.3") {
				t.Errorf("%s for %s says %q", p.name, c.architecture, version)
			}
		}
	}
}

// The units as they are installed, with their drop-ins, are what systemd of that release reads without a complaint.
func TestUnitsAreSound(t *testing.T) {
	t.Parallel()
	need(t, "make", "git", "systemd-analyze", "dpkg-deb")
	debian := debianTree(t)
	dist := must(t, packages)
	for _, p := range programs() {
		if !p.service {
			continue
		}
		output(t, "dpkg-deb", "--extract", built(t, dist, p.name, "amd64"), debian.path)
		for name := range p.examples {
			if filepath.Ext(name) != ".conf" {
				continue
			}
			data, err := os.ReadFile(filepath.Join(debian.path, "usr/share/doc", p.name, "examples", name))
			if err != nil {
				t.Fatal(err)
			}
			folder := filepath.Join(debian.path, "etc/systemd/system", p.name+".service.d")
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if out := output(t, "systemd-analyze", "--root="+debian.path, "--man=no", "verify", p.name+".service"); out != "" {
			t.Errorf("systemd-analyze verify %s:\n%s", p.name, out)
		}
	}
}

func TestUnitsAreConfined(t *testing.T) {
	need(t, "systemd-analyze")
	units, err := filepath.Glob("../systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatal(units, err)
	}
	for _, unit := range units {
		unit, err := filepath.Abs(unit)
		if err != nil {
			t.Fatal(err)
		}
		// In tenths: an exposure of 2.0.
		if out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=20", unit).CombinedOutput(); err != nil {
			t.Errorf("systemd-analyze security %s: %v\n%s", unit, err, out)
		}
	}
}

// units returns the text of the unit of each program that is a service.
func units(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range programs() {
		if !p.service {
			continue
		}
		unit, err := os.ReadFile(filepath.Join("../systemd", p.name+".service"))
		if err != nil {
			t.Fatal(err)
		}
		all[p.name] = string(unit)
	}
	return all
}

// What no restart mends is not tried again, all else for ever; a program that panics ends with 2, and is started again.
func TestUnitsStartAgainWhatARestartMends(t *testing.T) {
	for name, unit := range units(t) {
		for _, want := range []string{"\nRestart=always\n", "\nRestartPreventExitStatus=78\n", "\nStartLimitIntervalSec=0\n"} {
			if strings.Count(unit, want) != 1 {
				t.Errorf("%s has not %q once", name, strings.TrimSpace(want))
			}
		}
		page, err := os.ReadFile("../../docs/reference/exit-codes.md")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "| 78 | `run` cannot start with its configuration |") {
			t.Error("docs/reference/exit-codes.md does not say what 78 is")
		}
	}
}

// What a program may take of the machine has an end, and what it holds in memory, its key, comes into no core file.
func TestUnitsBoundMemoryAndLeaveNoCore(t *testing.T) {
	for name, unit := range units(t) {
		for _, want := range []string{`\nMemoryMax=\d+%\n`, `\nLimitCORE=0\n`} {
			if len(regexp.MustCompile(want).FindAllString(unit, -1)) != 1 {
				t.Errorf("%s has not %q once", name, want)
			}
		}
	}
}
