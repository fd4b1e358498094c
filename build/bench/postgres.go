package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// postgres is a PostgreSQL with the settings it is shipped with, which a commit waits for the disk in. It can be reached
// through a socket in its own folder only.
type postgres struct {
	*program
	dsn string
	dir string
}

func (b *bench) startPostgres(ctx context.Context) (p *postgres, err error) {
	programs := map[string]string{"initdb": "", "postgres": "", "pg_isready": ""}
	for name := range programs {
		if programs[name], err = exec.LookPath(name); err == nil {
			continue
		}
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) == 0 {
			return nil, errors.New("PostgreSQL is not installed: build/testenv/install.sh installs it")
		}
		programs[name] = found[len(found)-1]
	}
	p = &postgres{}
	if p.dir, err = os.MkdirTemp(b.dir, "pg-"); err != nil {
		return nil, err
	}
	owner, err := postgresOwner()
	if err != nil {
		return nil, err
	}
	if owner != nil {
		// The way there must be open to the user that the server runs as, and no more than the way.
		err := errors.Join(os.Chmod(b.dir, 0o711), os.Chown(p.dir, int(owner.Uid), int(owner.Gid)))
		if err != nil {
			return nil, err
		}
	}
	as := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Credential: owner} // which ends it at once and leaves no shared memory
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, programs[name], args...)
		cmd.Dir, cmd.SysProcAttr = p.dir, as
		return cmd
	}
	data := filepath.Join(p.dir, "data")
	initdb := command("initdb", "--pgdata", data, "--username", "edgechain", "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb in %s, which must lie in a folder that others may enter: %w\n%s", p.dir, err, out)
	}
	if p.program, err = startCommand(command("postgres", "-D", data, "-k", p.dir, "-c", "listen_addresses=", "-c", "max_connections=100")); err != nil {
		return nil, err
	}
	query := url.Values{"host": {p.dir}, "user": {"edgechain"}, "sslmode": {"disable"}}
	p.dsn = "postgres:///postgres?" + query.Encode()
	return p, p.await(func() bool {
		return command("pg_isready", "--quiet", "--host", p.dir, "--dbname", "postgres").Run() == nil
	})
}

func (p *postgres) close() error {
	_ = p.cmd.Process.Signal(syscall.SIGINT) // which waits for nobody
	select {
	case <-p.done:
	case <-time.After(patience):
		p.stop()
	}
	return os.RemoveAll(p.dir)
}

// postgresOwner returns whom the server runs as in place of root, whom it refuses; nil if that is the present user.
func postgresOwner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and neither postgres nor nobody is a user here")
}
