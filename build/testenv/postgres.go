package testenv

import (
	"io"
	"math"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
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
	return NewPostgres(t, "fsync=off", "full_page_writes=off").DSN()
}

// PostgresServer is one server that a test can stop, start again, and have followed by standbys. One goroutine at a time
// may use it.
type PostgresServer struct {
	t        testing.TB
	folder   string // of its socket, its data and its log
	settings []string
	server   *server
}

// NewPostgres starts a PostgreSQL with settings ("fsync=off") that go over the system's own. Those that are not changed
// are fit for keeping what is committed.
func NewPostgres(t testing.TB, settings ...string) *PostgresServer {
	t.Helper()
	Need(t, "initdb", "postgres", "pg_isready", "tar")
	p := newPostgres(t, settings)
	p.initialise()
	p.Start()
	return p
}

// initialised is what initdb made for the first server of this process, packed, in a file without a name, which goes with
// the process. To unpack it costs a tenth of what initdb does. All servers of a process have one system identifier by
// that, as a primary and its standbys have.
var initialised struct {
	mu     sync.Mutex
	packed *os.File // guarded by mu; nil before the first
}

// initialise makes the server's data, which it has not run with.
func (p *PostgresServer) initialise() {
	p.t.Helper()
	initialised.mu.Lock()
	defer initialised.mu.Unlock()
	if initialised.packed != nil {
		unpack := p.command("tar", "-x", "-p", "-f", "-")
		unpack.Stdin = io.NewSectionReader(initialised.packed, 0, math.MaxInt64)
		if output, err := unpack.CombinedOutput(); err != nil {
			p.t.Fatalf("unpacking a server's data: %v\n%s", err, output)
		}
		return
	}
	p.must("initdb", "--pgdata", p.data(), "--username", "edgechain", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync")
	packed, err := os.CreateTemp("", "edgepg")
	if err == nil {
		err = os.Remove(packed.Name())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	pack := p.command("tar", "-c", "-f", "-", filepath.Base(p.data()))
	pack.Stdout = packed
	if err := pack.Run(); err != nil {
		p.t.Fatalf("packing a server's data: %v", err)
	}
	initialised.packed = packed
}

// Standby copies the server as it is, and starts the copy as a standby of that name, which follows it.
func (p *PostgresServer) Standby(name string, settings ...string) *PostgresServer {
	p.t.Helper()
	Need(p.t, "pg_basebackup")
	s := newPostgres(p.t, append([]string{"cluster_name=" + name}, settings...)) // by which it calls itself
	s.must("pg_basebackup", "--pgdata", s.data(), "--host", p.folder, "--username", "edgechain", "--checkpoint", "fast",
		"--write-recovery-conf", "--no-sync")
	s.Start()
	return s
}

func newPostgres(t testing.TB, settings []string) *PostgresServer {
	p := &PostgresServer{t: t, folder: postgresFolder(t), settings: settings}
	// SIGQUIT is its immediate shutdown, which, unlike SIGKILL, leaves no shared memory behind.
	p.server = newServer(t, "postgres", filepath.Join(p.folder, "postgres.log"), syscall.SIGQUIT)
	return p
}

func (p *PostgresServer) data() string { return filepath.Join(p.folder, "data") }

func (p *PostgresServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(Program(p.t, name), args...)
	cmd.Dir = p.folder // the caller's may be closed to the user it runs as
	if owner := postgresOwner(p.t); owner != nil {
		runAs(cmd, owner.uid, owner.gid)
	}
	return cmd
}

func (p *PostgresServer) must(name string, args ...string) {
	p.t.Helper()
	if output, err := p.command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, output)
	}
}

// Start starts the server, again where it was stopped, and returns when it takes connections.
func (p *PostgresServer) Start() {
	p.t.Helper()
	args := []string{"-D", p.data(), "-k", p.folder, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=16MB"}
	for _, setting := range p.settings {
		args = append(args, "-c", setting)
	}
	// Not by pg_ctl: a server it starts is nobody's child, and outlives a test that is killed.
	if !p.server.start(p.command("postgres", args...), func() bool {
		return p.command("pg_isready", "--quiet", "--host", p.folder, "--dbname", "postgres").Run() == nil
	}) {
		p.t.Fatal("postgres does not start")
	}
}

// Stop ends the server as it ends where its machine fails: nobody gets another answer.
func (p *PostgresServer) Stop() {
	p.t.Helper()
	p.server.stop(syscall.SIGQUIT)
}

// Promote makes the primary of a standby, and returns when it takes writes.
func (p *PostgresServer) Promote() {
	p.t.Helper()
	p.must("pg_ctl", "promote", "--pgdata", p.data(), "--wait", "--timeout", strconv.Itoa(int(Patience.Seconds())))
}

// DSN returns the address of the server, or, with others, of whichever of them takes writes.
func (p *PostgresServer) DSN(others ...*PostgresServer) string {
	query := url.Values{"host": {p.folder}, "user": {"edgechain"}, "sslmode": {"disable"}}
	for _, o := range others {
		query["host"][0] += "," + o.folder
		query.Set("target_session_attrs", "read-write")
	}
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
