package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/arm"
	"edgechain.example/asowner"
	"edgechain.example/backup"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/opcua"
)

// Paths within a generation of a gateway's backup.
const (
	backupChain = "chain" // folder: the store; those of former chains are beside it, named as they are on disk
	backupFiles = "files" // folder: what the gateway was configured with, by its full path
	backupKey   = "key"
	backupNext  = "key.next" // the key of a change that was cut off
)

// BackupOptions says what a backup is to be.
type BackupOptions struct {
	Dir     string // a backup folder, or one that is empty or not there yet
	WithKey bool   // with the private key, and the other secrets that the configuration names files of
	Move    bool   // hand the chain over, the key with it: nothing can be recorded here afterwards
	Keep    int    // generations; 0: all, and so while the chain is known to be damaged
	// Files go along beside those that the configuration names: the configuration itself. One that is not there does
	// not.
	Files    []string
	Version  string // of the program
	Progress func(done, total int64)
}

// BackupFacts is what a generation says of itself.
type BackupFacts struct {
	Chain   lightchain.ChainID `json:"chain"`
	Gateway string             `json:"gateway,omitempty"`
	Height  uint64             `json:"height"`
	Head    lightchain.Hash    `json:"head"`
	Entries uint64             `json:"entries"` // that the chain numbers, the open block's included
	Key     string             `json:"key"`     // the public key in force
	WithKey bool               `json:"with_key"`
	Moved   bool               `json:"moved"` // the chain was handed over: nothing was added to it where it was
	Lost    store.Lost         `json:"lost"`  // what was known to be damaged on the disk that it was made of
	Version string             `json:"version"`
}

// Backup makes a generation of the gateway's chain, its receipts among it, and its configuration, whether or not the
// agent runs. All that was acknowledged before it was called is in it.
//
// With Move the agent must not run. When Backup returns without error the chain can be read here and not be recorded
// on, and its key file is destroyed, as far as that can be done. Cut off before, it is called again, with the same
// folder or another: no generation says that it hands the chain over before this place is barred.
func Backup(ctx context.Context, c *Config, o BackupOptions) (added *backup.Added, facts BackupFacts, err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, facts, err
	}
	if missing := (arm.Board{}).MissingMount(dir); missing != "" {
		return nil, facts, fmt.Errorf("%s: nothing is mounted at %s, where a disk should be: mount it", dir, missing)
	}
	if o.Move {
		if err := asowner.Become(c.Gateway.Data); err != nil {
			return nil, facts, err
		}
		if err := c.mayMove(ctx); err != nil {
			return nil, facts, err
		}
		o.WithKey = true
	}
	var snapshot *Snapshot
	if o.Move {
		// From here to the end nobody opens the chain for recording: an agent that starts meanwhile waits for the lock, and
		// finds the chain moved. One that has it already, and answers to nobody yet, keeps it.
		snapshot, err = seize(c)
	} else {
		snapshot, err = OpenSnapshot(ctx, c)
	}
	if err != nil {
		return nil, facts, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	tip := snapshot.Reader.Tip()
	status := ChainStatus(snapshot.Reader)
	facts = BackupFacts{
		Chain: tip.Chain, Gateway: status.Gateway, Height: tip.Height, Head: tip.Hash, Entries: snapshot.Reader.Next(),
		Key: status.Key, WithKey: o.WithKey, Moved: o.Move, Version: o.Version,
		Lost: status.Lost,
	}
	if facts.Lost != (store.Lost{}) {
		o.Keep = 0 // an older generation may hold what is lost here
	}
	sources, err := c.backupSources(snapshot.Dir, &o)
	if err != nil {
		return nil, facts, err
	}
	folder, err := backup.Begin(dir, backupSubject(tip.Chain))
	if err != nil {
		return nil, facts, err
	}
	draft := backup.Draft{Made: time.Now(), About: facts, Sources: sources, Within: c.Gateway.Data, Keep: o.Keep, Progress: o.Progress}
	draft.Commit = func() error {
		if o.WithKey {
			if err := c.hasKey(tip.Key); err != nil {
				return err
			}
		}
		if o.Move { // from here on nothing is recorded here; only then does the backup say that it hands over
			return store.MarkMoved(c.ChainDir(), store.Options{}, store.Moved{At: draft.Made, To: dir})
		}
		return nil
	}
	if added, err = folder.Add(ctx, draft); err != nil {
		return added, facts, err
	}
	if o.Move {
		// Cut off here, the key is still there, and of no use to the agent: the chain beside it is barred.
		if err := errors.Join(keyfile.Destroy(c.Key.File), keyfile.Destroy(c.nextKeyFile())); err != nil {
			return added, facts, fmt.Errorf("the chain is handed over, but its key is still here: %w", err)
		}
	}
	return added, facts, nil
}

