package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"syscall"
)

// Beside the chain the agent keeps some small files of its own. What stands in the place of one and is none must keep it
// neither from starting, as a pipe would that nobody writes into, nor from writing for ever.

// readSmall reads a whole file. What is no file is an error.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file", path))
	}
	return io.ReadAll(f)
}

// clearFor makes room for a file that is written anew beside its place, and for its place: whatever is no file there gets
// another name.
func clearFor(path string, log *slog.Logger) error {
	for _, name := range [...]string{path, path + ".new"} {
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return err
		}
		to := name + ".aside"
		for n := 2; ; n++ {
			if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
				break
			}
			to = name + ".aside-" + strconv.Itoa(n)
		}
		if err := os.Rename(name, to); err != nil {
			return err
		}
		log.Warn("what is no file stood in the place of one, and was given another name", "file", name, "renamed_to", to)
	}
	return nil
}
