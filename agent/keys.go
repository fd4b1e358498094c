package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
)

// Which key signs. The chain says which key is in force; up to four files may hold it: the gateway's key and the next
// one, each with its copy. Whatever state they are in, the agent records. Without the key in force it seals nothing, says
// so, and looks again every few seconds.

// keys is what the agent knows of its keys.
type keys struct {
	setBack    atomic.Bool // a key is at hand, and none that is in force: the headers that set it may be missing
	unfinished atomic.Bool // the files are not as they should be, and could not be made so yet

	// Owned by Run, and by watchKeys once that runs.
	files      []keyFile // as they were read when the chain was opened
	unreadable error
	said       string       // what could not be done about them
	kept       keyfile.Kept // a file of the key in force; the owner of the tail's

	// For the status, nil where there is nothing to say.
	wrong   atomic.Pointer[string] // what is not as it should be with the files
	putBack atomic.Pointer[string] // what was, the last time since the start, and was put right
	former  atomic.Pointer[[]string]
}

// keyFile is one of the files that may hold the key in force.
type keyFile struct {
	path   string
	signer lightchain.Signer // nil: it cannot be read
	err    error
}

// nextKeyFile is where the next key waits until the chain has committed to it.
func (c *Config) nextKeyFile() string { return c.Key.File + ".next" }

// keyPaths returns all files that may hold the gateway's key, its own first.
func (c *Config) keyPaths() []string {
	return append(keyfile.Files(c.Key.File), keyfile.Files(c.nextKeyFile())...)
}

// readKeys reads all of them. An error says that none of them is to be used, whatever it holds.
func (c *Config) readKeys() (files []keyFile, err error) {
	for _, path := range c.keyPaths() {
		signer, err := keyfile.LoadFile(path, c.Key.Passphrase)
		if errors.Is(err, keyfile.ErrExposed) {
			return nil, err // the others hold the same, and were open, too
		}
		files = append(files, keyFile{path, signer, err})
	}
	return files, nil
}

// fileWith returns the first of the files that holds a key.
func fileWith(files []keyFile, key lightchain.PublicKey) (keyFile, bool) {
	i := slices.IndexFunc(files, func(f keyFile) bool { return f.signer != nil && f.signer.Public() == key })
	if i < 0 {
		return keyFile{}, false
	}
	return files[i], true
}

// takeKeys gives the store what the files hold, and lifts or adds the reason against sealing. It belongs to the
// goroutine that owns the tail. It reports whether the key in force is among them.
func (a *Agent) takeKeys(files []keyFile, err error) bool {
	var other *lightchain.PublicKey
	for _, f := range files {
		if f.signer != nil {
			a.store.AddSigner(f.signer)
			if public := f.signer.Public(); other == nil {
				other = &public
			}
		}
	}
	inForce := a.store.Tip().Key
	if a.store.Signer() != nil {
		a.keys.setBack.Store(false)
		return true
	}
	a.keys.setBack.Store(other != nil)
	r := a.keyReason(files, err, inForce, other)
	if a.gate.Add(r) {
		a.log.Error("nothing is sealed: " + r.String())
	}
	return false
}

// keyReason says why the key in force cannot be used, and what to do.
func (a *Agent) keyReason(files []keyFile, err error, inForce lightchain.PublicKey, other *lightchain.PublicKey) sealgate.Reason {
	r := sealgate.Reason{Kind: sealgate.Key}
	file := a.inForce().Key.File // its place never changes while the agent runs
	const lost = "if it is lost, begin a new chain that names this one: edgeagent init --continue"
	switch {
	case err != nil:
		r.Why = "the key cannot be used: " + err.Error()
	case other != nil:
		r.Why = fmt.Sprintf("%s: the one in force is %s, %s holds %s", store.ErrWrongKey, inForce, file, *other)
		r.Do = "if newest headers of this chain are lost, those among them that set the key, configure an aggregator that knows them: they are taken back. If the key is another gateway's, put this chain's at " + file + "; " + lost
	case !slices.ContainsFunc(files, func(f keyFile) bool { return !errors.Is(f.err, fs.ErrNotExist) }):
		r.Why = "there is no key file " + file
		r.Do = "put the chain's key there; " + lost
	default:
		for _, f := range files {
			if f.err != nil && !errors.Is(f.err, fs.ErrNotExist) {
				r.Why = "the key cannot be used: " + f.err.Error()
				break
			}
		}
		r.Do = "put the chain's key at " + file + " (mode 0600, the agent's owner); " + lost
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			r.Do = "move the folder " + file + " elsewhere, and put the chain's key in its place; " + lost
		}
	}
	return r
}

