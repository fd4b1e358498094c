package testenv

import (
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// socketName is what PostgreSQL calls its socket, in a folder one chooses, for the port nobody else sees.
const socketName = ".s.PGSQL.5432"

// Postgres starts a PostgreSQL with an empty database and returns its address, postgres://…, for pgx. It can be reached
// through a socket in a folder of its own only.
//
// It runs without fsync, which is what makes it quick. A transaction is in the kernel's hands when its commit returns, so
// it survives the death of any process here, the server included. A test of power loss needs another server.
func Postgres(t testing.TB) (dsn string) {
	t.Helper()
	Need(t, "initdb", "postgres", "pg_isready")
	folder := postgresFolder(t)
	asOwner := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(Program(t, name), args...)
		cmd.Dir = folder // the caller's may be closed to the user it runs as
		if owner := postgresOwner(t); owner != nil {
			runAs(cmd, owner.uid, owner.gid)
		}
		return cmd
	}
	data := filepath.Join(folder, "data")
	initdb := asOwner("initdb", "--pgdata", data, "--username", "edgechain", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync")
	if output, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}

	// SIGQUIT is its immediate shutdown, which, unlike SIGKILL, leaves no shared memory behind.
	s := newServer(t, "postgres", filepath.Join(folder, "postgres.log"), syscall.SIGQUIT)
	// Not by pg_ctl: a server it starts is nobody's child, and outlives a test that is killed.
	started := s.start(
		asOwner("postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "max_connections=200",
			"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=16MB"),
		func() bool {
			return asOwner("pg_isready", "--quiet", "--host", folder, "--dbname", "postgres").Run() == nil
		})
	if !started {
		t.Fatal("postgres does not start")
	}
	query := url.Values{"host": {folder}, "user": {"edgechain"}, "sslmode": {"disable"}}
	return "postgres:///postgres?" + query.Encode()
}

// postgresFolder makes a folder whose name leaves room for the socket's, and which the server's user may enter: t.TempDir
// gives neither.
func postgresFolder(t testing.TB) string {
	t.Helper()
	const longestSocket = 107 // sun_path less its final zero
	parent := os.TempDir()
	if len(parent)+len("/edgepg0123456789/")+len(socketName) > longestSocket {
		parent = "/tmp"
	}
	folder, err := os.MkdirTemp(parent, "edgepg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if owner := postgresOwner(t); owner != nil {
		if err := os.Chown(folder, int(owner.uid), int(owner.gid)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

type owner struct{ uid, gid uint32 }

// postgresOwner returns the user who runs the server in place of root, whom it refuses; nil if that is the present one.
func postgresOwner(t testing.TB) *owner {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &owner{uint32(uid), uint32(gid)}
		}
	}
	t.Fatal("PostgreSQL does not run as root, and neither postgres nor nobody is a user here")
	return nil
}
