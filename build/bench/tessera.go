package main

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"strings"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"edgechain.example/lightchain"
)

// tesseraAppender is Tessera's POSIX appender with batches as large as our groups, which it takes and flushes as soon
// as they are full. Its future resolves when the batch is in synced files, integrated into the tree and counted in the
// synced state of the tree, which is what our group commit promises as well; the signed checkpoint follows every
// second, as our header follows at the end of a block, and is not waited for. No antispam.
type tesseraAppender struct {
	dir      string
	appender *tessera.Appender
	shutdown func(context.Context) error
	stop     context.CancelFunc
	seed     lightchain.Seed
	size     uint64
}

func newTesseraAppender(dir string, group int) (*tesseraAppender, error) {
	key, _, err := note.GenerateKey(rand.Reader, "bench")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, err
	}
	a := &tesseraAppender{dir: dir}
	_, _ = rand.Read(a.seed[:])
	var ctx context.Context
	ctx, a.stop = context.WithCancel(context.Background())
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err == nil {
		a.appender, a.shutdown, _, err = tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
			WithCheckpointSigner(signer).
			WithCheckpointInterval(time.Second).
			WithBatching(uint(group), time.Second))
	}
	if err != nil {
		a.stop()
		return nil, err
	}
	return a, nil
}

func (a *tesseraAppender) stage(group []lightchain.Entry) (func() error, error) {
	futures := make([]tessera.IndexFuture, len(group))
	for i := range group {
		e := group[i]
		e.Salt = a.seed.Salt(a.size)
		a.size++
		encoded, err := e.Append(nil)
		if err != nil {
			return nil, err
		}
		futures[i] = a.appender.Add(context.Background(), tessera.NewEntry(encoded))
	}
	return func() error {
		for _, future := range futures {
			if _, err := future(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (a *tesseraAppender) close() error {
	defer a.stop()
	return a.shutdown(context.Background())
}

// stored leaves out partial tiles and bundles, which Tessera collects as garbage once they are full.
func (a *tesseraAppender) stored() (int64, error) {
	return fileBytes(a.dir, func(path string) bool { return !strings.HasSuffix(filepath.Dir(path), ".p") })
}