// mayMove tells whether the chain can be handed over.
func (c *Config) mayMove(ctx context.Context) error {
	if _, err := api.Dial(ctx, c.API.Socket); err == nil {
		return fmt.Errorf("the agent records on this chain: stop it first (systemctl disable --now edgeagent): %w", store.ErrLocked)
	}
	moved, err := store.ReadMoved(c.ChainDir(), store.Options{})
	if err != nil || moved == nil {
		return err
	}
	for _, file := range c.keyPaths() {
		if _, err := keyfile.ReadPublicKey(file); err == nil {
			return nil // it was cut off: this time it may come to its end
		}
	}
	// Cut off while the key went, it is overwritten and its file still there.
	for _, file := range []string{c.Key.File, c.nextKeyFile()} {
		gone, err := keyfile.IsDestroyed(file)
		if err == nil && gone {
			err = keyfile.Destroy(file)
		}
		if err != nil {
			return fmt.Errorf("the chain is handed over, but a file of its key is left: %w", err)
		}
	}
	return fmt.Errorf("%w already, on %s to %s", store.ErrMoved, moved.At.UTC().Format(time.RFC3339), moved.To)
}

func backupSubject(chain lightchain.ChainID) string { return "chain " + chain.String() }

// hasKey tells whether one of the gateway's key files is the key in force.
func (c *Config) hasKey(inForce lightchain.PublicKey) error {
	var failed error
	for _, file := range c.keyPaths() {
		key, err := keyfile.ReadPublicKey(file)
		if err == nil && key == inForce {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return failed
	}
	return fmt.Errorf("%s is not the key in force, %s: it was changed while the backup was made, so make it again", c.Key.File, inForce)
}

// backupSources lists what a backup of the gateway consists of, its store being in dir.
func (c *Config) backupSources(dir string, o *BackupOptions) (sources []backup.Source, err error) {
	former, err := fs.Glob(os.DirFS(c.Gateway.Data), filepath.Base(c.asideDir("????????"))) // nobody writes to them any more
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{backupChain}, former...) {
		from := dir
		if name != backupChain {
			from = filepath.Join(c.Gateway.Data, name)
		}
		files, err := store.Files(from, store.Options{})
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			sources = append(sources, backup.Source{Path: name + "/" + file, File: filepath.Join(from, filepath.FromSlash(file))})
		}
	}
	add := func(path, file string) error {
		var info fs.FileInfo
		err := asowner.Outside(c.Gateway.Data, file, func() (err error) {
			info, err = os.Stat(file)
			return err
		})
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && !info.Mode().IsRegular():
			return nil
		case err == nil:
			for _, s := range sources {
				if s.Path == path {
					return nil // named twice
				}
			}
			sources = append(sources, backup.Source{Path: path, File: file})
		}
		return err
	}
	if o.WithKey {
		// One file of each is enough: the agent makes the other anew.
		if err := errors.Join(add(backupKey, keyfile.Readable(c.Key.File)), add(backupNext, keyfile.Readable(c.nextKeyFile()))); err != nil {
			return nil, err
		}
	}
	for _, file := range append(o.Files, c.namedFiles(o.WithKey)...) {
		source, err := backup.SourceBelow(backupFiles, file)
		if err != nil {
			return nil, err
		}
		if err := add(source.Path, source.File); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

// namedFiles returns the files without which the configuration is not whole; secret ones where they are wanted.
func (c *Config) namedFiles(secrets bool) (files []string) {
	files = []string{c.Broker.TLSCert, c.Broker.TLSClientCA, c.Broker.Users, c.Broker.PasswordFile, c.Broker.ACLFile}
	hidden := []string{c.Broker.TLSKey}
	connections := []*mqttconn.Config{}
	for i := range c.MQTT {
		connections = append(connections, &c.MQTT[i].Config)
	}
	for i := range c.Upstream {
		connections = append(connections, &c.Upstream[i].Config)
	}
	for _, conn := range connections {
		files = append(files, conn.TLSCA, conn.TLSCert)
		hidden = append(hidden, conn.TLSKey, conn.PasswordFile)
	}
	for i := range c.OPCUA {
		u := &c.OPCUA[i]
		files = append(files, u.ServerCertificate, u.Certificate, u.UserCertificate)
		hidden = append(hidden, u.PrivateKey, u.PasswordFile, u.UserPrivateKey)
	}
	// The certificate that servers trust is of use with its key alone.
	hidden = append(hidden, opcua.OwnFiles(c.opcuaOptions().Folder)...)
	if secrets {
		files = append(files, hidden...)
	}
	named := files[:0]
	for _, f := range files {
		if f != "" {
			named = append(named, f)
		}
	}
	return named
}

// ReadBackupFacts returns what a generation of a gateway's backup says of itself.
func ReadBackupFacts(g *backup.Generation) (facts BackupFacts, err error) {
	if err := json.Unmarshal(g.About, &facts); err != nil {
		return facts, fmt.Errorf("generation %d: %w: what it says of itself: %w", g.Number, backup.ErrDamaged, err)
	}
	return facts, nil
}
