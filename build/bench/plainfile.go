package main

import (
	"crypto/rand"
	"encoding/binary"
	"os"
	"path/filepath"

	"edgechain.example/lightchain"
)

// fileAppender is the least that evidence could cost: the same entries with the same salts, hashed into the same
// trees, appended to a file with their lengths, one write and one fsync for a group. It cannot find anything again, and
// signs nothing.
type fileAppender struct {
	path string
	file *os.File
	seed lightchain.Seed
	root lightchain.CompactRange
	size uint64
	buf  []byte

	syncs chan chan error // to the thread that syncs; nil: each group is synced at once
}

func newFileAppender(dir string, threaded bool) (*fileAppender, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &fileAppender{path: filepath.Join(dir, "log")}
	_, _ = rand.Read(a.seed[:])
	var err error
	if a.file, err = os.Create(a.path); err != nil {
		return nil, err
	}
	if threaded {
		a.syncs = make(chan chan error)
		go func() {
			for done := range a.syncs {
				done <- a.file.Sync()
			}
		}()
	}
	return a, nil
}

// next encodes an entry with the next salt, behind its length if that is wanted, and hashes it.
func (a *fileAppender) next(e *lightchain.Entry) error {
	salted := *e
	salted.Salt = a.seed.Salt(a.size)
	start := len(a.buf)
	a.buf = append(a.buf, 0, 0, 0, 0)
	var err error
	if a.buf, err = salted.Append(a.buf); err != nil {
		return err
	}
	encoded := a.buf[start+4:]
	binary.BigEndian.PutUint32(a.buf[start:], uint32(len(encoded)))
	a.root.Append(lightchain.LeafHash(encoded), nil)
	a.size++
	if a.size%4096 == 0 {
		a.root.Root()
		a.root = lightchain.CompactRange{}
	}
	return nil
}

func (a *fileAppender) stage(group []lightchain.Entry) (func() error, error) {
	a.buf = a.buf[:0]
	for i := range group {
		if err := a.next(&group[i]); err != nil {
			return nil, err
		}
	}
	if _, err := a.file.Write(a.buf); err != nil {
		return nil, err
	}
	if a.syncs == nil {
		return func() error { return nil }, a.file.Sync()
	}
	done := make(chan error, 1)
	a.syncs <- done
	return func() error { return <-done }, nil
}

func (a *fileAppender) close() error {
	if a.syncs != nil {
		close(a.syncs)
	}
	return a.file.Close()
}

func (a *fileAppender) stored() (int64, error) {
	info, err := os.Stat(a.path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
