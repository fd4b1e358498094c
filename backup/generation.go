package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"edgechain.example/asowner"
)

// Generation is one backup: which files it consists of, and what its maker says of it. Generations are ordered by
// number; a clock may be wrong.
type Generation struct {
	Number int             `json:"generation"` // from 1
	Made   time.Time       `json:"made"`       // by the maker's clock
	About  json.RawMessage `json:"about"`      // the maker's own words
	Files  []File          `json:"files"`

	Taken bool `json:"-"` // see [Folder.Take]
}

// File is one file of a generation.
type File struct {
	Path     string `json:"path"` // relative, with slashes, unique in its generation
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"` // in hexadecimal
	Modified int64  `json:"mtime"`  // nanoseconds since the Unix epoch: one that has size and mtime of before is not read again
}

// Bytes returns how much the generation's files are together.
func (g *Generation) Bytes() (total int64) {
	for _, f := range g.Files {
		total += f.Size
	}
	return total
}

// File returns the file at a path.
func (g *Generation) File(path string) (File, bool) {
	i := slices.IndexFunc(g.Files, func(f File) bool { return f.Path == path })
	if i < 0 {
		return File{}, false
	}
	return g.Files[i], true
}

const (
	manifestSuffix = ".json"
	takenSuffix    = ".taken"
	maxManifest    = 256 << 20 // bytes: a million files
)

func (f *Folder) manifestPath(number int, suffix string) string {
	return filepath.Join(f.dir, generationsName, fmt.Sprintf("%06d%s", number, suffix))
}

// numbers returns the numbers of all generations, ascending, whether or not they can be read.
func (f *Folder) numbers() (numbers []int, err error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, generationsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the backup's generations: %w", err)
	}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), manifestSuffix)
		if n, err := strconv.Atoi(digits); ok && err == nil && n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Generations returns all generations, the oldest first. Those that cannot be read are left out, and the error, which
// is an [ErrDamaged], names them.
func (f *Folder) Generations() (all []*Generation, err error) {
	err = asowner.AsCaller(func() error {
		all, err = f.generations()
		return err
	})
	return all, err
}

func (f *Folder) generations() (all []*Generation, err error) {
	numbers, err := f.numbers()
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		g, readErr := f.read(n)
		if readErr != nil {
			err = errors.Join(err, readErr)
			continue
		}
		all = append(all, g)
	}
	return all, err
}

// Generation returns one generation by its number, or the newest one where that is 0.
func (f *Folder) Generation(number int) (g *Generation, err error) {
	err = asowner.AsCaller(func() error {
		g, err = f.generation(number)
		return err
	})
	return g, err
}

func (f *Folder) generation(number int) (*Generation, error) {
	numbers, err := f.numbers()
	if err != nil {
		return nil, err
	}
	if number == 0 && len(numbers) > 0 {
		number = numbers[len(numbers)-1]
	}
	if !slices.Contains(numbers, number) {
		return nil, fmt.Errorf("%w in %s: it has %v", ErrNoGeneration, f.dir, numbers)
	}
	return f.read(number)
}

func (f *Folder) read(number int) (*Generation, error) {
	text, err := readSmall(f.dir, filepath.Join(generationsName, filepath.Base(f.manifestPath(number, manifestSuffix))), maxManifest)
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w: %w", number, ErrDamaged, err)
	}
	g, err := decodeGeneration(text)
	if err == nil && g.Number != number {
		err = fmt.Errorf("it is generation %d", g.Number)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w: %s: %w", number, ErrDamaged, f.manifestPath(number, manifestSuffix), err)
	}
	_, err = os.Lstat(f.manifestPath(number, takenSuffix))
	g.Taken = err == nil
	return g, nil
}

// encode returns the generation's manifest: a line of JSON, and one with its SHA-256, as sha256sum prints it of the
// line without its end.
func (g *Generation) encode() ([]byte, error) {
	line, err := json.Marshal(g)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(line)
	return fmt.Appendf(line, "\nsha256 %x\n", sum), nil
}

func decodeGeneration(text []byte) (*Generation, error) {
	if len(text) > maxManifest {
		return nil, errors.New("too large")
	}
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if string(rest) != fmt.Sprintf("sha256 %x\n", sha256.Sum256(line)) {
		return nil, errors.New("its SHA-256 is not the one in its last line")
	}
	g := new(Generation)
	if err := json.Unmarshal(line, g); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, file := range g.Files {
		hash, err := hex.DecodeString(file.SHA256)
		switch {
		case !filepath.IsLocal(filepath.FromSlash(file.Path)) || path.Clean(file.Path) != file.Path || seen[file.Path]:
			return nil, fmt.Errorf("a file cannot be called %q", file.Path)
		case err != nil || len(hash) != sha256.Size || file.Size < 0:
			return nil, fmt.Errorf("what it says of %q cannot be", file.Path)
		}
		seen[file.Path] = true
	}
	return g, nil
}

// Take notes durably that what the generation hands over, which only one may have, was taken over. It succeeds once;
// then it fails with [ErrTaken], for whoever asks.
func (f *Folder) Take(g *Generation) error {
	return asowner.AsCaller(func() error { return f.take(g) })
}

func (f *Folder) take(g *Generation) error {
	mark, err := os.OpenFile(f.manifestPath(g.Number, takenSuffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("generation %d: %w", g.Number, ErrTaken)
	}
	if err == nil {
		err = errors.Join(mark.Sync(), mark.Close(), Sync(filepath.Join(f.dir, generationsName)))
	}
	if err != nil {
		return fmt.Errorf("noting that generation %d is taken over: %w", g.Number, explain(err))
	}
	return nil
}

// SameAs reports whether the file at a path on disk has the same content.
func (f File) SameAs(path string) bool {
	hash, _, err := hashFile(path)
	return err == nil && hash == f.SHA256
}
