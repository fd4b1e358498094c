package headlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/mod/sumdb/note"

	"edgechain.example/durable"
	"edgechain.example/tomlconf"
)

// The mark is a file that holds the newest checkpoint that was published from here, whatever became of the store since. It is
// written before that checkpoint is served.

// MaxNote is above any signed checkpoint, in bytes.
const MaxNote = 1 << 20

// mark is a checkpoint that was published.
type mark struct {
	Checkpoint
	signed []byte
}

// readMark returns what the mark at path says, nil where there is none.
func readMark(path string, key note.Verifier) (*mark, error) {
	signed, err := tomlconf.ReadFile(path, MaxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the mark %s: %w", path, err)
	}
	c, err := OpenCheckpoint(signed, key)
	if errors.Is(err, ErrKey) {
		return nil, fmt.Errorf("the mark %s: %w: the log was begun with another key, put that into transparency.key_file; where it is lost, begin a new log under another transparency.origin", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("the mark %s, which says what was published last, cannot be relied on: %w: put the newest checkpoint that anybody has there, the file checkpoint of an export or one of --kept; where there is none, begin a new log under another transparency.origin", path, err)
	}
	return &mark{*c, signed}, nil
}

// Keep puts a checkpoint into a file, and returns when that is durable. Stopping before, the former one is there.
func Keep(path string, signed []byte) error {
	return durable.Replace(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(signed)
		return err
	})
}
