package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"edgechain.example/asowner"
)

// pool holds files by their SHA-256.
type pool struct {
	dir     string
	touched map[string]bool // folders whose names must become durable
}

// path returns where the file with a hash is. Not all in one folder: FAT finds a name by looking at every one.
func (p *pool) path(hash string) string { return filepath.Join(p.dir, hash[:2], hash) }

// open opens the file with a hash, of a size that the generation tells.
func (p *pool) open(file File) (*os.File, error) {
	f, err := openRegular(filepath.Dir(p.dir), filepath.Join(poolName, file.SHA256[:2], file.SHA256))
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Size() != file.Size {
		return nil, errors.Join(fmt.Errorf("%s %w", f.Name(), errOther), err, f.Close())
	}
	return f, nil
}

var errOther = errors.New("is not what was written")

func (p *pool) holds(hash string, size int64) bool {
	info, err := os.Lstat(p.path(hash))
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// put takes a file in, unless it is there already, and sets its hash and size.
func (p *pool) put(from *os.File, file *File) (copied bool, err error) {
	// It is read before anything is written: what an interrupted backup has brought is not written again.
	if file.SHA256, file.Size, err = hashOf(from); err != nil {
		return false, err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	to := p.path(file.SHA256)
	dir := filepath.Dir(to)
	if p.holds(file.SHA256, file.Size) {
		p.touched[dir] = true // its name may not be durable: an interrupted backup never came to that
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, explain(err)
	}
	n, err := createNew(dir)
	if err != nil {
		return false, explain(err)
	}
	_, err = io.Copy(n, from)
	if err == nil {
		err = n.Sync()
	}
	if err == nil {
		forgetCached(n) // so that what is compared comes from the disk
	}
	err = errors.Join(err, n.Close())
	if err == nil {
		var written string
		if written, _, err = hashFile(n.Name()); err == nil && written != file.SHA256 {
			err = errors.New("read back from the backup's disk it is another file: that disk is broken, or the file changed meanwhile")
		}
	}
	if err == nil {
		err = os.Rename(n.Name(), to)
	}
	if err != nil {
		os.Remove(n.Name())
		return false, explain(err)
	}
	p.touched[dir] = true
	return true, nil
}

// sync makes the names of all that was put durable.
func (p *pool) sync() error {
	if len(p.touched) == 0 {
		return nil
	}
	for dir := range p.touched {
		if err := Sync(dir); err != nil {
			return err
		}
	}
	return Sync(p.dir)
}

func isNew(name string) bool { return strings.HasPrefix(name, newPrefix) }

func hashFile(name string) (hash string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return hashOf(f)
}

func hashOf(f *os.File) (hash string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

func (p *pool) hash(file File) (hash string, size int64, err error) {
	f, err := p.open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return hashOf(f)
}

// Verified is what reading a whole backup folder has shown.
type Verified struct {
	Generations int   `json:"generations"`
	Files       int   `json:"files"` // each once, of however many generations it is
	Bytes       int64 `json:"bytes"`
}

// Verify reads every file of every generation and compares its hash. It goes on after what is damaged; the error, an
// [ErrDamaged], names all of it.
func (f *Folder) Verify(ctx context.Context, progress func(done, total int64)) (v Verified, err error) {
	err = asowner.AsCaller(func() error {
		v, err = f.verify(ctx, progress)
		return err
	})
	return v, err
}

func (f *Folder) verify(ctx context.Context, progress func(done, total int64)) (v Verified, err error) {
	all, damaged := f.Generations()
	if damaged != nil && !errors.Is(damaged, ErrDamaged) {
		return v, damaged
	}
	var files []File // in the order in which they are met
	needed := map[string][]int{}
	total := int64(0)
	for _, g := range all {
		for _, file := range g.Files {
			if needed[file.SHA256] == nil {
				files = append(files, file)
				total += file.Size
			}
			needed[file.SHA256] = append(needed[file.SHA256], g.Number)
		}
	}
	p := pool{dir: filepath.Join(f.dir, poolName)}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		path := p.path(file.SHA256)
		hash, size, err := p.hash(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%s is missing", path)
		case errors.Is(err, errOther), err == nil && hash != file.SHA256:
			err = fmt.Errorf("%s is not what was written; without it the next backup copies it again, if the gateway still has it", path)
		}
		if err != nil {
			damaged = errors.Join(damaged, fmt.Errorf("%w: %s of generations %v: %w", ErrDamaged, file.Path, slices.Compact(needed[file.SHA256]), err))
		}
		v.Files, v.Bytes = v.Files+1, v.Bytes+size
		if progress != nil {
			progress(v.Bytes, total)
		}
	}
	v.Generations = len(all)
	return v, damaged
}

// Extract copies the files below a path of the generation, "chain" for instance, into the folder to, which may be
// there, and makes them durable. Each is compared with its hash: the error is an [ErrDamaged] if one differs. Nothing
// is overwritten.
func (f *Folder) Extract(ctx context.Context, g *Generation, below, to string, progress func(done, total int64)) error {
	done, total := int64(0), g.Bytes()
	touched := map[string]bool{filepath.Dir(to): true}
	for _, file := range g.Files {
		rest, found := strings.CutPrefix(file.Path, path.Clean(below)+"/")
		if !found {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		target := filepath.Join(to, filepath.FromSlash(rest))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if err := f.CopyOut(file, target); err != nil {
			return fmt.Errorf("generation %d: %w", g.Number, err)
		}
		for dir := filepath.Dir(target); len(dir) >= len(to); dir = filepath.Dir(dir) {
			touched[dir] = true
		}
		if done += file.Size; progress != nil {
			progress(done, total)
		}
	}
	for dir := range touched {
		if err := Sync(dir); err != nil {
			return err
		}
	}
	return nil
}

// Place copies one file to its place and makes the name durable, unless a file of the same content is there already.
func (f *Folder) Place(file File, to string) error {
	if file.SameAs(to) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	if err := f.CopyOut(file, to); err != nil {
		return err
	}
	return Sync(filepath.Dir(to))
}

// CopyOut copies one file to a path where there is none, readable by its owner alone. The name is there when the file
// is whole; the caller makes it durable. It reads with the rights of who started the process, and writes with those in force.
func (f *Folder) CopyOut(file File, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", to, fs.ErrExist)
	}
	p := pool{dir: filepath.Join(f.dir, poolName)}
	var source *os.File
	err := asowner.AsCaller(func() (err error) {
		source, err = p.open(file)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, file.Path, err)
	}
	defer source.Close()
	n, err := createNew(filepath.Dir(to))
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(n, io.TeeReader(source, h))
	if err == nil && hex.EncodeToString(h.Sum(nil)) != file.SHA256 {
		err = fmt.Errorf("%w: %s: %s %w", ErrDamaged, file.Path, p.path(file.SHA256), errOther)
	}
	if err == nil {
		err = n.Sync()
	}
	err = errors.Join(err, n.Close())
	if err == nil {
		err = os.Rename(n.Name(), to)
	}
	if err != nil {
		os.Remove(n.Name())
	}
	return err
}