// settleKeys makes the files what they should be while the key in force is the given one: a change of key that was cut off
// is finished, a file that cannot be read is made anew from the other.
//
// Another key in the place of the copy is written over only if it is a former one of this chain, left there by a change of
// key that was cut off: else somebody put it there.
func (c *Config) settleKeys(files []keyFile, inForce lightchain.PublicKey, former func(lightchain.PublicKey) bool, log *slog.Logger) error {
	next := files[len(keyfile.Files(c.Key.File)):]
	if _, handedOver := fileWith(next, inForce); handedOver {
		if err := keyfile.Replace(c.nextKeyFile(), c.Key.File, c.Key.Passphrase); err != nil {
			return fmt.Errorf("the chain goes on under the new key, and the old one could not be destroyed: %w", err)
		}
		log.Info("a change of key that was cut off is finished", "key", lightchain.FormatPublicKey(inForce))
		return nil
	}
	if first := files[0]; first.signer != nil && first.signer.Public() != inForce {
		return fmt.Errorf("%s is another key than the one in force, which its copy holds: put it somewhere else, and copy %s in its place", first.path, keyfile.CopyPath(first.path))
	}
	if second := files[1]; second.signer != nil && second.signer.Public() != inForce && !former(second.signer.Public()) {
		return fmt.Errorf("%s is another key than the one in force: put it somewhere else, and the copy of %s is made", second.path, files[0].path)
	}
	mended, err := keyfile.Mend(c.Key.File, c.Key.Passphrase)
	if err != nil {
		return fmt.Errorf("the key stands in one file only: %w", err)
	}
	if mended != "" {
		log.Warn("a file of the key was missing or damaged, and is made anew from the other", "file", mended)
	}
	return nil
}

// settle is settleKeys, told once for each way in which it fails, and tried again until it does not.
func (a *Agent) settle(files []keyFile, inForce lightchain.PublicKey) {
	err := a.inForce().settleKeys(files, inForce, a.isFormerKey, a.log)
	a.keys.unfinished.Store(err != nil)
	switch {
	case err == nil:
		a.keys.said = ""
		a.keys.wrong.Store(nil)
	case a.keys.said != err.Error():
		text := err.Error()
		a.keys.said = text
		a.keys.wrong.Store(&text)
		a.log.Error("failed to put the key's files in order; it is tried again", "err", err)
	}
}

// isFormerKey reports whether a key was in force in this chain and is not any more.
func (a *Agent) isFormerKey(public lightchain.PublicKey) bool {
	heights, err := a.store.KeyHeights(a.store.Reader.Tip().Height + 1)
	if err != nil || public == a.store.Reader.Tip().Key {
		return false
	}
	return slices.ContainsFunc(heights, func(height uint64) bool {
		h, err := a.store.HeaderAt(height)
		return err == nil && h.NextKey != nil && *h.NextKey == public
	})
}

