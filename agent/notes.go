package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
)

// noteEvent is what a person says.
type noteEvent struct {
	Who       string            `json:"who"`
	When      string            `json:"when"`
	Entries   []lightchain.Span `json:"entries,omitempty"`
	Heights   []lightchain.Span `json:"heights,omitempty"`
	Head      *lightchain.Head  `json:"head,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Meaning   string            `json:"meaning,omitempty"`
	Text      string            `json:"text,omitempty"`
	Signature string            `json:"signature,omitempty"`
	AskedBy   *localhttp.Peer   `json:"asked_by,omitempty"`
}

// attachEvent is a file that a person puts beside what was recorded.
type attachEvent struct {
	noteEvent
	Name      string          `json:"name"`
	MediaType string          `json:"media_type"`
	Size      uint64          `json:"size"`
	SHA256    lightchain.Hash `json:"sha256"`
	Data      *string         `json:"data,omitempty"` // base64; nil: the hash alone is kept
}

// mostAttached is how many bytes of an attachment an entry can hold, whatever payload.max says: they stand in JSON.
const mostAttached = 11 << 20

// Note records what a person says, or attaches, once it is known to be whole, of this chain, about something that is there,
// and rightly signed if it is signed. It returns when the entry is durable.
func (a *Agent) Note(ctx context.Context, n api.Noting) (api.Noted, error) {
	refuse := func(format string, args ...any) (api.Noted, error) {
		return api.Noted{}, fmt.Errorf("%w: %w", api.ErrNote, fmt.Errorf(format, args...))
	}
	note, chain, err := lightchain.ParseStatement([]byte(n.Statement))
	switch {
	case err != nil:
		return refuse("%w", err)
	case chain != a.store.Chain():
		return refuse("it is about the chain %s, and this one is %s", chain, a.store.Chain())
	}
	if next := a.store.Next(); len(note.Entries) > 0 && note.Entries[len(note.Entries)-1][1] >= next {
		return refuse("it is about entry %d, and there are none from %d on", note.Entries[len(note.Entries)-1][1], next)
	}
	if top := a.store.Tip().Height; len(note.Heights) > 0 && note.Heights[len(note.Heights)-1][1] > top {
		return refuse("it is about block %d, and the newest one is %d", note.Heights[len(note.Heights)-1][1], top)
	}
	if err := a.checkHead(note); err != nil {
		return refuse("%w", err)
	}
	event := noteEvent{Who: note.Who, When: note.When, Entries: note.Entries, Heights: note.Heights, Head: note.Head, Reason: note.Reason, Meaning: note.Meaning,
		Text: note.Text, Signature: n.Signature, AskedBy: localhttp.PeerOf(ctx)}
	source, payload := lightchain.SourceNote, any(event)
	if f := note.File; f != nil {
		attached := attachEvent{noteEvent: event, Name: f.Name, MediaType: f.MediaType, Size: f.Size, SHA256: f.SHA256}
		if most := min(int(a.inForce().Payload.Max), mostAttached); n.Kept && len(n.Data) > most {
			return refuse("%s has %d bytes, and payload.max lets the chain keep %d: keep the file yourself, and have its hash recorded with --hash-only", f.Name, len(n.Data), most)
		}
		if !n.Kept && len(n.Data) > 0 {
			return refuse("the bytes of %s came along, and are not to be kept", f.Name)
		}
		if n.Kept {
			text := base64.StdEncoding.EncodeToString(n.Data)
			attached.Data = &text
		}
		source, payload = lightchain.SourceAttach, attached
	} else if n.Kept || len(n.Data) > 0 {
		return refuse("a note has no file")
	}
	b, err := json.Marshal(payload)
	if err != nil {
		return refuse("%w", err)
	}
	// As every verifier will: what would stand bad there is refused here.
	if err := lightchain.CheckNote(&lightchain.Entry{Source: source, Payload: b}, chain); err != nil {
		return refuse("%w", err)
	}
	if err := a.stopped(); err != nil {
		return api.Noted{}, fmt.Errorf("the note is not recorded: %w", err)
	}
	done := make(chan error, 1)
	m, err := a.put(ctx, source, b, func(err error) { done <- err })
	if err != nil {
		return api.Noted{}, err
	}
	calm := a.queue.Hurry() // somebody sits and waits
	defer calm()
	if err := a.noted(ctx, done); err != nil {
		return api.Noted{}, err
	}
	a.log.Info("a person's words were recorded", "source", source, "entry", m.Entry, "who", note.Who, "by", event.AskedBy)
	return api.Noted{Number: m.Entry, Source: source}, nil
}

// checkHead refuses a note that names another header than this chain has, or one below what the note is about: every verifier
// that has the header in sight would say so.
func (a *Agent) checkHead(n *lightchain.Note) error {
	if n.Head == nil {
		return nil
	}
	if top := a.store.Tip().Height; n.Head.Height > top {
		return fmt.Errorf("it names header %d, and the newest one is %d", n.Head.Height, top)
	}
	hash, err := a.store.Node(0, n.Head.Height)
	if err != nil {
		return fmt.Errorf("it names header %d, with which it cannot be compared: %w", n.Head.Height, err)
	}
	if hash != n.Head.Hash {
		return fmt.Errorf("it names header %d with the hash %s, and this chain's has the hash %s: what its author saw was another history", n.Head.Height, n.Head.Hash, hash)
	}
	if len(n.Entries) == 0 {
		return nil
	}
	last := n.Entries[len(n.Entries)-1][1]
	height, sealed, err := a.store.BlockOf(last)
	if err != nil {
		return fmt.Errorf("it is about entry %d, of which the block is not known: %w", last, err)
	}
	if !sealed || height > n.Head.Height {
		return fmt.Errorf("it is about entry %d, which stands above header %d, the one that it names", last, n.Head.Height)
	}
	return nil
}

// noted waits until a note is on disk, or it is known that this may take long.
func (a *Agent) noted(ctx context.Context, done <-chan error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if err := a.stopped(); err != nil {
				return fmt.Errorf("the note waits, and will be recorded when there is room: do not say it again: %w", err)
			}
		case <-ctx.Done():
			return fmt.Errorf("the note may be recorded all the same: %w", ctx.Err())
		}
	}
}
