package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv/program"
)

// serviceUser owns the data folder of a gateway that root asks; no account has it.
const serviceUser = 65432

// newServiceGateway is newGateway for a service with a user of its own. Root calls the commands, and root alone may read what
// lies in the folder that is returned.
func newServiceGateway(t *testing.T, extra string) (g *gateway, roots string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	dir, err := os.MkdirTemp("", "edge") // the folders of a test are reached by root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g = prepareGateway(t, dir, extra)
	config := filepath.Join(dir, "edgeagent.toml")
	err = os.Rename(g.config, config)
	for _, f := range []func() error{
		func() error { return os.Chmod(dir, 0o755) },
		func() error { return os.Chmod(config, 0o640) },
		func() error { return os.Chown(config, 0, serviceUser) },
		func() error { return os.Mkdir(g.data(), 0o750) },
		func() error { return os.Chown(g.data(), serviceUser, serviceUser) },
	} {
		if err == nil {
			err = f()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	g.config = config
	roots = filepath.Join(dir, "roots")
	if err := os.Mkdir(roots, 0o700); err != nil {
		t.Fatal(err)
	}
	return g, roots
}

// serve runs the agent as the service's user.
func (g *gateway) serve() {
	g.t.Helper()
	run := g.command("edgeagent", "run", "--config", g.config, "--set", "api.socket="+filepath.Join(g.data(), "s"))
	run.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: serviceUser, Gid: serviceUser}}
	g.process = program.Start(g.t, run, g.log())
	g.await("ready", func() bool {
		_, _, code := g.output("edgeagent", "status", "--config", g.config, "--set", "api.socket="+filepath.Join(g.data(), "s"))
		return code == 0
	})
}

// sealed waits until the service has sealed a block.
func (g *gateway) sealed() {
	g.t.Helper()
	g.await("sealing", func() bool {
		return strings.Contains(g.must("blocks", "--set", "api.socket="+filepath.Join(g.data(), "s")), "\n1 ")
	})
}

