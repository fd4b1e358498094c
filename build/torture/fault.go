package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A fault is one thing that a disk, a copy, or a person does to the files below a folder. It does the same to each copy of
// them.
type fault struct {
	name    string
	file    string // below the folder
	with    string // the file that it is swapped with
	closed  bool   // the file is there, and the program may not read it: it must not run as root
	damages func(root string) error
	heals   func(sound, root string) error // puts right what no program can; nil where it must come back without
}

const pageSize = 4096

// faults returns every fault of every file at the given places below root. Of a file's bytes one in every is flipped, a bit each; of the pages and
// bytes of a large file at most positions are taken, evenly.
func faults(root string, places []string, every, positions int) (all []fault, err error) {
	var files []string
	folders := map[string]bool{}
	for _, place := range places {
		err := filepath.WalkDir(filepath.Join(root, place), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(root, path)
			switch {
			case entry.Type().IsRegular():
				files = append(files, name)
			case entry.IsDir() && strings.HasPrefix(entry.Name(), "data-"):
				folders[name] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for folder := range folders {
		all = append(all,
			fault{name: folder + " deleted", file: folder, damages: at(folder, os.RemoveAll)},
			fault{name: folder + " emptied", file: folder, damages: at(folder, emptyFolder)},
			fault{name: folder + "0 is an empty folder", file: folder, damages: at(folder+"0", func(path string) error { return os.Mkdir(path, 0o755) })},
			fault{name: folder + "0 is a file", file: folder, damages: at(folder+"0", func(path string) error { return os.WriteFile(path, nil, 0o644) })},
			fault{name: folder + "0 is a folder with a log of zeros", file: folder, damages: at(folder+"0", func(path string) error {
				return errors.Join(os.Mkdir(path, 0o755), os.WriteFile(filepath.Join(path, "000001.log"), make([]byte, 1<<16), 0o644))
			})},
			fault{name: folder + "0 is a copy without its logs", file: folder, damages: func(root string) error {
				to := filepath.Join(root, folder+"0")
				if err := copyTree(filepath.Join(root, folder), to); err != nil {
					return err
				}
				return removeLogs(to)
			}})
		for _, closed := range []string{folder, filepath.Dir(folder)} {
			all = append(all, fault{name: closed + " with mode 0", file: closed, closed: true, damages: at(closed, func(path string) error { return os.Chmod(path, 0) })})
		}
		all = append(all, faultsOfEnd(folder)...)
	}
	slices.Sort(files)
	for i, file := range files {
		info, err := os.Stat(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		all = append(all, faultsOf(file, info.Size(), every, positions)...)
		for j, other := range files {
			// With the next one of its kind, and with the next one whatever it is.
			if j > i && (j == i+1 || filepath.Ext(other) == filepath.Ext(file) && !slices.ContainsFunc(files[i+1:j], func(between string) bool { return filepath.Ext(between) == filepath.Ext(file) })) {
				all = append(all, fault{name: file + " swapped with " + other, file: file, with: other, damages: swaps(file, other)})
			}
		}
	}
	for _, file := range files {
		if slices.Contains(files, file+keyCopy) {
			all = append(all, faultsOfBoth(file, file+keyCopy)...)
		}
	}
	slices.SortFunc(all, func(a, b fault) int { return strings.Compare(a.file, b.file) })
	return all, nil
}

// faultsOf returns the faults of one file.
func faultsOf(file string, size int64, every, positions int) (all []fault) {
	add := func(closed bool, damage func(path string) error, format string, args ...any) {
		all = append(all, fault{name: file + " " + fmt.Sprintf(format, args...), file: file, closed: closed, damages: at(file, damage)})
	}
	add(false, os.Remove, "deleted")
	add(false, func(path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Mkdir(path, 0o755)
	}, "replaced by a folder")
	add(true, func(path string) error { return os.Chmod(path, 0) }, "with mode 0")
	if size == 0 {
		add(false, func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte{0x5A}, 100), 0o644) }, "with 100 bytes in it")
		return all
	}
	add(false, func(path string) error { return os.Truncate(path, 0) }, "emptied")
	cuts := []int64{size / 4, size / 2, size * 3 / 4, size - 512, size - 1}
	for i, cut := range cuts {
		if cut > 0 && !slices.Contains(cuts[:i], cut) {
			add(false, func(path string) error { return os.Truncate(path, cut) }, "cut to %d of %d bytes", cut, size)
		}
	}
	for _, from := range spread(size, pageSize, positions) {
		add(false, func(path string) error {
			return overwrite(path, from, min(pageSize, size-from), func(byte) byte { return 0 })
		}, "with the page at %d zeroed", from)
	}
	for _, from := range spread(size, int64(every), positions) {
		bit := byte(1) << (from / int64(every) % 8)
		add(false, func(path string) error { return overwrite(path, from, 1, func(b byte) byte { return b ^ bit }) }, "with bit %d of byte %d flipped", from/int64(every)%8, from)
	}
	return all
}

// keyCopy is at the end of the name of a key's second file.
const keyCopy = ".copy"

// faultsOfBoth are those of a key that leave neither of its files.
func faultsOfBoth(key, second string) (all []fault) {
	both := func(name string, closed bool, damage func(path string) error) {
		all = append(all, fault{name: key + " and its copy " + name, file: key, with: second, closed: closed,
			damages: func(root string) error {
				return errors.Join(damage(filepath.Join(root, key)), damage(filepath.Join(root, second)))
			},
			heals: func(sound, root string) error {
				for _, file := range []string{key, second} {
					at := filepath.Join(root, file)
					info, err := os.Stat(filepath.Dir(at))
					if err != nil {
						return err
					}
					owner := info.Sys().(*syscall.Stat_t)
					if err := errors.Join(os.RemoveAll(at), copyFile(filepath.Join(sound, file), at), os.Lchown(at, int(owner.Uid), int(owner.Gid))); err != nil {
						return err
					}
				}
				return nil
			}})
	}
	both("deleted", false, os.Remove)
	both("emptied", false, func(path string) error { return os.Truncate(path, 0) })
	both("with mode 0", true, func(path string) error { return os.Chmod(path, 0) })
	both("flipped", false, func(path string) error { return overwrite(path, 100, 1, func(b byte) byte { return b ^ 1 }) })
	return all
}

// faultsOfEnd are those of a database's logs together with what tells where the chain ended: then nothing may be sealed on a guess.
func faultsOfEnd(folder string) (all []fault) {
	slots := []string{filepath.Join(filepath.Dir(folder), "head-a"), filepath.Join(filepath.Dir(folder), "head-b")}
	for name, lost := range map[string][]string{"head-a": slots[:1], "head-b": slots[1:], "both head slots": slots} {
		remove := func(root string) (err error) {
			for _, file := range lost {
				err = errors.Join(err, os.Remove(filepath.Join(root, file)))
			}
			return err
		}
		all = append(all,
			fault{name: folder + " without logs, and " + name + " deleted", file: folder, damages: func(root string) error {
				return errors.Join(remove(root), removeLogs(filepath.Join(root, folder)))
			}})
		if len(lost) > 1 {
			all = append(all, fault{name: name + " deleted", file: lost[0], with: lost[1], damages: remove})
		}
	}
	return all
}

func removeLogs(folder string) error {
	logs, err := filepath.Glob(filepath.Join(folder, "*.log"))
	for _, log := range logs {
		err = errors.Join(err, os.Remove(log))
	}
	return err
}

// spread returns the multiples of step below size, or so many of them, evenly.
func spread(size, step int64, most int) (at []int64) {
	n := (size + step - 1) / step
	for i := range min(n, int64(most)) {
		at = append(at, i*n/min(n, int64(most))*step)
	}
	return at
}

func at(file string, damage func(path string) error) func(root string) error {
	return func(root string) error { return damage(filepath.Join(root, file)) }
}

func emptyFolder(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Mkdir(path, 0o755)
}

func swaps(a, b string) func(root string) error {
	return func(root string) error {
		a, b, between := filepath.Join(root, a), filepath.Join(root, b), filepath.Join(root, "between")
		for _, move := range [][2]string{{a, between}, {b, a}, {between, b}} {
			if err := os.Rename(move[0], move[1]); err != nil {
				return err
			}
		}
		return nil
	}
}

// overwrite changes bytes of a file in place.
func overwrite(path string, from, n int64, change func(byte) byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, from); err != nil {
		return err
	}
	for i := range b {
		b[i] = change(b[i])
	}
	_, err = f.WriteAt(b, from)
	return err
}
