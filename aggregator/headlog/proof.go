package headlog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"edgechain.example/lightchain"
)

// proofBegin is the first line of a proof.
const proofBegin = "c2sp.org/tlog-proof@v1"

// maxProof is far above any proof: 63 hashes, and a checkpoint with many signatures.
const maxProof = 1 << 20

// Proof shows that a leaf stands in the tree of a checkpoint.
type Proof struct {
	Extra      []byte // of no meaning here, and under no signature; nil: none
	Index      uint64
	Hashes     []lightchain.Hash // from the leaf upwards
	Checkpoint []byte            // the signed note
}

// Encode returns the proof as a file.
func (p *Proof) Encode() []byte {
	var b bytes.Buffer
	b.WriteString(proofBegin + "\n")
	if p.Extra != nil {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

var errProof = errors.New("not a proof as " + proofBegin + " has it")

// DecodeProof reads what [Proof.Encode] returns, and nothing else. The checkpoint in it is as it stands there.
func DecodeProof(b []byte) (*Proof, error) {
	if len(b) > maxProof {
		return nil, errProof
	}
	head, checkpoint, found := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || lines[0] != proofBegin {
		return nil, errProof
	}
	p := &Proof{Checkpoint: checkpoint}
	lines = lines[1:]
	var err error
	if len(lines) > 0 {
		if extra, there := strings.CutPrefix(lines[0], "extra "); there {
			if p.Extra, err = base64.StdEncoding.Strict().DecodeString(extra); err != nil {
				return nil, errProof
			}
			lines = lines[1:]
		}
	}
	if len(lines) == 0 || len(lines) > 1+lightchain.MaxPath {
		return nil, errProof
	}
	index, there := strings.CutPrefix(lines[0], "index ")
	if p.Index, err = strconv.ParseUint(index, 10, 63); err != nil || !there {
		return nil, errProof
	}
	for _, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return nil, errProof
		}
		p.Hashes = append(p.Hashes, h)
	}
	if !bytes.Equal(p.Encode(), b) {
		return nil, errProof
	}
	return p, nil
}

// Check checks that the leaf with that hash stands in the tree of the proof's checkpoint, which the key has signed, and returns
// what that says.
func (p *Proof) Check(leaf lightchain.Hash, key note.Verifier) (*Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, key)
	if err != nil {
		return nil, err
	}
	path := lightchain.Path{Size: c.Size, Index: p.Index, Hashes: p.Hashes}
	root, err := path.Root(leaf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if root != c.Root {
		return nil, fmt.Errorf("%w: the path from the header %s leads to another root than the checkpoint's", ErrInvalid, leaf)
	}
	return c, nil
}
