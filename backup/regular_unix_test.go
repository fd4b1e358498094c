//go:build unix

package backup

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Who brings a stick, or can write to a data folder, decides neither what root reads nor how long it waits.
func TestNothingButRegularFilesIsRead(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte(content("1.sst")), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(path string) error { return os.Symlink(outside, path) }
	pipe := func(path string) error { return syscall.Mkfifo(path, 0o600) }
	folder := func(path string) error { return os.Mkdir(path, 0o700) }
	for what, put := range map[string]func(string) error{"a link": link, "a pipe": pipe, "a folder": folder} {
		o := newOriginal(t, "1.sst")
		f := begin(t)
		g := add(t, f, o.draft(0)).Generation
		pooled := (&pool{dir: filepath.Join(f.dir, poolName)}).path(g.Files[0].SHA256)
		replace := func(path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Fatal(err)
			}
		}
		replace(pooled)
		if _, err := f.Verify(t.Context(), nil); err == nil {
			t.Errorf("%s in the pool verifies", what)
		}
		if err := f.Extract(t.Context(), g, "chain", filepath.Join(t.TempDir(), "back"), nil); err == nil {
			t.Errorf("%s in the pool is restored", what)
		}
		replace(f.manifestPath(1, manifestSuffix))
		if _, err := f.Generation(1); err == nil {
			t.Errorf("%s is read for a generation", what)
		}
		replace(filepath.Join(f.dir, markName))
		if _, err := Open(f.dir); err == nil {
			t.Errorf("%s makes a backup folder", what)
		}

		d := o.draft(0)
		d.Within = o.dir
		if _, err := begin(t).Add(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		replace(filepath.Join(o.dir, "1.sst"))
		if _, err := begin(t).Add(t.Context(), d); err == nil {
			t.Errorf("%s in the data folder is backed up", what)
		}
	}

	// A folder on the way may be a link as well.
	o := newOriginal(t, "1.sst")
	d := o.draft(0)
	d.Within = filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(d.Within, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(o.dir, filepath.Join(d.Within, "chain")); err != nil {
		t.Fatal(err)
	}
	d.Sources = []Source{{Path: "chain/1.sst", File: filepath.Join(d.Within, "chain", "1.sst")}}
	if _, err := begin(t).Add(t.Context(), d); err == nil {
		t.Error("a link to a folder is followed")
	}
	// What the operator has named elsewhere may be one: certificates are.
	named := filepath.Join(t.TempDir(), "cert.pem")
	if err := link(named); err != nil {
		t.Fatal(err)
	}
	d.Sources = []Source{{Path: "files/cert.pem", File: named}}
	if _, err := begin(t).Add(t.Context(), d); err != nil {
		t.Error(err)
	}
}

// A larger file than was backed up is not read to its end.
func TestAFileOfAnotherSizeIsNotRead(t *testing.T) {
	f := begin(t)
	g := add(t, f, newOriginal(t, "1.sst").draft(0)).Generation
	pooled := (&pool{dir: filepath.Join(f.dir, poolName)}).path(g.Files[0].SHA256)
	if err := os.Truncate(pooled, 1<<40); err != nil {
		t.Skip("the file system takes no such file:", err)
	}
	if _, err := f.Verify(t.Context(), nil); err == nil {
		t.Error("it verifies")
	}
	if err := f.Extract(t.Context(), g, "chain", filepath.Join(t.TempDir(), "back"), nil); err == nil {
		t.Error("it is restored")
	}
}

// A checkpoint is a folder: what else has such a name is left alone, and waited for by nobody.
func TestWhatIsCalledACheckpointAndIsNoneStays(t *testing.T) {
	data, outside := t.TempDir(), t.TempDir()
	pipe, link := filepath.Join(data, checkpointPrefix+"1"), filepath.Join(data, checkpointPrefix+"2")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link} {
		if err := removeUnheld(path); err == nil {
			t.Errorf("%s counts as a checkpoint", path)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

// Root gives what it has restored to the data folder's owner, and nothing that a link there leads to.
func TestNothingOutsideIsGivenAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root alone gives files away")
	}
	data, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(data, "chain")
	if err := os.Mkdir(made, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, to := range map[string]string{filepath.Join(made, "link"): outside, filepath.Join(data, "restored"): filepath.Dir(outside)} {
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(made, "1.sst"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const owner = 4711
	if err := os.Chown(data, owner, owner); err != nil {
		t.Fatal(err)
	}
	_ = GiveToOwner(data, made, filepath.Join(data, "restored"), filepath.Join(data, "restored", "secret"))
	uid := func(path string) uint32 {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	if uid(made) != owner || uid(filepath.Join(made, "1.sst")) != owner {
		t.Error("what was restored is not the owner's")
	}
	if uid(outside) != 0 || uid(filepath.Dir(outside)) != 0 {
		t.Error("what a link leads to was given away")
	}
}
