package headlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"edgechain.example/durable"
	"edgechain.example/lightchain"
	"edgechain.example/tomlconf"
)

// Folder is where a log is exported to.
type Folder struct {
	Dir string
	// As does something with a file there, with the rights of whoever named the folder; its error comes back to the caller of
	// [Export]. nil: as the process is.
	As func(do func() error) error
}

func (d Folder) as(do func() error) error {
	if d.As == nil {
		return do()
	}
	return d.As(do)
}

func (d Folder) path(name string) string { return filepath.Join(d.Dir, filepath.FromSlash(name)) }

// read returns what is in a file, nil where there is none.
func (d Folder) read(name string) (content []byte, err error) {
	err = d.as(func() (err error) {
		if content, err = tomlconf.ReadFile(d.path(name), maxFetched); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	return content, err
}

// has reports whether there is a file of so many bytes, at least; a power cut may leave an empty one.
func (d Folder) has(name string, least int64) (there bool, err error) {
	err = d.as(func() error {
		info, err := os.Stat(d.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		there = err == nil && info.Size() >= least
		return err
	})
	return there, err
}

// write puts a file in its place whole, and durable, so that none that the checkpoint names is an empty one after a power cut.
func (d Folder) write(name string, content []byte) error {
	return d.as(func() error {
		path := d.path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return durable.Replace(path, 0o644, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		})
	})
}

// exported reads tiles from the folder.
func (d Folder) exported() readTile {
	return Fetch(func(_ context.Context, path string) ([]byte, error) {
		content, err := d.read(path)
		if err == nil && content == nil {
			err = fmt.Errorf("%s: %w", d.path(path), fs.ErrNotExist)
		}
		return content, err
	}).tile
}

// Export writes a served log into a folder, from which any web server can serve it: what the newest checkpoint covers, entries
// where the log shows them, and the checkpoint itself last, so that a folder that is served meanwhile never lacks what it names.
// Files that are there already are left as they are, but for the checkpoint. It returns that, and how many files it wrote.
func Export(ctx context.Context, f Fetch, key note.Verifier, to Folder) (newest *Checkpoint, written int, err error) {
	signed, err := f(ctx, "checkpoint")
	if err != nil {
		return nil, 0, err
	}
	if newest, err = OpenCheckpoint(signed, key); err != nil {
		return nil, 0, err
	}
	if err := to.continuedBy(ctx, f, key, newest); err != nil {
		return nil, 0, err
	}
	shown := true // entries are, as far as is known
	for _, t := range tiles(newest.Size) {
		for _, path := range t.files(shown) {
			least := int64(t.width * len(lightchain.Hash{}))
			if strings.HasPrefix(path, entriesBelow) {
				least = int64(t.width * 2) // the lengths alone
			}
			wrote, err := to.fetch(ctx, f, path, least)
			if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(path, entriesBelow) {
				shown = false
				continue
			}
			if err != nil {
				return nil, written, err
			}
			if wrote {
				written++
			}
		}
	}
	if err := to.exported().makes(ctx, newest, true); err != nil {
		return nil, written, fmt.Errorf("in %s: %w", to.Dir, err)
	}
	return newest, written + 1, to.write("checkpoint", signed)
}

const entriesBelow = "tile/entries/"

// files returns the names of a tile's files.
func (t tile) files(entries bool) []string {
	if t.level == 0 && entries {
		return []string{"tile/" + t.path(false), "tile/" + t.path(true)}
	}
	return []string{"tile/" + t.path(false)}
}

// fetch gets a file that is not there yet, or was cut short.
func (d Folder) fetch(ctx context.Context, f Fetch, path string, least int64) (wrote bool, err error) {
	if there, err := d.has(path, least); err != nil || there {
		return false, err
	}
	body, err := f(ctx, path)
	if err != nil {
		return false, err
	}
	return true, d.write(path, body)
}

// continuedBy refuses a folder with a checkpoint that the newest does not continue.
func (d Folder) continuedBy(ctx context.Context, f Fetch, key note.Verifier, newest *Checkpoint) error {
	signed, err := d.read("checkpoint")
	if err != nil || signed == nil {
		return err
	}
	before, err := OpenCheckpoint(signed, key)
	switch {
	case err != nil:
		return fmt.Errorf("the checkpoint in %s: %w", d.Dir, err)
	case before.Size > newest.Size:
		return fmt.Errorf("%w: %s has %d leaves, and the log %d", ErrInvalid, d.Dir, before.Size, newest.Size)
	}
	return readTile(f.tile).continues(ctx, before, newest)
}
