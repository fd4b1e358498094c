package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/asowner"
	"edgechain.example/backup"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
)

// Paths within a generation of an aggregator's backup.
const (
	backupStore = "store" // folder
	backupFiles = "files" // folder: the configuration, by its full path
	backupKey   = "key"
	backupLog   = "key-log" // of the log of heads
)

// BackupOptions says what a backup is to be.
type BackupOptions struct {
	Dir      string
	WithKey  bool
	Keep     int      // generations; 0: all
	Files    []string // the configuration
	Version  string
	Progress func(done, total int64)
}

// BackupFacts is what a generation says of itself.
type BackupFacts struct {
	Name    string `json:"name"`
	Key     string `json:"key"` // the public key
	WithKey bool   `json:"with_key"`
	Version string `json:"version"`
	Log     string `json:"log,omitempty"` // the name of the log of heads
}

func (c *Config) backupSubject() string { return "aggregator " + c.Aggregator.Name }

// Backup makes a generation of an aggregator: of a checkpoint of its store, and its configuration.
func Backup(ctx context.Context, c *Config, checkpoint string, o BackupOptions) (*backup.Added, error) {
	keyFile := keyfile.Readable(c.Key.File)
	key, err := keyfile.ReadPublicKey(keyFile)
	if err != nil {
		return nil, err
	}
	facts := BackupFacts{Name: c.Aggregator.Name, Key: lightchain.FormatPublicKey(key), WithKey: o.WithKey, Version: o.Version, Log: c.Transparency.Origin}
	entries, err := os.ReadDir(checkpoint)
	if err != nil {
		return nil, err
	}
	var sources []backup.Source
	for _, e := range entries {
		if e.Name() != "LOCK" {
			sources = append(sources, backup.Source{Path: backupStore + "/" + e.Name(), File: filepath.Join(checkpoint, e.Name())})
		}
	}
	if o.WithKey {
		sources = append(sources, backup.Source{Path: backupKey, File: keyFile})
		if logKey := keyfile.Readable(c.Transparency.KeyFile); c.LogOrigin() != "" && isThere(logKey) {
			sources = append(sources, backup.Source{Path: backupLog, File: logKey})
		}
	}
	for _, file := range o.Files {
		source, err := backup.SourceBelow(backupFiles, file)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	folder, err := backup.Begin(o.Dir, c.backupSubject())
	if err != nil {
		return nil, err
	}
	return folder.Add(ctx, backup.Draft{Made: time.Now(), About: facts, Sources: sources, Within: c.Aggregator.Data, Keep: o.Keep, Progress: o.Progress})
}

func isThere(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// ErrExists means that there is a store already.
var ErrExists = errors.New("there is a store already: it is never overwritten")

// RestoredBackup is what was brought back.
type RestoredBackup struct {
	Generation int       `json:"generation"`
	Made       time.Time `json:"made"`
	BackupFacts
	HasKey bool   `json:"has_key"`            // it is in its place
	Files  string `json:"files"`              // the folder with the configuration as it was
	Held   string `json:"log_held,omitempty"` // the file that keeps the log of heads from being appended to
}

// Restore brings a generation back, 0 being the newest, where there is no store; no aggregator may run there. What
// the aggregator countersigned after the backup was made it does not know any more: its gateways bring the heads
// again, and hold the receipts.
func Restore(ctx context.Context, c *Config, dir string, generation int, progress func(done, total int64)) (*RestoredBackup, error) {
	if c.Store.URL != "" {
		return nil, registry.ErrDatabase
	}
	if _, err := os.Lstat(c.StoreDir()); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrExists, c.StoreDir())
	}
	folder, err := backup.Open(dir)
	if err != nil {
		return nil, err
	}
	if folder.Subject() != c.backupSubject() {
		return nil, fmt.Errorf("%s: %w: of %s; this is %s", dir, backup.ErrOther, folder.Subject(), c.backupSubject())
	}
	g, err := folder.Generation(generation)
	if err != nil {
		return nil, err
	}
	r := &RestoredBackup{Generation: g.Number, Made: g.Made}
	if err := json.Unmarshal(g.About, &r.BackupFacts); err != nil {
		return nil, fmt.Errorf("generation %d: %w: what it says of itself: %w", g.Number, backup.ErrDamaged, err)
	}
	data := c.Aggregator.Data
	making, files := c.StoreDir()+".restoring", filepath.Join(data, "restored")
	if err := errors.Join(os.MkdirAll(data, 0o750), os.RemoveAll(making), os.RemoveAll(files)); err != nil {
		return nil, err
	}
	if err := folder.Extract(ctx, g, backupStore, making, progress); err != nil {
		return nil, err
	}
	if err := folder.Extract(ctx, g, backupFiles, files, nil); err != nil {
		return nil, err
	}
	r.Files = files
	if key, ok := g.File(backupKey); ok {
		if err := asowner.Outside(data, c.Key.File, func() error { return folder.Place(key, c.Key.File) }); err != nil {
			return nil, err
		}
	}
	if key, ok := g.File(backupLog); ok && !isThere(c.Transparency.KeyFile) {
		if err := asowner.Outside(data, c.Transparency.KeyFile, func() error { return folder.Place(key, c.Transparency.KeyFile) }); err != nil {
			return nil, err
		}
	}
	key, err := keyfile.ReadPublicKey(keyfile.Readable(c.Key.File))
	if err == nil {
		r.HasKey = true
		if text := lightchain.FormatPublicKey(key); text != r.Key {
			return nil, fmt.Errorf("%s is another key than this aggregator had, %s: gateways and auditors know that one; put it there, or none", c.Key.File, r.Key)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if r.Held, err = c.holdLog(r.Log); err != nil {
		return nil, err
	}
	given := slices.Concat([]string{making, files}, keyfile.Files(c.Key.File), keyfile.Files(c.Transparency.KeyFile))
	if r.Held != "" {
		given = append(given, r.Held)
	}
	if err := backup.GiveToOwner(data, given...); err != nil {
		return nil, fmt.Errorf("giving the files to the owner of %s: %w", data, err)
	}
	if err := os.Rename(making, c.StoreDir()); err != nil { // until then there is no store
		return nil, err
	}
	return r, backup.Sync(data)
}

// holdLog keeps the log of heads of a store that is being restored from being appended to, unless a mark lies here that says
// what was published last: a newer checkpoint than the backup's may be in somebody's hands.
//
// Stopping behind this, there is no store yet, and the next attempt does it again.
func (c *Config) holdLog(name string) (file string, err error) {
	if name == "" || isThere(c.logMark(name)) {
		return "", nil
	}
	file = c.logHold(name)
	return file, os.WriteFile(file, []byte("This log of heads came back from a backup. Remove this file only if nobody has a newer checkpoint of it than this store.\n"), 0o644)
}
