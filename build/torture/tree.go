package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// copyTree copies folders and regular files.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at := filepath.Join(to, path[len(from):])
		switch {
		case entry.IsDir():
			return os.MkdirAll(at, 0o755)
		case entry.Type().IsRegular():
			return copyFile(path, at)
		}
		return nil
	})
}

// lies returns those of the payloads whose bytes lie in some file below the folders. Tables are compressed in blocks, which
// leaves what does not repeat as it is; where by chance something does, one half is left.
func lies(payloads []string, folders ...string) map[string]bool {
	found := map[string]bool{}
	for _, folder := range folders {
		_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			for _, payload := range payloads {
				id := idOf(payload)
				if id != nil && !found[payload] && (bytes.Contains(text, id[:16]) || bytes.Contains(text, id[16:])) {
					found[payload] = true
				}
			}
			return nil
		})
	}
	return found
}
