package tomlconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files returns the files that make up the configuration at path, for [Source]: that one, and conf.d/*.toml beside it in
// the order of their names. Where path is empty usual stands for it, which, unlike a file that is named, may be absent.
func Files(path, usual string) ([]string, error) {
	named := path != ""
	if !named {
		path = usual
	}
	var files []string
	if _, err := os.Stat(path); named || !errors.Is(err, fs.ErrNotExist) {
		files = append(files, path)
	}
	folder := filepath.Join(filepath.Dir(path), "conf.d")
	entries, err := os.ReadDir(folder) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			file := filepath.Join(folder, name)
			if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
				return nil, fmt.Errorf("reading the configuration: %w", &fs.PathError{Op: "open", Path: file, Err: ErrNotRegular})
			}
			files = append(files, file)
		}
	}
	return files, nil
}

// Folder returns the whole path of the folder that the configuration at path is in, for [Source]. Where path is empty
// usual stands for it. What comes through a pipe is in none: then it is the folder that the program was started in.
func Folder(path, usual string) (string, error) {
	if path == "" {
		path = usual
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		path = ""
	}
	return filepath.Abs(filepath.Dir(path))
}
