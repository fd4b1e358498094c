package aggregator

import (
	"context"
	"log/slog"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
)

// keyFilesInterval is how often the files of the key are looked at.
const keyFilesInterval = time.Minute

// keyFiles puts the key's files back that are lost or damaged while the aggregator runs: the start that needs them may be years
// away. What somebody may have put there on purpose is left alone, and told. It belongs to one goroutine.
type keyFiles struct {
	path   string
	public lightchain.PublicKey
	log    *slog.Logger

	kept keyfile.Kept
	told string // what is wrong, and was said
}

// keyFiles returns those of the aggregator's keys.
func (a *Aggregator) keyFiles() (all []*keyFiles) {
	if file := a.config.Key.File; file != "" {
		all = append(all, &keyFiles{path: file, public: a.options.Signer.Public(), log: a.log})
	}
	if t := a.transparency; t != nil && t.config.KeyFile != "" {
		all = append(all, &keyFiles{path: t.config.KeyFile, public: t.key.Public(), log: a.log})
	}
	return all
}

// run looks at the files until ctx ends.
func (k *keyFiles) run(ctx context.Context) {
	tick := time.NewTicker(keyFilesInterval)
	defer tick.Stop()
	for {
		k.look()
		select {
		case <-tick.C:
		case <-ctx.Done():
			k.kept.Forget()
			return
		}
	}
}

func (k *keyFiles) look() {
	if !k.kept.Holds(k.public) {
		kept, err := keyfile.Keep(k.path, k.public)
		if err != nil {
			k.tell(err)
			return
		}
		k.kept = kept
	}
	made, err := k.kept.PutBack(k.path)
	for _, file := range made {
		k.log.Warn("a file of the key was missing or damaged, and is put back", "file", file)
	}
	k.tell(err)
}

// tell says once of what cannot be put right by itself.
func (k *keyFiles) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != k.told {
		k.log.Error("failed to put the key's files in order; the key is at hand until the aggregator ends", "err", err)
	}
	k.told = text
}
