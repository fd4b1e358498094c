//go:build !unix

package keyfile

import "io/fs"

// overwritesAfterRename: here a file that is open cannot lose its name to another.
const overwritesAfterRename = false

// checkPrivate has nothing to look at: mode bits do not say here who may read a file. Access lists do, and the
// folder's are inherited.
func checkPrivate(string, fs.FileInfo) error { return nil }

// syncDir has nothing to do: a folder cannot be opened for syncing here.
func syncDir(string) error { return nil }
