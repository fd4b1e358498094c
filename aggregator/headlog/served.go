package headlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"edgechain.example/lightchain"
)

// Fetch gets a file of a log that is served: "checkpoint", "tile/0/000". What is not there is an [fs.ErrNotExist].
type Fetch func(ctx context.Context, path string) ([]byte, error)

// maxFetched is above any tile, and any bundle of entries.
const maxFetched = tileWidth * (2 + lightchain.MaxHeader)

// From returns what fetches over HTTP from a log whose checkpoint is at base/checkpoint.
func From(client *http.Client, base string) Fetch {
	return func(ctx context.Context, path string) ([]byte, error) {
		address := strings.TrimSuffix(base, "/") + "/" + path
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		answer, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxFetched+1))
		switch {
		case err != nil:
			return nil, &url.Error{Op: "Get", URL: address, Err: err} // as the client says it before an answer begins
		case answer.StatusCode == http.StatusNotFound:
			return nil, fmt.Errorf("%s: %w: %.200q", r.URL, fs.ErrNotExist, body)
		case answer.StatusCode >= http.StatusInternalServerError: // whoever asks later may be answered
			return nil, &url.Error{Op: "Get", URL: address, Err: fmt.Errorf("%s: %.200q", answer.Status, body)}
		case answer.StatusCode != http.StatusOK:
			return nil, fmt.Errorf("%s: %s: %.200q", r.URL, answer.Status, body)
		case len(body) > maxFetched:
			return nil, fmt.Errorf("%s: %w: more bytes than any tile has", r.URL, ErrInvalid)
		}
		return body, nil
	}
}

// tile fetches a tile. One that is not full any more where it is served is taken from the full one.
func (f Fetch) tile(ctx context.Context, t tile) ([]lightchain.Hash, error) {
	body, err := f(ctx, "tile/"+t.path(false))
	if errors.Is(err, fs.ErrNotExist) && t.width < tileWidth {
		full := t
		full.width = tileWidth
		if whole, again := f(ctx, "tile/"+full.path(false)); again == nil {
			body, err = whole[:min(len(whole), t.width*len(lightchain.Hash{}))], nil
		}
	}
	if err != nil {
		return nil, err
	}
	hashes := make([]lightchain.Hash, t.width)
	if len(body) != t.width*len(hashes[0]) {
		return nil, fmt.Errorf("%w: tile %s has %d bytes", ErrInvalid, t.path(false), len(body))
	}
	for i := range hashes {
		copy(hashes[i][:], body[i*len(hashes[i]):])
	}
	return hashes, nil
}

// CheckServed checks a log that is served: that its newest checkpoint is signed, that its tiles make the root in it, and, if an
// earlier checkpoint of it is at hand, that its tree only grew since. For that it reads some tiles for each power of two of
// leaves; all has it read every one. It returns the newest checkpoint and its bytes, also with an error if the log has signed it.
func CheckServed(ctx context.Context, f Fetch, key note.Verifier, earlier []byte, all bool) (newest *Checkpoint, signed []byte, err error) {
	if signed, err = f(ctx, "checkpoint"); err != nil {
		return nil, nil, err
	}
	if newest, err = OpenCheckpoint(signed, key); err != nil {
		return nil, nil, err
	}
	if earlier != nil {
		before, err := OpenCheckpoint(earlier, key)
		if err != nil {
			return nil, nil, fmt.Errorf("the checkpoint that was kept: %w", err)
		}
		if before.Size > newest.Size {
			return newest, signed, fmt.Errorf("%w: it showed %d leaves before, and shows %d now: an old copy, or two histories", ErrInvalid, before.Size, newest.Size)
		}
		if err := readTile(f.tile).continues(ctx, before, newest); err != nil {
			return newest, signed, err
		}
	}
	return newest, signed, readTile(f.tile).makes(ctx, newest, all)
}

// makes checks that the tiles make the root of a checkpoint: those at the end of the tree, or all.
func (read readTile) makes(ctx context.Context, c *Checkpoint, all bool) error {
	root, err := read.root(ctx, c.Size)
	if err == nil && root != c.Root {
		err = fmt.Errorf("%w: the tiles make another root than the checkpoint of %d leaves has", ErrInvalid, c.Size)
	}
	if err == nil && all {
		err = read.whole(ctx, c.Size)
	}
	return err
}