// onlyTheServices checks that all in the data folder is the service's.
func onlyTheServices(t *testing.T, g *gateway, after string) {
	t.Helper()
	err := filepath.WalkDir(g.data(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err == nil && (info.Sys().(*syscall.Stat_t).Uid != serviceUser || info.Sys().(*syscall.Stat_t).Gid != serviceUser) {
			t.Errorf("after %s %s belongs to user %d", after, path, info.Sys().(*syscall.Stat_t).Uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatRootDoesInTheDataFolderItsOwnerHasDone(t *testing.T) {
	t.Parallel()
	g, roots := newServiceGateway(t, soon)
	must := func(args ...string) {
		t.Helper()
		g.must(append(args, "--set", "api.socket="+filepath.Join(g.data(), "s"))...)
		onlyTheServices(t, g, args[0])
	}
	must("init")
	g.serve()
	g.sealed()
	for _, running := range []bool{true, false} {
		if !running {
			g.process.Stop()
		}
		name := filepath.Join(roots, map[bool]string{true: "running", false: "stopped"}[running])
		must("verify")
		must("log")
		g.stands(map[bool]int{true: 0, false: 5}[running], "--set", "api.socket="+filepath.Join(g.data(), "s"))
		onlyTheServices(t, g, "status")
		must("key", "show")
		must("prove", "0", "-o", name+".edgeproof")
		must("export", "-o", name+".csv", "--proofs", name+"-proofs")
		must("export", "--bundle", "1", "-o", name+".edgebundle")
		must("backup", name)
		must("backup", name, "--with-key")
		inside := filepath.Join(g.data(), filepath.Base(name)) // also named, and the owner's all the same
		must("prove", "0", "-o", inside+".edgeproof")
		must("export", "-o", inside+".csv", "--proofs", inside+"-proofs")
		for _, made := range []string{".edgeproof", ".csv", "-proofs", ".edgebundle", ""} {
			if info, err := os.Stat(name + made); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
				t.Errorf("what root named is not root's: %v, %v", info, err)
			}
		}
	}
	must("init", "--continue")
	must("backup", filepath.Join(roots, "moved"), "--move")
	must("verify")

	// It is brought back into another folder of the service's, with a key elsewhere.
	former := g.data()
	if err := os.Rename(former, former+".former"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(former, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(former, serviceUser, serviceUser); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(g.dir, "keys", "key")
	must("restore", filepath.Join(roots, "stopped"), "--set", "key.file="+key)
	if info, err := os.Stat(key); err != nil || info.Sys().(*syscall.Stat_t).Uid != serviceUser {
		t.Errorf("the key that was brought back is not the service's: %v, %v", info, err)
	}
	must("restore", "--newest")
	var mark struct{ By struct{ UID *uint32 } }
	if text := g.must("restore", "--newest", "--output", "json"); json.Unmarshal([]byte(text), &mark) != nil || mark.By.UID == nil || *mark.By.UID != 0 {
		t.Errorf("whose word it is: %s", text)
	}
}

// Whoever has taken the service over has put links where root will come by.
func TestRootFollowsNoLinkOfTheServices(t *testing.T) {
	t.Parallel()
	g, roots := newServiceGateway(t, soon)
	g.must("init")
	secret := filepath.Join(roots, "secret")
	if err := os.WriteFile(secret, []byte("of root"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(g.data(), "proof")); err != nil {
		t.Fatal(err)
	}
	g.serve()
	g.sealed()
	for _, running := range []bool{true, false} {
		if !running {
			g.process.Stop()
		}
		stdout, stderr, code := g.output("edgeagent", "prove", "0", "--file", filepath.Join(g.data(), "proof"), "--config", g.config, "--set", "api.socket="+filepath.Join(g.data(), "s"))
		if b, err := os.ReadFile(secret); err != nil || string(b) != "of root" || code == 0 {
			t.Fatalf("a proof was written over root's file, or said to be: %q, %v, %d\n%s%s", b, err, code, stdout, stderr)
		}
	}
	for _, link := range []string{"chain/LOCK", "chain/checkpoint", "key", "key.copy", "restored", "chain.restoring", "checkpoint-1"} {
		at := filepath.Join(g.data(), link)
		aside := at + ".aside"
		_ = os.Rename(at, aside)
		if err := os.Symlink(secret, at); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"verify"}, {"log"}, {"export"}, {"backup", filepath.Join(roots, "usb")}, {"backup", filepath.Join(roots, "usb"), "--with-key"},
			{"key", "show"}, {"init"}, {"init", "--continue"}, {"backup", filepath.Join(roots, "usb"), "--move"}, {"restore", "--newest"},
		} {
			stdout, stderr, _ := g.output("edgeagent", append(args, "--config", g.config)...)
			if b, err := os.ReadFile(secret); err != nil || string(b) != "of root" || strings.Contains(stdout+stderr, "of root") {
				t.Fatalf("%v with a link at %s: root's file holds %q (%v)\n%s%s", args, link, b, err, stdout, stderr)
			}
			if info, err := os.Stat(secret); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Mode().Perm() != 0o600 {
				t.Fatalf("%v with a link at %s: root's file was given away: %v, %v", args, link, info, err)
			}
		}
		_ = os.Remove(at)
		_ = os.Rename(aside, at)
	}
	found, err := filepath.Glob(filepath.Join(roots, "usb", "pool", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		if b, err := os.ReadFile(file); err != nil || string(b) == "of root" {
			t.Errorf("root's file is in the backup: %s, %v", file, err)
		}
	}
}

// A member of the data folder's group reads the chain while the agent runs, and leaves nothing.
func TestTheGroupReadsACheckpointThatTheAgentRemoves(t *testing.T) {
	t.Parallel()
	g, _ := newServiceGateway(t, soon)
	g.must("init")
	g.serve()
	socket := "api.socket=" + filepath.Join(g.data(), "s")
	out, err := os.MkdirTemp("", "edge")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(out) })
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	as := func(gid uint32, args ...string) (stdout, stderr string, code int) {
		c := g.command("edgeagent", append(args, "--config", g.config, "--set", socket)...)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65433, Gid: 65433, Groups: []uint32{gid}}}
		c.Dir = out
		return program.Output(t, c)
	}
	none := func() bool {
		left, err := filepath.Glob(filepath.Join(g.data(), "checkpoint-*"))
		return err == nil && len(left) == 0
	}
	for _, args := range [][]string{
		{"status"}, {"log"}, {"verify"}, {"export", "-o", filepath.Join(out, "e.csv"), "--proofs", filepath.Join(out, "proofs")}, {"backup", filepath.Join(out, "usb")},
	} {
		if stdout, stderr, code := as(serviceUser, args...); code != 0 {
			t.Errorf("%v ends with %d\n%s%s", args, code, stdout, stderr)
		}
		g.await("removing the checkpoint", none)
	}
	for _, args := range [][]string{{"reload"}, {"key", "rotate"}, {"prune"}} {
		if stdout, stderr, code := as(serviceUser, args...); code == 0 || !strings.Contains(stderr, "use sudo") {
			t.Errorf("%v ends with %d\n%s%s", args, code, stdout, stderr)
		}
	}
	// Whoever is killed while reading leaves nothing either.
	client, err := api.Dial(t.Context(), filepath.Join(g.data(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	dir, lent, err := client.Reading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST")); none() {
		t.Errorf("there is no checkpoint while one is lent: %v", err)
	}
	lent.Close()
	g.await("removing the checkpoint", none)

	if err := os.Chmod(g.config, 0o644); err != nil {
		t.Fatal(err)
	}
	// Without the agent, and for who is no member, the command says how.
	if _, stderr, code := as(65434, "verify"); code != 5 || !strings.Contains(stderr, "use sudo") && !strings.Contains(stderr, ": sudo ") {
		t.Errorf("who is no member: %d\n%s", code, stderr)
	}
	g.process.Stop()
	if _, stderr, code := as(serviceUser, "verify"); code != 5 || !strings.Contains(stderr, "this does it: sudo ") {
		t.Errorf("without the agent: %d\n%s", code, stderr)
	}
}
