package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// Pebble refuses to open when its write-ahead log is damaged before its last 32 KiB, and takes damage behind that for
// the end, whatever follows. Both lose groups that were acknowledged and can be read. Here every whole record is kept:
// the log is written anew without the others before Pebble sees it, and the damaged one put aside. Which entries are
// missing then shows by their numbers.

// repairLogs rewrites the logs of the database in path that are damaged.
func repairLogs(dir, path string, o Options, d durable) (recovered Recovered, err error) {
	unreadable, err := salvage.UnreadableLogs(path, o.logFS(), d.record)
	if err != nil {
		return recovered, fmt.Errorf("reading the log: %w", err)
	}
	for name, salvaged := range unreadable {
		if salvaged.Bad == 0 {
			continue
		}
		if recovered.LogFile, err = replaceLog(dir, path, o, name, salvaged.Encode()); err != nil {
			return recovered, fmt.Errorf("repairing %s: %w", name, err)
		}
		recovered.LogBytes += salvaged.Bad
		o.Logger.Error("the write-ahead log was damaged", "file", name, "records_kept", len(salvaged.Records), "bytes_lost", salvaged.Bad, "put_aside", recovered.LogFile)
	}
	return recovered, nil
}

// replaceLog puts a repaired log in the place of a damaged one, which stays in the folder aside.
func replaceLog(dir, data string, o Options, name string, repaired []byte) (aside string, err error) {
	to, err := asideFolder(dir, o)
	if err != nil {
		return "", err
	}
	path, fresh := o.FS.PathJoin(data, name), o.FS.PathJoin(data, name+".repaired")
	aside = o.FS.PathJoin(to, name)
	if err := vfs.LinkOrCopy(o.FS, path, aside); err != nil {
		return "", err
	}
	f, err := o.FS.Create(fresh, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", err
	}
	_, err = f.Write(repaired)
	if err := errors.Join(err, f.Sync(), f.Close(), syncFolder(to, o), syncFolder(dir, o), syncFolder(data, o)); err != nil {
		return "", err
	}
	// Until the rename is durable the next start finds the damaged log, and repairs it again.
	return aside, errors.Join(o.FS.Rename(fresh, path), syncFolder(data, o))
}
