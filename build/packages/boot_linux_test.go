package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A machine is a Debian whose service manager runs, as the first process of namespaces of its own: it has its own
// processes, mounts, network and control groups, and shares nothing with the machine of the test but the kernel.
type machine struct {
	root
	init int // its first process, as the test sees it
}

// bootScript turns a shell with namespaces of its own into the tree's service manager. /dev holds what every program may
// use and no more; /proc/sys and /sys cannot be written, for the kernel is the test's too.
const bootScript = `set -e
mount --make-rprivate /
mount --bind "$0" "$0"
cd "$0"
mount -t proc -o nosuid,noexec,nodev proc proc
mount --bind -o ro proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,noexec,nodev sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
	: >dev/$device
	mount --bind /dev/$device dev/$device
done
mkdir dev/shm dev/pts run/outside
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
pivot_root . run/outside
umount -l run/outside
mount --make-rshared / # credentials are mounted by a child of the service manager
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog,-wake_alarm env -i container=test PATH="$PATH" /lib/systemd/systemd
`

// boot starts the tree's service manager, and waits until it has started what it starts by itself.
func (r root) boot() machine {
	r.t.Helper()
	need(r.t, "unshare", "nsenter", "setpriv", "pivot_root")
	group, err := newGroup(r.t)
	if err != nil {
		mayNot(r.t, "a service manager needs a control group: %v", err)
	}
	if err := os.WriteFile(filepath.Join(r.path, "etc/machine-id"), nil, 0o644); err != nil { // systemd makes one
		r.t.Fatal(err)
	}
	var log bytes.Buffer
	enter := []string{"-c", `echo 0 >"$0" && exec "$@"`, filepath.Join(group, "cgroup.procs")}
	unshare := []string{"unshare", "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net", "--fork", "--kill-child=KILL"}
	c := exec.Command("sh", append(append(enter, unshare...), "sh", "-c", bootScript, r.path)...)
	c.Stdout, c.Stderr = &log, &log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = c.Wait()
	}()
	m := machine{root: r}
	r.t.Cleanup(func() {
		_ = c.Process.Kill() // and with it its child, the service manager, and with that all its processes
		<-gone
	})
	for deadline := time.Now().Add(patience); m.init == 0; time.Sleep(20 * time.Millisecond) {
		select {
		case <-gone:
			mayNot(r.t, "no service manager starts in namespaces of its own: %v\n%s", c.ProcessState, log.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatal("the service manager does not start")
		}
		if text, err := os.ReadFile(filepath.Join(group, "init.scope/cgroup.procs")); err == nil {
			first, _, _ := strings.Cut(string(text), "\n")
			m.init, _ = strconv.Atoi(first)
		}
	}
	m.await("it is up", func() bool {
		state, _ := m.in("systemctl", "is-system-running").Output()
		return strings.TrimSpace(string(state)) == "running"
	})
	r.t.Cleanup(func() {
		if r.t.Failed() {
			out, _ := m.in("journalctl", "--no-pager", "--lines=200").CombinedOutput()
			r.t.Logf("the end of the journal:\n%s", out)
		}
	})
	return m
}

// mayNot skips a test that the kernel, or whoever confines this machine, does not allow: no package that is installed
// would change that.
func mayNot(t *testing.T, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	fmt.Fprintf(os.Stderr, "SKIPPED %s: %s\n", t.Name(), what)
	t.Skip(what)
}

// newGroup makes a control group below the test's own, in the hierarchy of version 2, and removes it, with all that the
// service manager has made below it, once its processes are gone.
func newGroup(t *testing.T) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	var root, own string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			root = fields[1]
		}
	}
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = path
		}
	}
	if root == "" || own == "" {
		return "", errors.New("the hierarchy of version 2 is not mounted")
	}
	group, err := os.MkdirTemp(filepath.Join(root, own), "edgechain-test-")
	if err != nil {
		return "", err
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(patience); removeGroups(group) != nil; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s cannot be removed", group)
				return
			}
		}
	})
	return group, nil
}

// removeGroups removes a control group and those below it, the lowest first.
func removeGroups(group string) error {
	entries, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeGroups(filepath.Join(group, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// in prepares a program of the tree that runs as root among the machine's processes.
func (m machine) in(args ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{"--all", "--target", strconv.Itoa(m.init)}, args...)...)
	c.Env = m.command("root").Env
	return c
}

// do runs a program of the tree, which must succeed, and returns what it prints.
func (m machine) do(args ...string) string {
	m.t.Helper()
	out, err := m.in(args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// outsider prepares a program of the test's machine that sees the other's network.
func (m machine) outsider(args ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{"--net", "--target", strconv.Itoa(m.init)}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// property asks the service manager for one of a unit's.
func (m machine) property(unit, name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.do("systemctl", "show", "--value", "--property="+name, unit))
}

func (m machine) await(what string, so func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}