// formerKeyFiles returns the files beside the key's own that hold a key which was in force in the chain and is not any more: in the
// place of the next key, or in what a change of key or a repair that was cut off has left behind. Each was to be destroyed. One that
// waits in the place of the next key and was never in force is as it should be.
func (c *Config) formerKeyFiles(r *store.Reader) (found []string) {
	paths := keyfile.Files(c.nextKeyFile())
	dir, name := filepath.Split(c.Key.File)
	if all, err := os.ReadDir(filepath.Clean(dir)); err == nil {
		for _, e := range all {
			if strings.HasPrefix(e.Name(), "."+name+".") {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	inForce := r.Tip().Key
	for _, path := range paths {
		public, err := keyfile.ReadPublicKey(path)
		if err != nil || public == inForce {
			continue
		}
		if used, err := r.UsedKey(public); err == nil && used {
			found = append(found, path)
		}
	}
	return found
}

// keyFilesInterval is how often the files of the key are looked at while it can be used.
const keyFilesInterval = time.Minute

// keepKeyFiles puts files of the key in force back that were lost or damaged since they were looked at: the start that needs
// them may be years away. It belongs to the goroutine that owns the tail, which changes keys.
func (a *Agent) keepKeyFiles() {
	former := a.config.formerKeyFiles(&a.store.Reader)
	a.keys.former.Store(&former)
	signer, file := a.store.Signer(), a.config.Key.File
	if signer == nil || a.keys.unfinished.Load() {
		return // that is seen to every few seconds
	}
	public := signer.Public()
	if !a.keys.kept.Holds(public) {
		a.keys.kept.Forget()
		kept, err := keyfile.Keep(file, public)
		if err != nil {
			a.tellKeyFiles(fmt.Errorf("%s does not hold the key in force: %w", file, err))
			return
		}
		a.keys.kept = kept
	}
	made, err := a.keys.kept.PutBack(file)
	for _, path := range made {
		text := fmt.Sprintf("the key's file %s was missing or damaged, and was put back on %s: look at the disk", path, time.Now().UTC().Format(time.RFC3339))
		a.keys.putBack.Store(&text)
		a.log.Warn("a file of the key was missing or damaged, and is put back", "file", path)
	}
	if err != nil {
		a.tellKeyFiles(err)
		return
	}
	a.keys.wrong.Store(nil)
}

// tellKeyFiles says once of what is wrong with the files and cannot be put right by itself.
func (a *Agent) tellKeyFiles(err error) {
	text := "the key's files are not as they should be, and the next start needs them: " + err.Error()
	if before := a.keys.wrong.Swap(&text); before == nil || *before != text {
		a.log.Error("failed to put the key's files in order; the key in force is at hand until the agent ends", "err", err)
	}
}

// speaker returns what signs what the gateway says to aggregators: the key in force, or where headers are missing that
// set it, the one that is at hand; nil if there is none. It belongs to the goroutine that owns the tail.
func (a *Agent) speaker() lightchain.Signer { return a.store.AnySigner() }

// keyInterval is how often the key is looked for that cannot be used.
const keyInterval = 3 * time.Second

// watchKeys looks for the key while it cannot be used, and sees to its files, until ctx ends.
func (a *Agent) watchKeys(ctx context.Context) {
	tick := time.NewTicker(keyInterval)
	defer tick.Stop()
	look := time.NewTicker(keyFilesInterval)
	defer look.Stop()
	for {
		select {
		case <-tick.C:
		case <-look.C:
			a.onTail(a.log, func() error {
				a.keepKeyFiles()
				return nil
			})
			continue
		case <-ctx.Done():
			return
		}
		if !a.gate.Has(sealgate.Key) && !a.keys.unfinished.Load() {
			continue
		}
		files, readErr := a.inForce().readKeys() // not on the tail: an encrypted key takes a small board a second
		has, inForce := false, lightchain.PublicKey{}
		a.onTail(a.log, func() error {
			if has = a.takeKeys(files, readErr); has {
				a.keyIsBack("it can be read again")
			}
			inForce = a.store.Tip().Key
			for _, u := range a.upstreams {
				if s := a.speaker(); s != nil {
					u.gateway.SetSigner(s)
				}
			}
			return nil
		})
		if has && readErr == nil {
			a.settle(files, inForce)
		}
	}
}

// keyIsBack lifts the reason that the key could not be used. It belongs to the goroutine that owns the tail.
func (a *Agent) keyIsBack(how string) {
	a.keys.setBack.Store(false)
	if !a.gate.Lift(sealgate.Key, "") {
		return
	}
	a.log.Info("the key in force is at hand: "+how, "key", lightchain.FormatPublicKey(a.store.Tip().Key))
	a.considerSealing() // nobody could be asked about the head without it
}
