package headlog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"edgechain.example/lightchain"
)

// suffix stands behind the name in an origin, so that a name may have other logs.
const suffix = "/heads"

// Origin returns the origin of the log of heads under a name.
func Origin(name string) string { return name + suffix }

// Checkpoint is what a log says of its tree of one size.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   lightchain.Hash
}

// Text returns the text that is signed.
//
// SPEC: three lines, each ended by LF: the origin, the number of leaves in decimal digits without zeros in front, the root in base64
func (c *Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + c.RootText() + "\n"
}

// RootText returns the root as the checkpoint has it, in base64.
func (c *Checkpoint) RootText() string { return base64.StdEncoding.EncodeToString(c.Root[:]) }

var errCheckpoint = errors.New("not a checkpoint: expected three lines, an origin, a number of leaves and a root in base64")

// parseCheckpoint reads back what [Checkpoint.Text] returned, and nothing else.
func parseCheckpoint(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" {
		return nil, errCheckpoint
	}
	c := &Checkpoint{Origin: lines[0]}
	var err error
	if c.Size, err = strconv.ParseUint(lines[1], 10, 63); err != nil {
		return nil, errCheckpoint
	}
	if c.Root, err = parseHash(lines[2]); err != nil || c.Text() != text {
		return nil, errCheckpoint
	}
	return c, nil
}

func parseHash(text string) (h lightchain.Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err == nil && len(b) != len(h) {
		err = fmt.Errorf("a hash of %d bytes", len(b))
	}
	copy(h[:], b)
	return h, err
}

// ErrKey means that no signature of a checkpoint is by the key that it should be.
var ErrKey = errors.New("no signature by this key")

// OpenCheckpoint returns what a signed checkpoint says, if it is that of the log whose key this is.
//
// SPEC: Lines by other keys are passed over; one by this key must be there, and right, and of several the first counts.
func OpenCheckpoint(signed []byte, key note.Verifier) (*Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList(key))
	if unsigned := new(note.UnverifiedNoteError); errors.As(err, &unsigned) {
		return nil, fmt.Errorf("%w: the checkpoint has %w, %s+%08x", ErrInvalid, ErrKey, key.Name(), key.KeyHash())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the checkpoint: %w", ErrInvalid, err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if c.Origin != key.Name() {
		return nil, fmt.Errorf("%w: the checkpoint is one of %q, the key one of %q", ErrInvalid, c.Origin, key.Name())
	}
	return c, nil
}

// PublicKey is the key that the checkpoints of a log check under.
type PublicKey struct {
	note.Verifier
	text string
}

// NewPublicKey returns the key of the log of that origin.
func NewPublicKey(origin string, public lightchain.PublicKey) (*PublicKey, error) {
	text, err := note.NewEd25519VerifierKey(origin, public[:])
	if err != nil {
		return nil, err
	}
	return ParseKey(text)
}

// ParseKey reads what [PublicKey.String] returned.
func ParseKey(text string) (*PublicKey, error) {
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("a log's key %q: %w: expected ORIGIN+HASH+KEY, as `edgeaggregator log show` prints it", text, err)
	}
	// The base64 of the key may have more of them.
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 3)[2])
	if err == nil {
		err = lightchain.PublicKey(raw[1:]).Check() // behind the byte that says that it is one of Ed25519
	}
	if err != nil {
		return nil, fmt.Errorf("a log's key %q: %w", text, err)
	}
	return &PublicKey{v, text}, nil
}

// String returns the key as others configure it: the origin, the hash of origin and key, and the key.
func (k *PublicKey) String() string { return k.text }

// Key signs the checkpoints of one log.
type Key struct {
	*PublicKey
	signer lightchain.Signer
}

var _ note.Signer = (*Key)(nil)

// NewKey returns the key of the log of that origin, of which signer holds the private half.
func NewKey(origin string, signer lightchain.Signer) (*Key, error) {
	public, err := NewPublicKey(origin, signer.Public())
	if err != nil {
		return nil, err
	}
	return &Key{public, signer}, nil
}

// Public returns the public key alone.
func (k *Key) Public() lightchain.PublicKey { return k.signer.Public() }

// Sign implements [note.Signer].
func (k *Key) Sign(message []byte) ([]byte, error) {
	signature, err := k.signer.Sign(message)
	return signature[:], err
}

// sign returns the signed checkpoint over a tree.
func (k *Key) sign(tree *lightchain.CompactRange) ([]byte, error) {
	c := Checkpoint{k.Name(), tree.Size(), tree.Root()}
	return note.Sign(&note.Note{Text: c.Text()}, k)
}
