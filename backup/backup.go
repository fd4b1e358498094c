// Package backup keeps generations of a program's files in a folder on another disk: a USB stick, a network share.
//
// It owns the folder's layout, what makes a generation whole, and which files are copied at all. It knows nothing of
// what the files mean: whoever makes a backup brings a consistent set of files that do not change, and says in a few
// words what they are.
//
// A backup folder holds
//
//	EDGECHAIN-BACKUP           that it is one, and of what
//	pool/ab/abcdef…            files, each named by its SHA-256, so that none is stored twice
//	generations/000017.json    what one backup consists of, and a line with the SHA-256 of that
//	generations/000017.taken   that what it hands over was taken over: see [Folder.Take]
//
// Files come to their names when they are whole and durable, and a generation comes last: an interruption at any
// point leaves the generations before it as they were. Nothing but plain files with short names is used, so any file
// system will do, FAT too.
//
// Where a command has given up root (package asowner), a backup folder is opened, read and written to as who started it, since
// that person has named it, and the program's own folder as its owner.
package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"edgechain.example/asowner"
)

// Errors on which a caller branches.
var (
	ErrNotBackup    = errors.New("not a backup folder")
	ErrOther        = errors.New("the folder holds backups of something else")
	ErrBusy         = errors.New("another backup into this folder is under way")
	ErrFull         = errors.New("the backup's disk is full")
	ErrDamaged      = errors.New("the backup is damaged")
	ErrNoGeneration = errors.New("there is no such generation")
	ErrTaken        = errors.New("what this generation hands over was taken over already")
)

const (
	markName        = "EDGECHAIN-BACKUP"
	markLine        = "edgechain backup 1"
	poolName        = "pool"
	generationsName = "generations"
	maxMark         = 4096   // bytes
	newPrefix       = "new-" // begins the names of files that are not whole yet
)

// Folder is a backup folder.
type Folder struct {
	dir     string
	subject string
}

// Open opens the backup folder dir, or fails with [ErrNotBackup].
func Open(dir string) (f *Folder, err error) {
	err = asowner.AsCaller(func() error {
		f, err = open(dir)
		return err
	})
	return f, err
}

func open(dir string) (*Folder, error) {
	text, err := readSmall(dir, markName, maxMark)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("backup folder %s: %w", dir, reason(err))
		}
		return nil, fmt.Errorf("%s: %w: it has no file %s", dir, ErrNotBackup, markName)
	}
	if err != nil {
		return nil, fmt.Errorf("backup folder %s: %w", dir, reason(err))
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	subject, _, found := strings.Cut(rest, "\n")
	switch {
	case line == markLine && found && subject != "":
		return &Folder{dir, subject}, nil
	case strings.HasPrefix(line, "edgechain backup "):
		return nil, fmt.Errorf("%s: %w that this program knows: it says %q", dir, ErrNotBackup, line)
	}
	return nil, fmt.Errorf("%s: %w: its file %s is damaged", dir, ErrNotBackup, markName)
}

// Begin opens dir as the backup folder of subject, one line of text. A folder that is empty, or not there while the
// one above it is, becomes one; any other fails with [ErrNotBackup], and one of something else with [ErrOther].
func Begin(dir, subject string) (f *Folder, err error) {
	err = asowner.AsCaller(func() error {
		f, err = begun(dir, subject)
		return err
	})
	return f, err
}

func begun(dir, subject string) (*Folder, error) {
	f, err := Open(dir)
	switch {
	case err == nil && f.subject != subject:
		return nil, fmt.Errorf("%s: %w: of %s; this is %s", dir, ErrOther, f.subject, subject)
	case err == nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist):
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the backup folder %s: %w", dir, reason(err))
		}
	case !errors.Is(err, ErrNotBackup):
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("backup folder %s: %w", dir, reason(err))
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), newPrefix) { // an earlier beginning was cut off
			return nil, fmt.Errorf("%s: %w, and not empty: name an empty folder, or one that is not there yet", dir, ErrNotBackup)
		}
	}
	if err := writeFile(filepath.Join(dir, markName), []byte(markLine+"\n"+subject+"\n")); err != nil {
		return nil, fmt.Errorf("beginning the backup folder %s: %w", dir, err)
	}
	return &Folder{dir, subject}, Sync(filepath.Dir(dir)) // dir itself may be new
}

// Subject returns what the folder holds backups of.
func (f *Folder) Subject() string { return f.subject }

// writeFile gives a new content its name when it is whole and durable.
func writeFile(path string, content []byte) error {
	n, err := createNew(filepath.Dir(path))
	if err != nil {
		return explain(err)
	}
	if _, err = n.Write(content); err == nil {
		err = n.Sync()
	}
	if err := errors.Join(err, n.Close()); err != nil {
		os.Remove(n.Name())
		return explain(err)
	}
	if err := os.Rename(n.Name(), path); err != nil {
		return explain(err)
	}
	return Sync(filepath.Dir(path))
}

// createNew makes a file for what is not whole yet; only its owner may read it.
func createNew(dir string) (*os.File, error) { return os.CreateTemp(dir, newPrefix+"*") }

// explain says what an operator can do about an error of the backup's disk.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: make room, or keep fewer generations: %w", ErrFull, err)
	case errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("the backup's file system takes no file as large as this (FAT: 4 GiB): %w", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the backup's disk is mounted read-only: %w", err)
	}
	return err
}

// reason takes operation and path from an error whose text names the path already.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// Sync makes the names in a folder durable, as far as its file system can.
func Sync(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder is not synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) { // some network and FUSE file systems
		err = nil
	}
	return explain(errors.Join(err, d.Close()))
}
