package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/arm"
	"edgechain.example/asowner"
	"edgechain.example/backup"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
)

// RestoreOptions says what is to be brought back.
type RestoreOptions struct {
	Dir        string // the backup folder
	Generation int    // 0: the newest
	// Newest is the operator's word that nothing was sealed on this chain after the backup was made.
	Newest bool
	// Damaged brings back a chain that does not verify, too, as it was when the backup was made.
	Damaged   bool
	ChainFile string                                // written with the chain's name; "" for no file
	Progress  func(what string, done, total uint64) // nil: nobody
	Warn      func(err error)                       // told what went wrong and does not matter; nil: nobody
}

// Restored is what was brought back.
type Restored struct {
	Generation int       `json:"generation"`
	Made       time.Time `json:"made"`
	BackupFacts
	HasKey bool   `json:"has_key"`          // the key in force is in place
	Newest bool   `json:"newest"`           // nothing was sealed after the backup was made
	Files  string `json:"files"`            // the folder with the configuration as it was; "" if there is none
	Damage string `json:"damage,omitempty"` // what does not verify, the lowest
}

// Restore brings a generation back into the data folder, which holds no chain, and checks the whole chain. It is all
// there when Restore returns without error, else there is no chain, and it can be called again. What does not verify
// is a [*store.VerifyError], unless the operator wants it all the same.
//
// What was sealed after the backup was made is not in it. So the agent that starts on it seals nothing until an
// aggregator has told the newest head, unless the operator gives his word that this is the newest, or the generation
// hands the chain over and nobody has taken it yet.
func Restore(ctx context.Context, c *Config, o RestoreOptions) (*Restored, error) {
	r, err := restore(ctx, c, o)
	if err != nil {
		return nil, fmt.Errorf("restoring into %s: %w", c.Gateway.Data, err)
	}
	return r, nil
}

