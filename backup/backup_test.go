package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A program whose files are backed up. Files never change, as those of a chain's store do not.
type original struct {
	t   testing.TB
	dir string
}

func newOriginal(t testing.TB, names ...string) *original {
	o := &original{t, t.TempDir()}
	for _, name := range names {
		o.write(name)
	}
	return o
}

func content(name string) string { return strings.Repeat(name+"\n", 1000) }

func (o *original) write(name string) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(content(name)), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *original) sources() (all []Source) {
	o.t.Helper()
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, Source{Path: "chain/data-1/" + e.Name(), File: filepath.Join(o.dir, e.Name())})
	}
	return all
}

func (o *original) draft(keep int) Draft {
	return Draft{Made: time.Unix(1700000000, 0), About: map[string]int{"height": 7}, Sources: o.sources(), Keep: keep}
}

func begin(t testing.TB) *Folder {
	t.Helper()
	f, err := Begin(filepath.Join(t.TempDir(), "usb"), "chain a")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func add(t testing.TB, f *Folder, d Draft) *Added {
	t.Helper()
	added, err := f.Add(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

// whole checks that all generations can be read, verify and give back what was put in, and returns their numbers.
func whole(t testing.TB, f *Folder) (numbers []int) {
	t.Helper()
	if _, err := f.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	all, err := f.Generations()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		to := filepath.Join(t.TempDir(), "back")
		if err := f.Extract(t.Context(), g, "chain", to, nil); err != nil {
			t.Fatal(err)
		}
		for _, file := range g.Files {
			name := filepath.Base(file.Path)
			if b, err := os.ReadFile(filepath.Join(to, "data-1", name)); err != nil || string(b) != content(name) {
				t.Fatalf("generation %d gives back another %s: %v", g.Number, name, err)
			}
		}
		numbers = append(numbers, g.Number)
	}
	return numbers
}

// files lists what lies in the folder, but for the mark.
func files(t testing.TB, f *Folder) (all []string) {
	t.Helper()
	err := filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() != markName {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSecondBackupCopiesOnlyWhatIsNew(t *testing.T) {
	o := newOriginal(t, "1.sst", "2.sst", "3.sst")
	f := begin(t)
	if a := add(t, f, o.draft(0)); a.Copied != 3 || a.CopiedBytes != a.Generation.Bytes() {
		t.Fatalf("the first copies %d files of %d bytes", a.Copied, a.CopiedBytes)
	}
	o.write("4.sst")
	if a := add(t, f, o.draft(0)); a.Copied != 1 || a.CopiedBytes != int64(len(content("4.sst"))) {
		t.Errorf("the second copies %d files of %d bytes", a.Copied, a.CopiedBytes)
	}
	// Touched or restored elsewhere, the same content is not copied again either.
	later := time.Unix(1800000000, 0)
	if err := os.Chtimes(filepath.Join(o.dir, "1.sst"), later, later); err != nil {
		t.Fatal(err)
	}
	if a := add(t, f, o.draft(0)); a.Copied != 0 || a.Generation.Number != 3 {
		t.Errorf("generation %d copies %d files", a.Generation.Number, a.Copied)
	}
	if got := whole(t, f); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("generations %v", got)
	}
}

func TestFileOfTheSameNameAndSizeIsNotMistaken(t *testing.T) {
	o := newOriginal(t, "1.sst")
	f := begin(t)
	add(t, f, o.draft(0))
	// As a gateway that was set back writes other tables under the numbers of those that it lost.
	other := []byte(strings.ToUpper(content("1.sst")))
	if err := os.WriteFile(filepath.Join(o.dir, "1.sst"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	g := add(t, f, o.draft(0)).Generation
	to := filepath.Join(t.TempDir(), "back")
	if err := f.Extract(t.Context(), g, "chain/data-1", to, nil); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "1.sst")); err != nil || string(b) != string(other) {
		t.Errorf("it gives back the older file: %v", err)
	}
}

func TestInterruptedBackupLeavesFormerOnesWhole(t *testing.T) {
	o := newOriginal(t, "1.sst", "2.sst")
	f := begin(t)
	add(t, f, o.draft(0))
	o.write("3.sst")
	o.write("4.sst")
	failed := errors.New("the power failed")
	for stop := range 5 {
		d := o.draft(1)
		ctx, cancel := context.WithCancel(t.Context())
		copied := 0
		d.Progress = func(int64, int64) {
			if copied++; copied == stop {
				cancel()
			}
		}
		d.Commit = func() error { return failed }
		if stop == 0 {
			cancel()
		}
		if _, err := f.Add(ctx, d); !errors.Is(err, context.Canceled) && !errors.Is(err, failed) {
			t.Fatalf("interrupted after %d files: %v", stop, err)
		}
		cancel()
		// What a kill leaves in the middle of a file.
		if err := os.WriteFile(filepath.Join(f.dir, generationsName, newPrefix+"1"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := whole(t, f); !slices.Equal(got, []int{1}) {
			t.Fatalf("interrupted after %d files, there are generations %v", stop, got)
		}
	}
	a := add(t, f, o.draft(1))
	if a.Copied != 0 {
		t.Errorf("%d files are copied again that were there", a.Copied)
	}
	if got := whole(t, f); !slices.Equal(got, []int{2}) {
		t.Errorf("generations %v", got)
	}
	if left := files(t, f); len(left) != 5 {
		t.Errorf("four files and a generation make %v", left)
	}
}

func TestDroppedGenerationTakesAlongOnlyWhatNobodyElseNeeds(t *testing.T) {
	o := newOriginal(t, "1.sst", "2.sst")
	f := begin(t)
	add(t, f, o.draft(2))
	add(t, f, o.draft(2))
	if err := os.Remove(filepath.Join(o.dir, "1.sst")); err != nil { // merged into another
		t.Fatal(err)
	}
	o.write("3.sst")
	if a := add(t, f, o.draft(2)); !slices.Equal(a.Dropped, []int{1}) {
		t.Errorf("dropped %v", a.Dropped)
	}
	if got := whole(t, f); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("generations %v", got)
	}
	add(t, f, o.draft(1))
	if left := files(t, f); len(left) != 3 {
		t.Errorf("two files and a generation make %v", left)
	}
}

func TestEveryDamagedFileIsFoundAndNotGivenBack(t *testing.T) {
	o := newOriginal(t, "1.sst", "2.sst")
	f := begin(t)
	add(t, f, o.draft(0))
	for _, path := range files(t, f) {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, damage := range map[string]func() error{
			"a flipped bit": func() error {
				bad := slices.Clone(good)
				bad[len(bad)/2] ^= 1
				return os.WriteFile(path, bad, 0o600)
			},
			"cut short": func() error { return os.Truncate(path, int64(len(good)/2)) },
			"empty":     func() error { return os.Truncate(path, 0) },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Verify(t.Context(), nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("%s of %s: %v", what, path, err)
			}
			to := filepath.Join(t.TempDir(), "back")
			g, err := f.Generation(1)
			if err == nil {
				err = f.Extract(t.Context(), g, "chain", to, nil)
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s of %s is given back: %v", what, path, err)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole(t, f)
}

func TestNothingIsRemovedThatADamagedGenerationMayNeed(t *testing.T) {
	o := newOriginal(t, "1.sst")
	f := begin(t)
	add(t, f, o.draft(0))
	if err := os.Remove(filepath.Join(o.dir, "1.sst")); err != nil {
		t.Fatal(err)
	}
	o.write("2.sst")
	path := f.manifestPath(1, manifestSuffix)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, good[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	if a := add(t, f, o.draft(0)); a.Generation.Number != 2 {
		t.Errorf("generation %d follows one that cannot be read", a.Generation.Number)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil { // somebody mends it
		t.Fatal(err)
	}
	if got := whole(t, f); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("generations %v", got)
	}
}

func TestFoldersThatAreNotThisBackupAreRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "holiday.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Begin(full, "chain a"); !errors.Is(err, ErrNotBackup) {
		t.Errorf("a folder with other files: %v", err)
	}
	if _, err := Open(full); !errors.Is(err, ErrNotBackup) {
		t.Errorf("opening it: %v", err)
	}
	if _, err := Begin(filepath.Join(full, "not/there"), "chain a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a folder that is not there: %v", err)
	}
	f := begin(t)
	if _, err := Begin(f.dir, "chain b"); !errors.Is(err, ErrOther) {
		t.Errorf("another chain's: %v", err)
	}
	if again, err := Begin(f.dir, "chain a"); err != nil || again.Subject() != "chain a" {
		t.Errorf("its own: %v", err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, markName), []byte("edgechain backup 2\nchain a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f.dir); !errors.Is(err, ErrNotBackup) || !strings.Contains(err.Error(), "backup 2") {
		t.Errorf("a later program's: %v", err)
	}
	// One whose beginning was cut off is begun again.
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, newPrefix+"7"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Begin(empty, "chain a"); err != nil {
		t.Error(err)
	}
}

func TestGenerationThatLeadsElsewhereIsRefused(t *testing.T) {
	good := File{Path: "chain/1.sst", SHA256: strings.Repeat("ab", 32)}
	for what, bad := range map[string][]File{
		"a path upwards":   {{Path: "../../etc/passwd", SHA256: good.SHA256}},
		"a full path":      {{Path: "/etc/passwd", SHA256: good.SHA256}},
		"a hidden upwards": {{Path: "chain/../../x", SHA256: good.SHA256}},
		"no path":          {{SHA256: good.SHA256}},
		"a path twice":     {good, good},
		"no hash":          {{Path: "x"}},
		"a hash upwards":   {{Path: "x", SHA256: "../" + good.SHA256[3:]}},
		"a negative size":  {{Path: "x", SHA256: good.SHA256, Size: -1}},
	} {
		text, err := (&Generation{Number: 1, Files: bad}).encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeGeneration(text); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	text, err := (&Generation{Number: 1, Files: []File{good}}).encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeGeneration(text); err != nil {
		t.Error(err)
	}
}

func TestWhatIsHandedOverIsTakenOnce(t *testing.T) {
	f := begin(t)
	g := add(t, f, newOriginal(t, "1.sst").draft(0)).Generation
	if err := f.Take(g); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(g); !errors.Is(err, ErrTaken) {
		t.Errorf("a second time: %v", err)
	}
	if again, err := f.Generation(0); err != nil || !again.Taken {
		t.Errorf("the list does not say so: %v", err)
	}
}

func TestTwoBackupsIntoOneFolderAtOnceAreRefused(t *testing.T) {
	o := newOriginal(t, "1.sst")
	f := begin(t)
	d := o.draft(0)
	d.Commit = func() error {
		if _, err := f.Add(t.Context(), o.draft(0)); !errors.Is(err, ErrBusy) {
			return fmt.Errorf("a second one at once: %w", err)
		}
		return nil
	}
	add(t, f, d)
	add(t, f, o.draft(0))
}

func TestNothingIsOverwrittenThatIsThere(t *testing.T) {
	o := newOriginal(t, "1.sst")
	f := begin(t)
	g := add(t, f, o.draft(0)).Generation
	to := t.TempDir()
	if err := os.WriteFile(filepath.Join(to, "1.sst"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Extract(t.Context(), g, "chain/data-1", to, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("into a folder with such a file: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "1.sst")); err != nil || string(b) != "mine" {
		t.Errorf("it holds %.20q, %v", b, err)
	}
}
