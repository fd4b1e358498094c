package store

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"
)

// logReads is how often an opening reads the write-ahead log: to see whether it is damaged, to see how far it is whole, and to
// do what it says.
const logReads = 3

// readingLog tells how much of the write-ahead log an opening has read. What it is told to end with waits until the log is
// read: a read that fails would be taken for damage.
type readingLog struct {
	vfs.FS
	tell        func(done, total uint64) error
	done, total uint64
	told        uint64 // of done: each hundredth is told
	stop        error
	over        atomic.Bool // the opening has read it; who reads a log now, such as for a copy, tells nobody
}

func newReadingLog(path string, o *Options) *readingLog {
	r := &readingLog{FS: o.FS, tell: func(done, total uint64) error { return o.Opening("reading the log", done, total) }}
	names, _ := o.FS.List(path) // whoever reads it says what is wrong
	for _, name := range names {
		if info, err := o.FS.Stat(o.FS.PathJoin(path, name)); err == nil && salvage.IsLog(name) {
			r.total += logReads * uint64(info.Size())
		}
	}
	return r
}

// Open counts what is read of logs.
func (r *readingLog) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := r.FS.Open(name, opts...)
	return r.counted(name, f), err
}

// counted returns a file of which what is read is told, if it is a log; r may be nil.
func (r *readingLog) counted(name string, f vfs.File) vfs.File {
	if r == nil || f == nil || r.over.Load() || !salvage.IsLog(name) {
		return f
	}
	return countedFile{f, r}
}

type countedFile struct {
	vfs.File
	of *readingLog
}

func (f countedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if r := f.of; n > 0 && r.stop == nil {
		if r.done = min(r.done+uint64(n), r.total); r.done-r.told >= r.total/100 {
			r.told = r.done
			r.stop = r.tell(r.done, r.total)
		}
	}
	return n, err
}

// logFS is the file system through which logs are read.
func (o *Options) logFS() vfs.FS {
	if o.reading != nil {
		return o.reading
	}
	return o.FS
}

// tellEvery is after how many entries it is told how far a block is read.
const tellEvery = 1024

// telling returns what tells how many entries are read that are staged above a header. How many there are, is told by the newest
// chunk of theirs, as far as that can be read.
func (s *Store) telling(step string, tip *lightchain.Tip) func(done uint64) error {
	total := uint64(0)
	height := tip.Height + 1
	if it, err := s.from.NewIter(&pebble.IterOptions{LowerBound: blockKey(height, partChunk), UpperBound: headerKey(height)}); err == nil {
		if it.Last() {
			if _, p, rest, ok := parseBlockKey(it.Key()); ok && p == partChunk {
				if first, ok := parseNumber(rest); ok && first >= tip.Next {
					total = first - tip.Next + 1
				}
			}
		}
		_ = it.Close() // what cannot be read is told by whoever reads it
	}
	return func(done uint64) error { return s.options.Opening(step, min(done, total), total) }
}
