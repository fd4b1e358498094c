package agent

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strconv"

	"edgechain.example/tomlconf"
)

// Beside the chain the agent keeps some small files of its own. What stands in the place of one and is none must keep it
// neither from starting, as a pipe would that nobody writes into, nor from writing for ever.

// mostSmall is what such a file may have in bytes: far more than any of them is written with.
const mostSmall = 64 << 20

// readSmall reads a whole file. What is no file is an error.
func readSmall(path string) ([]byte, error) { return tomlconf.ReadFile(path, mostSmall) }

// replaceSmall puts a file in the place of another one. Where a power cut must not tear it, synced has its content on disk before
// it takes the place.
func replaceSmall(path string, content []byte, mode fs.FileMode, synced bool, log *slog.Logger) error {
	if err := clearFor(path, log); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && synced {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
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
