package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxPassphrase bounds a passphrase in bytes; a longer one is a wrong file.
const maxPassphrase = 4096

const passphraseForms = "file:PATH, env:NAME or credential:NAME"

// Passphrase says where a passphrase is, never what it is, so it may stand in a configuration and in a log. Its zero
// value says that there is none. In text it is one of
//
//	file:PATH         a file that only its owner may read
//	env:NAME          an environment variable; the process's children and its owner's other programs can see it
//	credential:NAME   a systemd credential, the file NAME in $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=)
type Passphrase struct {
	kind, name string
	lookupEnv  func(string) (string, bool)
}

// ParsePassphrase reads the text form. Empty text is the zero value.
func ParsePassphrase(text string) (Passphrase, error) {
	if text == "" {
		return Passphrase{}, nil
	}
	kind, name, _ := strings.Cut(text, ":")
	switch kind {
	case "file":
		if name == "" {
			return Passphrase{}, fmt.Errorf("passphrase %q: file: wants a path", text)
		}
	case "env":
		if name == "" || strings.ContainsAny(name, "= \x00") {
			return Passphrase{}, fmt.Errorf("passphrase %q: env: wants the name of a variable", text)
		}
	case "credential":
		// systemd's own rule: a valid file name, so that it cannot lead out of the folder.
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\:\x00") {
			return Passphrase{}, fmt.Errorf("passphrase %q: credential: wants the name of a credential", text)
		}
	default:
		// text is not repeated: it may be the passphrase itself, written where its place belongs.
		return Passphrase{}, errors.New("a passphrase is given as " + passphraseForms)
	}
	return Passphrase{kind: kind, name: name}, nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] with [ParsePassphrase].
func (p *Passphrase) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePassphrase(string(text))
	return err
}

// MarshalText implements [encoding.TextMarshaler].
func (p Passphrase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String returns the text form: the place, not the passphrase.
func (p Passphrase) String() string {
	if !p.IsSet() {
		return ""
	}
	return p.kind + ":" + p.name
}

// IsSet reports whether p names a place.
func (p Passphrase) IsSet() bool { return p.kind != "" }

// File returns the path of the file that holds the passphrase, "" if it is not in a file that has one.
func (p Passphrase) File() string {
	if p.kind == "file" {
		return p.name
	}
	return ""
}

// WithEnv returns p with its environment, for env: and for $CREDENTIALS_DIRECTORY, read by lookup in place of
// [os.LookupEnv].
func (p Passphrase) WithEnv(lookup func(string) (string, bool)) Passphrase {
	p.lookupEnv = lookup
	return p
}

// Read returns the passphrase, without one line break at its end. It fails with [ErrPassphraseMissing] if p names no
// place, if nothing is there, or if what is there is empty.
func (p Passphrase) Read() ([]byte, error) {
	text, err := p.read()
	if err != nil {
		return nil, err
	}
	// Editors and echo add a line break. More than one, or spaces, are somebody's will.
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	if len(text) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", ErrPassphraseMissing, p)
	}
	return text, nil
}

func (p Passphrase) read() ([]byte, error) {
	lookup := p.lookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	switch p.kind {
	case "file":
		b, err := readPrivate(p.name, maxPassphrase)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: passphrase file %w", ErrPassphraseMissing, err)
		}
		if err != nil {
			return nil, fmt.Errorf("passphrase file %w", err)
		}
		return b, nil
	case "env":
		value, ok := lookup(p.name)
		if !ok {
			return nil, fmt.Errorf("%w: the environment has no variable %s", ErrPassphraseMissing, p.name)
		}
		return []byte(value), nil
	case "credential":
		dir, ok := lookup("CREDENTIALS_DIRECTORY")
		if !ok || dir == "" {
			return nil, fmt.Errorf("%w: credential %s: $CREDENTIALS_DIRECTORY is not set; the unit needs LoadCredential=%s:PATH",
				ErrPassphraseMissing, p.name, p.name)
		}
		return readCredential(filepath.Join(dir, p.name))
	}
	return nil, fmt.Errorf("%w: none is configured", ErrPassphraseMissing)
}

// readCredential reads a file that systemd guards. Its mode is not looked at: where systemd grants the service its
// credential by an access list, the list's mask shows up as a right of the group, which it is not.
func readCredential(path string) ([]byte, error) {
	b, err := readAny(path, maxPassphrase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: credential %s: %w", ErrPassphraseMissing, path, reason(err))
	}
	if err != nil {
		return nil, fmt.Errorf("credential %s: %w", path, reason(err))
	}
	if len(b) > maxPassphrase {
		return nil, fmt.Errorf("credential %s is larger than %d bytes", path, maxPassphrase)
	}
	return b, nil
}

// readAny reads a regular file, whoever may read it, and no more than one byte beyond the limit.
func readAny(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	return io.ReadAll(io.LimitReader(f, limit+1))
}
