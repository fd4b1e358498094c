package lightchain

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// People sign with the key that they have: OpenSSH's, by ssh-keygen -Y sign (PROTOCOL.sshsig). Of its signatures those of
// Ed25519 keys are read here, in their one encoding.

// NoteNamespace is the namespace that a person names to ssh-keygen -Y sign -n, so that what was signed for another purpose
// is no note.
const NoteNamespace = "edgechain-note"

// SSHSignature is a person's signature.
type SSHSignature struct {
	Key    PublicKey
	SHA512 bool // how the message was hashed: SHA-512, which ssh-keygen takes, or SHA-256
	sig    Signature
}

const (
	sshsigMagic   = "SSHSIG"
	sshsigVersion = 1
	sshsigBegin   = "-----BEGIN SSH SIGNATURE-----"
	sshsigEnd     = "-----END SSH SIGNATURE-----"
	sshsigColumns = 76 // of a line, at most; ssh-keygen writes 70

	// MaxSSHSignature is more than a file with a signature of an Ed25519 key has, with any namespace that may be meant.
	MaxSSHSignature = 4096
)

var (
	errSSHSig     = errors.New("not a signature as ssh-keygen -Y sign makes")
	errSSHSigKind = errors.New("a signature of another kind of key than ssh-ed25519, which is the one that is read")
)

// ParseSSHSignature reads what stands between the first and the last line of ssh-keygen's file, as one line.
//
// SPEC: the base64 (RFC 4648, padded) between the first and the last line of the file that it makes, as one line
func ParseSSHSignature(text string) (*SSHSignature, error) {
	if len(text) > MaxSSHSignature {
		return nil, errSSHSig
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(b) != text { // the decoder skips CR and LF wherever they stand
		return nil, fmt.Errorf("%w: no base64", errSSHSig)
	}
	rest, found := strings.CutPrefix(string(b), sshsigMagic)
	if !found || len(rest) < 4 || binary.BigEndian.Uint32([]byte(rest)) != sshsigVersion {
		return nil, fmt.Errorf("%w, of version %d", errSSHSig, sshsigVersion)
	}
	s := sshReader{rest: rest[4:]}
	key, namespace, reserved, hash, sig := s.string(), s.string(), s.string(), s.string(), s.string()
	if s.bad || s.rest != "" {
		return nil, fmt.Errorf("%w: cut short, or more behind it", errSSHSig)
	}
	out := &SSHSignature{SHA512: hash == "sha512"}
	if err := sshFixed(key, out.Key[:]); err != nil {
		return nil, err
	}
	if err := sshFixed(sig, out.sig[:]); err != nil {
		return nil, err
	}
	switch {
	case namespace != NoteNamespace:
		return nil, fmt.Errorf("a signature in the namespace %.40q, not %s: it was made for something else", namespace, NoteNamespace)
	case reserved != "":
		return nil, fmt.Errorf("%w: its reserved field is not empty", errSSHSig)
	case hash != "sha256" && hash != "sha512":
		return nil, fmt.Errorf("%w: over a hash %.40q, not sha256 or sha512", errSSHSig, hash)
	}
	return out, out.Key.Check()
}

// sshFixed reads what an algorithm's name precedes: a key, or a signature.
func sshFixed(blob string, out []byte) error {
	s := sshReader{rest: blob}
	algorithm, content := s.string(), s.string()
	switch {
	case algorithm != sshEd25519: // of others, more follows
		return fmt.Errorf("%w (%.40q)", errSSHSigKind, algorithm)
	case s.bad || s.rest != "":
		return fmt.Errorf("%w: its key or its signature is cut short, or has more behind it", errSSHSig)
	case len(content) != len(out):
		return fmt.Errorf("%w: a key or a signature of %d bytes, not %d", errSSHSig, len(content), len(out))
	}
	copy(out, content)
	return nil
}

// sshReader reads strings of RFC 4251, section 5.
type sshReader struct {
	rest string
	bad  bool // something was missing
}

func (s *sshReader) string() string {
	if len(s.rest) < 4 {
		s.bad = true
		return ""
	}
	n := binary.BigEndian.Uint32([]byte(s.rest))
	if uint64(n) > uint64(len(s.rest)-4) {
		s.bad = true
		return ""
	}
	out := s.rest[4 : 4+n]
	s.rest = s.rest[4+n:]
	return out
}

func appendSSH(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func (s *SSHSignature) hashName() string {
	if s.SHA512 {
		return "sha512"
	}
	return "sha256"
}

// Text returns the signature as a note holds it; see [ParseSSHSignature].
func (s *SSHSignature) Text() string {
	b := binary.BigEndian.AppendUint32([]byte(sshsigMagic), sshsigVersion)
	b = appendSSH(b, string(append(sshKeyPrefix(), s.Key[:]...)))
	b = appendSSH(appendSSH(appendSSH(b, NoteNamespace), ""), s.hashName())
	b = appendSSH(b, string(appendSSH(appendSSH(nil, sshEd25519), string(s.sig[:]))))
	return base64.StdEncoding.EncodeToString(b)
}

// Verify reports whether the signature is one over message.
//
// SPEC: SSHSIG || string("edgechain-note") || string("") || string(hash) || string(H(statement))
func (s *SSHSignature) Verify(message []byte) bool { return s.Key.verify(s.signed(message), s.sig) }

func (s *SSHSignature) signed(message []byte) []byte {
	b := appendSSH(appendSSH([]byte(sshsigMagic), NoteNamespace), "")
	b = appendSSH(b, s.hashName())
	if s.SHA512 {
		sum := sha512.Sum512(message)
		return appendSSH(b, string(sum[:]))
	}
	sum := sha256.Sum256(message)
	return appendSSH(b, string(sum[:]))
}

// ReadSSHSignatureFile reads the file that ssh-keygen -Y sign writes, NAME.sig.
func ReadSSHSignatureFile(b []byte) (*SSHSignature, error) {
	if len(b) > MaxSSHSignature {
		return nil, fmt.Errorf("%w: %d bytes", errSSHSig, len(b))
	}
	lines := strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")
	if n := len(lines); n < 4 || lines[0] != sshsigBegin || lines[n-2] != sshsigEnd || lines[n-1] != "" {
		return nil, fmt.Errorf("%w: %q first, %q last, and base64 between are expected", errSSHSig, sshsigBegin, sshsigEnd)
	}
	lines = lines[1 : len(lines)-2]
	for i, line := range lines {
		if line == "" || len(line) > sshsigColumns || i < len(lines)-1 && len(line) != len(lines[0]) || len(line) > len(lines[0]) {
			return nil, fmt.Errorf("%w: line %d is not as long as the others", errSSHSig, i+2)
		}
	}
	return ParseSSHSignature(strings.Join(lines, ""))
}
