package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// Token lets one gateway in. It is a secret until it is used, and nothing afterwards.
type Token struct {
	ID      string              `json:"id"`             // first bytes of its SHA-256, as the gateway shows them
	Text    string              `json:"text,omitempty"` // what the gateway is given; removed once it is used
	Made    int64               `json:"made"`           // seconds since the Unix epoch
	Expires int64               `json:"expires"`        // seconds since the Unix epoch
	Labels  map[string]string   `json:"labels,omitempty"`
	UsedBy  *lightchain.ChainID `json:"used_by,omitempty"`
	Used    int64               `json:"used,omitempty"`
}

// ErrToken means that a token lets nobody in: it is unknown, expired, or another's.
var ErrToken = errors.New("the token lets nobody in")

const (
	tokenKind   = "token"
	tokenPrefix = "edgechain-token-"
	// MaxTokenLife bounds a secret that lies in a configuration file.
	MaxTokenLife = 90 * 24 * time.Hour
)

var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewToken makes a token that lets one gateway in within life, and gives it the labels.
func (g *Registry) NewToken(ctx context.Context, life time.Duration, labels map[string]string) (*Token, error) {
	if life <= 0 || life > MaxTokenLife {
		return nil, fmt.Errorf("a token that is good for %s: expected more than nothing and at most %d days", life, MaxTokenLife/(24*time.Hour))
	}
	if err := checkLabels(labels); err != nil {
		return nil, err
	}
	var random [20]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	text := tokenPrefix + tokenText.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(text))
	now := g.now()
	t := &Token{ID: hex.EncodeToString(sum[:8]), Text: text, Made: now.Unix(), Expires: now.Add(life).Unix(), Labels: labels}
	body, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	err = g.store.UpdateDocument(ctx, tokenKind, t.ID, func([]byte) ([]byte, error) { return body, nil })
	return t, err
}

// Tokens returns all tokens, the newest first, without their texts.
func (g *Registry) Tokens(ctx context.Context) ([]*Token, error) {
	documents, err := g.store.Documents(ctx, tokenKind)
	if err != nil {
		return nil, err
	}
	var tokens []*Token
	for name, body := range documents {
		t := new(Token)
		if err := json.Unmarshal(body, t); err != nil {
			return nil, fmt.Errorf("token %s: %w", name, err)
		}
		t.Text = ""
		tokens = append(tokens, t)
	}
	slices.SortFunc(tokens, func(a, b *Token) int {
		return cmp.Or(cmp.Compare(b.Made, a.Made), strings.Compare(a.ID, b.ID))
	})
	return tokens, nil
}

// RemoveToken takes a token back, or clears away one that is of no use any more.
func (g *Registry) RemoveToken(ctx context.Context, id string) error {
	found := false
	err := g.store.UpdateDocument(ctx, tokenKind, id, func(old []byte) ([]byte, error) {
		if found = old != nil; !found {
			return nil, ErrUnchanged
		}
		return nil, nil
	})
	if err == nil && !found {
		err = fmt.Errorf("token %s: %w", id, ErrNotFound)
	}
	return err
}

// redeem uses a token up for the chain, and returns its labels. Whoever used it may do so again: the gateway may have
// been stopped before its standing was written.
func (g *Registry) redeem(ctx context.Context, chain lightchain.ChainID, e *headersync.Enrolment) (labels map[string]string, id string, err error) {
	id = hex.EncodeToString(e.Token[:])
	err = g.store.UpdateDocument(ctx, tokenKind, id, func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, fmt.Errorf("%w: %s is not known here", ErrToken, id)
		}
		t := new(Token)
		if err := json.Unmarshal(old, t); err != nil {
			return nil, fmt.Errorf("token %s: %w", id, err)
		}
		labels = t.Labels
		switch {
		case t.UsedBy != nil && *t.UsedBy == chain:
			return nil, ErrUnchanged
		case t.UsedBy != nil:
			return nil, fmt.Errorf("%w: %s was used by chain %s", ErrToken, id, t.UsedBy)
		case g.now().Unix() >= t.Expires:
			return nil, fmt.Errorf("%w: %s has expired", ErrToken, id)
		case !e.Check(t.Text, chain):
			return nil, fmt.Errorf("%w: %s is known, but was not held by who showed it", ErrToken, id)
		}
		t.UsedBy, t.Used, t.Text = &chain, g.now().Unix(), ""
		return json.Marshal(t)
	})
	return labels, id, err
}
