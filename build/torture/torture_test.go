package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

var built struct {
	once sync.Once
	t    torture
	err  error
}

// programs builds the programs under test once, and returns their folder.
func programs(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "torture-programs-")
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		built.t.dir = dir
		if err == nil {
			err = built.t.prepare(context.Background(), "", "")
		}
		built.err = err
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.t.programs
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.t.dir != "" {
		os.RemoveAll(built.t.dir)
	}
	os.Exit(code)
}

// Each class, as much of it as fits into a test. The seed changes with each run, so that in time the tests see all.
func TestShort(t *testing.T) {
	for _, c := range classes() {
		t.Run(c.name, func(t *testing.T) { tortured(t, "-class", c.name, "-programs", programs(t)) })
	}
}

// tortured fails the test where the harness finds a fault.
func tortured(t *testing.T, args ...string) {
	t.Helper()
	var out, log bytes.Buffer
	failed, err := run(t.Context(), append([]string{"-short"}, args...), &out, &log)
	switch {
	case err != nil:
		t.Fatalf("%v\n%s\n%s", err, &out, &log)
	case failed:
		t.Fatalf("%s\n%s", &out, &log)
	case bytes.Contains(out.Bytes(), []byte("is not installed")) && os.Getenv("CI") != "":
		t.Fatalf("%s", &out) // there all that install.sh installs must be
	case bytes.Contains(out.Bytes(), []byte("LEFT OUT:")):
		t.Skipf("%s", &out)
	}
	t.Logf("%s", &out)
}

// What is read from damaged bytes may be a length, whose type has 32 bits there.
func TestShortOn32Bits(t *testing.T) {
	if why := lacks("qemu-arm-static"); why != "" {
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	tortured(t, "-class", "files", "-programs", programs(t), "-target", "armv6", "-n", "16")
}

func TestEveryFaultDoesSomething(t *testing.T) {
	root := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(root, "data/data-1"), 0o755))
	ok(t, os.WriteFile(filepath.Join(root, "data/data-1/a.sst"), bytes.Repeat([]byte("0123456789abcdef"), 700), 0o600))
	ok(t, os.WriteFile(filepath.Join(root, "data/data-1/b.sst"), []byte("other"), 0o600))
	for name, holds := range map[string]string{"empty": "", "head-a": "first", "head-b": "second"} {
		ok(t, os.WriteFile(filepath.Join(root, "data", name), []byte(holds), 0o600))
	}
	all, err := faults(root, []string{"data"}, 64, 50)
	ok(t, err)
	if len(all) < 80 {
		t.Errorf("%d faults", len(all))
	}
	before := picture(t, root)
	for _, f := range all {
		copied := filepath.Join(t.TempDir(), "copy")
		ok(t, copyTree(root, copied))
		ok(t, f.damages(copied))
		if picture(t, copied) == before {
			t.Errorf("%s does nothing", f.name)
		}
	}
}

// picture returns all that is below a folder as one text.
func picture(t *testing.T, root string) string {
	t.Helper()
	var s bytes.Buffer
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return nil // a folder's mode was taken away, which stands in the picture already
		} else if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		s.WriteString(info.Mode().String())
		if !entry.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s.Write(b)
		}
		s.WriteString(name)
		return nil
	})
	ok(t, err)
	return s.String()
}