func restore(ctx context.Context, c *Config, o RestoreOptions) (*Restored, error) {
	if o.Progress == nil {
		o.Progress = func(string, uint64, uint64) {}
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	data := c.Gateway.Data
	if err := asowner.Become(data); err != nil {
		return nil, err
	}
	if err := c.mayRestore(ctx); err != nil {
		return nil, err
	}
	folder, g, facts, err := c.chooseGeneration(o.Dir, o.Generation)
	if err != nil {
		return nil, err
	}
	if err := c.makeData(); err != nil {
		return nil, err
	}
	r := &Restored{Generation: g.Number, Made: g.Made, BackupFacts: facts, Newest: o.Newest}
	if r.HasKey, err = c.keyFits(folder, g, facts); err != nil {
		return nil, err
	}

	// Made beside its place, and put there last: until then there is no chain.
	making := c.restoringDir()
	files := filepath.Join(data, "restored")
	if err := errors.Join(os.RemoveAll(making), os.RemoveAll(files)); err != nil {
		return nil, err
	}
	// From here until the chain is in its place the folder says that one is to come: cut off, and the machine started, no
	// other is begun.
	if err := errors.Join(os.Mkdir(making, 0o700), backup.Sync(data)); err != nil {
		return nil, err
	}
	copying := func(done, total int64) { o.Progress("copying", uint64(done), uint64(total)) }
	if err := folder.Extract(ctx, g, backupChain, making, copying); err != nil {
		return nil, err
	}
	if err := folder.Extract(ctx, g, backupFiles, files, nil); err != nil {
		return nil, err
	}
	if _, err := os.Stat(files); err == nil {
		r.Files = files
	}
	if err := checkRestored(ctx, making, facts, o.Progress); err != nil {
		var failed *store.VerifyError
		switch {
		case !errors.As(err, &failed):
			return nil, err
		case !o.Damaged:
			// The files are as they were written. So a worn card was backed up; the board it was in may be barred by now.
			return nil, fmt.Errorf("%w; so it was when the backup was made. An older generation may be whole: --generation; --damaged brings this one back as it is", err)
		}
		r.Damage = failed.Error()
	}
	if err := c.restoreFormer(ctx, folder, g); err != nil {
		return nil, err
	}
	for path, to := range map[string]string{backupKey: c.Key.File, backupNext: c.nextKeyFile()} {
		if err := asowner.Outside(data, to, func() error { return placeKey(folder, g, path, to) }); err != nil {
			return nil, err
		}
	}
	if facts.Moved {
		// Taken twice, one of the two has an old image. Cut off here, the next try needs the operator's word.
		switch err := folder.Take(g); {
		case err == nil:
			r.Newest = true
		case !errors.Is(err, backup.ErrTaken): // on read-only media, for instance
			o.Warn(err)
		}
	}
	mark := store.Restored{Made: g.Made, At: time.Now(), Height: facts.Height, Entries: facts.Entries, Newest: r.Newest, Moved: facts.Moved, By: (*store.By)(localhttp.Self())}
	if err := store.MarkRestored(making, store.Options{}, mark); err != nil {
		return nil, err
	}
	if err := backup.GiveToOwner(data, append([]string{making, files}, c.keyPaths()...)...); err != nil {
		return nil, fmt.Errorf("giving the files to the owner of %s: %w", data, err)
	}
	if err := os.Rename(making, c.ChainDir()); err != nil {
		return nil, err
	}
	if o.ChainFile != "" {
		err := asowner.Outside(data, o.ChainFile, func() error { return os.WriteFile(o.ChainFile, []byte(facts.Chain.String()+"\n"), 0o644) })
		if err != nil {
			o.Warn(fmt.Errorf("the chain's name was not written beside the configuration: %w", err))
		}
	}
	return r, backup.Sync(data)
}

// mayRestore refuses where a chain is, or is out of sight.
func (c *Config) mayRestore(ctx context.Context) error {
	if _, err := api.Dial(ctx, c.API.Socket); err == nil {
		return fmt.Errorf("an agent runs on it: %w", store.ErrLocked)
	}
	if missing := (arm.Board{}).MissingMount(c.Gateway.Data); missing != "" {
		return fmt.Errorf("nothing is mounted at %s, where a card should be: mount it", missing)
	}
	switch _, err := os.Lstat(c.ChainDir()); {
	case err == nil:
		return fmt.Errorf("%w: it is never overwritten; name an empty data folder (--data), or move this one aside", store.ErrExists)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// chooseGeneration opens the backup and finds in it what the configuration allows.
func (c *Config) chooseGeneration(dir string, number int) (*backup.Folder, *backup.Generation, BackupFacts, error) {
	var facts BackupFacts
	folder, err := backup.Open(dir)
	if err != nil {
		return nil, nil, facts, err
	}
	g, err := folder.Generation(number)
	if err == nil {
		facts, err = ReadBackupFacts(g)
	}
	if err == nil && folder.Subject() != backupSubject(facts.Chain) {
		err = fmt.Errorf("%w: of %s", backup.ErrOther, folder.Subject())
	}
	if want := c.Gateway.Chain; err == nil && want != "" && want != facts.Chain.String() {
		err = fmt.Errorf("the backup is of chain %s, and gateway.chain is %s: %w", facts.Chain, want, backup.ErrOther)
	}
	return folder, g, facts, err
}

// keyFits tells whether the key in force is at hand, in the backup or in its place already, and refuses a key in its
// place that is another one.
func (c *Config) keyFits(folder *backup.Folder, g *backup.Generation, facts BackupFacts) (has bool, err error) {
	inForce, err := lightchain.ParsePublicKey(facts.Key)
	if err != nil {
		return false, err
	}
	key, err := keyfile.ReadPublicKey(keyfile.Readable(c.Key.File))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return facts.WithKey, nil
	case err != nil:
		return false, err
	case key == inForce:
		return true, nil
	}
	if file, ok := g.File(backupKey); ok && file.SameAs(c.Key.File) {
		return true, nil // the key of a change that was cut off is beside it
	}
	return false, fmt.Errorf("%s is another key than this chain's, which is %s: put that one there, or none: %w", c.Key.File, facts.Key, store.ErrWrongKey)
}

// restoreFormer brings the chains back that this one continues, but for those that are there.
func (c *Config) restoreFormer(ctx context.Context, folder *backup.Folder, g *backup.Generation) error {
	prefix := filepath.Base(c.asideDir(""))
	done := map[string]bool{}
	for _, file := range g.Files {
		name, _, _ := strings.Cut(file.Path, "/")
		chain, former := strings.CutPrefix(name, prefix)
		if !former || done[name] {
			continue
		}
		done[name] = true
		place := c.asideDir(chain)
		making := place + ".restoring"
		if _, err := os.Lstat(place); err == nil {
			continue
		}
		if err := os.RemoveAll(making); err != nil {
			return err
		}
		if err := folder.Extract(ctx, g, name, making, nil); err != nil {
			return err
		}
		if err := errors.Join(backup.GiveToOwner(c.Gateway.Data, making), os.Rename(making, place)); err != nil {
			return err
		}
	}
	return nil
}

// checkRestored checks the chain that came back from its first entry to its last.
func checkRestored(ctx context.Context, dir string, facts BackupFacts, progress func(string, uint64, uint64)) (err error) {
	reader, err := store.OpenReader(dir, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	tip := reader.Tip()
	if tip.Chain != facts.Chain || tip.Hash != facts.Head {
		return fmt.Errorf("%w: its newest header is %d of chain %s, and it says %d of chain %s", backup.ErrDamaged, tip.Height, tip.Chain, facts.Height, facts.Chain)
	}
	_, err = reader.Verify(ctx, func(height, _ uint64) { progress("checking", height, tip.Height) })
	return err
}

// placeKey puts a key of the backup into its place, unless it is there.
func placeKey(folder *backup.Folder, g *backup.Generation, path, to string) error {
	file, ok := g.File(path)
	if !ok {
		return nil
	}
	err := folder.Place(file, to)
	if errors.Is(err, fs.ErrExist) && path == backupKey {
		return nil // keyFits knows that it is the key in force
	}
	return err
}

// GiveWord notes the operator's word that nothing was ever sealed on the restored chain in the data folder after its
// backup was made, or on one that is in doubt above what it holds. The agent must not run.
func GiveWord(c *Config) (store.Restored, error) {
	if err := asowner.Become(c.Gateway.Data); err != nil {
		return store.Restored{}, err
	}
	reader, err := store.OpenReader(c.ChainDir(), store.Options{})
	if err != nil {
		return store.Restored{}, err
	}
	defer reader.Close() // until then nobody starts on it
	mark, err := store.ReadRestored(c.ChainDir(), store.Options{})
	if err != nil {
		return store.Restored{}, err
	}
	if mark == nil {
		return store.Restored{}, fmt.Errorf("the chain in %s does not wait for that: it was neither restored nor found to be in doubt, or its head is confirmed", c.Gateway.Data)
	}
	mark.Newest, mark.By = true, (*store.By)(localhttp.Self())
	return *mark, errors.Join(store.MarkRestored(c.ChainDir(), store.Options{}, *mark), backup.GiveToOwner(c.Gateway.Data, c.ChainDir()))
}
