package salvage

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// CreateLog makes a log that has its size, in zeros, before its first group is written. Pebble reserves room for one, but
// the file's length grows with each group, and the file system writes that into its journal at each sync: a group costs
// several times the bytes that it does in a log that is used again, as Pebble does when it has some from the same run. A
// log that ends in zeros ends there, as one that ends in an older log's bytes.
//
// Cut off in the middle, there is a log without a group. Where there is no room for the whole of it, it grows as Pebble
// has it: the first group that does not fit then says so.
func CreateLog(fs vfs.FS, name string, category vfs.DiskWriteCategory, size int64) (vfs.File, error) {
	f, err := fs.Create(name, category)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, min(size, 1<<20))
	for left := size; err == nil && left > 0; left -= int64(len(zeros)) {
		clear(zeros) // a vfs.File may have changed what it was given
		_, err = f.Write(zeros[:min(left, int64(len(zeros)))])
	}
	if err == nil {
		err = f.Sync() // also its length: from here on it does not change
	}
	if errors.Join(err, f.Close()) != nil {
		return fs.Create(name, category)
	}
	return fs.OpenReadWrite(name, category)
}

// EndLog lets the log at path, of which nothing is needed any more, begin with the end of the log that it becomes in the next
// step, as Pebble writes it. Until a group is written there, older groups would stand in it under another log's number: cut off
// then, it could not be told from a log whose name somebody has changed, and what was deleted meanwhile would come back.
//
// Cut off here, there is a log that nobody needs, without its first groups.
func EndLog(fs vfs.FS, path string, number uint32, category vfs.DiskWriteCategory) error {
	f, err := fs.OpenReadWrite(path, category)
	if err != nil {
		return err
	}
	head := make([]byte, chunkHeads[1])
	head[6] = 5 // a whole record, in the form with a number
	binary.LittleEndian.PutUint32(head[7:], number+1)
	_, err = f.WriteAt(head, 0)
	return errors.Join(err, f.SyncData(), f.Close())
}
