package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/asowner"
)

// Draft is what a new generation is made of.
type Draft struct {
	Made    time.Time
	About   any // encoded as JSON
	Sources []Source
	// Within is a folder that others than who makes the backup may write to, or "": no link in it is followed.
	Within string
	Keep   int // generations to keep, the new one included; 0: all
	// Commit is called when every file is copied and durable, before the generation counts; if it fails there is
	// none. It has the rights of the folder's owner. nil: nothing is to be done then.
	Commit func() error
	// Progress is told now and then how much of all is done; nil: nobody is.
	Progress func(done, total int64)
}

// Source is a file that does not change while it is copied.
type Source struct {
	Path string // in the generation
	File string // on disk
}

// SourceBelow returns a file by its full path, below a folder of the generation.
func SourceBelow(folder, file string) (Source, error) {
	full, err := filepath.Abs(file)
	if err != nil {
		return Source{}, err
	}
	return Source{folder + filepath.ToSlash(strings.TrimPrefix(full, filepath.VolumeName(full))), full}, nil
}

// Added is a new generation, and what it took.
type Added struct {
	Generation  *Generation
	Copied      int // files that the folder did not hold
	CopiedBytes int64
	Dropped     []int // numbers of the generations that went
}

// Add makes a generation. It copies what the folder does not hold, reads back what it wrote, and drops the oldest
// generations beyond those to be kept. When it returns without error all of that is durable; else the generations
// before are as they were, unless dropping them failed.
func (f *Folder) Add(ctx context.Context, d Draft) (added *Added, err error) {
	err = asowner.AsCaller(func() error {
		added, err = f.addAndDrop(ctx, &d)
		return err
	})
	return added, err
}

func (f *Folder) addAndDrop(ctx context.Context, d *Draft) (*Added, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	added, err := f.add(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("backup into %s: %w", f.dir, err)
	}
	if added.Dropped, err = f.drop(d.Keep); err == nil {
		err = f.sweep()
	}
	if err != nil {
		return added, fmt.Errorf("generation %d is made; dropping old ones: %w", added.Generation.Number, err)
	}
	return added, nil
}

func (f *Folder) add(ctx context.Context, d *Draft) (*Added, error) {
	about, err := json.Marshal(d.About)
	if err != nil {
		return nil, err
	}
	numbers, err := f.numbers()
	if err != nil {
		return nil, err
	}
	added := &Added{Generation: &Generation{Number: 1, Made: d.Made.UTC(), About: about}}
	if len(numbers) > 0 {
		added.Generation.Number = numbers[len(numbers)-1] + 1
	}
	known, err := f.known()
	if err != nil {
		return nil, err
	}
	total, done := int64(0), int64(0)
	infos := make([]fs.FileInfo, len(d.Sources))
	for i, s := range d.Sources {
		f, err := s.open(d.Within)
		if err != nil {
			return nil, err
		}
		infos[i], err = f.Stat()
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		total += infos[i].Size()
	}
	p := pool{dir: filepath.Join(f.dir, poolName), touched: map[string]bool{}}
	for i, s := range d.Sources {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		file := File{Path: s.Path, Size: infos[i].Size(), Modified: infos[i].ModTime().UnixNano()}
		if hash := known[unread(file)]; hash != "" && p.holds(hash, file.Size) {
			file.SHA256 = hash
		} else {
			copied, err := s.putInto(&p, d.Within, &file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.File, err)
			}
			if copied {
				added.Copied++
				added.CopiedBytes += file.Size
			}
		}
		added.Generation.Files = append(added.Generation.Files, file)
		if done += file.Size; d.Progress != nil {
			d.Progress(done, total)
		}
	}
	if err := p.sync(); err != nil {
		return nil, err
	}
	text, err := added.Generation.encode()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(f.dir, generationsName), 0o700); err != nil {
		return nil, explain(err)
	}
	if err := Sync(f.dir); err != nil {
		return nil, err
	}
	// All files are there. Cut off here, there is no new generation, and the next one finds them.
	if d.Commit != nil {
		if err := asowner.AsOwner(d.Commit); err != nil {
			return nil, err
		}
	}
	return added, writeFile(f.manifestPath(added.Generation.Number, manifestSuffix), text)
}

// unread is a file as it is known without being read.
func unread(f File) File { return File{Path: f.Path, Size: f.Size, Modified: f.Modified} }

// known returns the hashes of files that a generation has by what is known of them without reading.
func (f *Folder) known() (map[File]string, error) {
	all, err := f.Generations()
	if err != nil && !errors.Is(err, ErrDamaged) { // a damaged one saves nothing
		return nil, err
	}
	known := map[File]string{}
	for _, g := range all {
		for _, file := range g.Files {
			known[unread(file)] = file.SHA256
		}
	}
	return known, nil
}

// drop removes the oldest generations, but for so many; 0 keeps all.
func (f *Folder) drop(keep int) (dropped []int, err error) {
	numbers, err := f.numbers()
	if err != nil || keep <= 0 || len(numbers) <= keep {
		return nil, err
	}
	for _, n := range numbers[:len(numbers)-keep] {
		if err := os.Remove(f.manifestPath(n, manifestSuffix)); err != nil {
			return dropped, explain(err)
		}
		dropped = append(dropped, n)
		if err := os.Remove(f.manifestPath(n, takenSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return dropped, explain(err)
		}
	}
	return dropped, Sync(filepath.Join(f.dir, generationsName))
}

// sweep removes what no generation needs: what only dropped ones had, and what was cut off. Where one cannot be read,
// nobody knows what it needs, and nothing is removed.
func (f *Folder) sweep() error {
	all, err := f.Generations()
	if errors.Is(err, ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, g := range all {
		for _, file := range g.Files {
			needed[file.SHA256] = true
		}
	}
	return filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		inPool := filepath.Dir(filepath.Dir(path)) == filepath.Join(f.dir, poolName)
		if inPool && !needed[e.Name()] || isNew(e.Name()) {
			return os.Remove(path)
		}
		return nil
	})
}
