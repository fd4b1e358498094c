package asowner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// stranger owns folders of tests; no account has it.
const stranger = 65431

// inProcess names what a process of its own is to do in a folder: what a process has become stays with it.
const inProcess = "EDGECHAIN_TEST_ASOWNER"

var works = map[string]func(folder string) error{
	"acts as the owner":   actsAsOwner,
	"other threads":       otherThreadsStay,
	"root's stays root's": rootsStaysRoots,
}

func TestMain(m *testing.M) {
	name, folder, found := strings.Cut(os.Getenv(inProcess), "=")
	if !found {
		os.Exit(m.Run())
	}
	if err := works[name](folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// strangersFolder makes a folder of the stranger's, beside a file that root alone may read.
func strangersFolder(t *testing.T) (folder, secret string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	open, err := os.MkdirTemp("", "asowner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	folder, secret = filepath.Join(open, "data"), filepath.Join(open, "secret")
	err = errors.Join(os.Chmod(open, 0o755), os.Mkdir(folder, 0o700), os.Chown(folder, stranger, stranger), os.WriteFile(secret, []byte("secret"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return folder, secret
}

func work(t *testing.T, name, folder string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inProcess+"="+name+"="+folder)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

func TestRootActsAsTheOwnerOfTheFolder(t *testing.T) {
	folder, _ := strangersFolder(t)
	work(t, "acts as the owner", folder)
	work(t, "other threads", folder)
}

func TestInAFolderOfItsOwnRootStaysRoot(t *testing.T) {
	_, secret := strangersFolder(t)
	work(t, "root's stays root's", filepath.Dir(secret))
}

func read(path string) error { _, err := os.ReadFile(path); return err }

func actsAsOwner(folder string) error {
	secret, mine := filepath.Join(folder, "..", "secret"), filepath.Join(folder, "mine")
	if err := Become(folder); err != nil {
		return err
	}
	if err := Become(folder); err != nil {
		return fmt.Errorf("a second time: %w", err)
	}
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		return err
	}
	if info, err := os.Stat(mine); err != nil || info.Sys().(*syscall.Stat_t).Uid != stranger || info.Sys().(*syscall.Stat_t).Gid != stranger {
		return fmt.Errorf("what is made there is not the owner's: %v, %v", info, err)
	}
	if err := os.Symlink(secret, filepath.Join(folder, "link")); err != nil {
		return err
	}
	if err := read(filepath.Join(folder, "link")); !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("a link of the owner's leads to root's file: %v", err)
	}
	if err := os.Chown(mine, 0, 0); err == nil {
		return errors.New("the owner gives a file to root")
	}
	if uid := os.Getuid(); uid != 0 {
		return fmt.Errorf("who started it is said to be %d", uid)
	}
	return AsCaller(func() error {
		if err := read(secret); err != nil {
			return fmt.Errorf("as who started it: %w", err)
		}
		output := filepath.Join(folder, "..", "output")
		if err := os.WriteFile(output, nil, 0o600); err != nil {
			return err
		}
		if info, err := os.Stat(output); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Sys().(*syscall.Stat_t).Gid != 0 {
			return fmt.Errorf("an output is not root's: %v, %v", info, err)
		}
		if err := AsOwner(func() error { return read(secret) }); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("within it, as the owner: %v", err)
		}
		if err := Outside(folder, filepath.Join(folder, "link"), func() error { return read(filepath.Join(folder, "link")) }); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("below the folder: %v", err)
		}
		return Outside(folder, secret, func() error { return read(secret) })
	})
}

// otherThreadsStay looks at threads that are begun while one has root's rights.
func otherThreadsStay(folder string) error {
	secret := filepath.Join(folder, "..", "secret")
	if err := Become(folder); err != nil {
		return err
	}
	return AsCaller(func() error {
		const threads = 50
		errs := make([]error, threads)
		var begun, done sync.WaitGroup
		begun.Add(threads)
		for i := range threads {
			done.Add(1)
			go func() {
				defer done.Done()
				runtime.LockOSThread() // for ever: each has a thread
				begun.Done()
				begun.Wait()
				if err := read(secret); !errors.Is(err, fs.ErrPermission) {
					errs[i] = fmt.Errorf("a thread that is the owner's reads root's file: %v", err)
				}
			}()
		}
		done.Wait()
		return errors.Join(append(errs, read(secret))...)
	})
}

func rootsStaysRoots(folder string) error {
	if err := errors.Join(Become(folder), Become(filepath.Join(folder, "not there"))); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("root became %d", os.Geteuid())
	}
	return errors.Join(read(filepath.Join(folder, "secret")), AsCaller(func() error { return nil }))
}

func TestAFolderThatItsOwnerDoesNotReachIsNotWorkedInAsRoot(t *testing.T) {
	folder, _ := strangersFolder(t)
	if err := os.Chmod(filepath.Dir(folder), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inProcess+"=acts as the owner="+folder)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mount --bind "+folder) {
		t.Errorf("%v\n%s", err, out)
	}
}
