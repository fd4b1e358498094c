package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// writeArchive writes what the Debian package holds, for systems without dpkg, as a .tar.gz, and returns its name. Its
// one folder is named like it; in it files lie as below /, so that `tar --strip-components=1 -C /` installs them.
func writeArchive(dist string, r *release, p *product, t target, contents []file) (name string, err error) {
	base := fmt.Sprintf("%s-%s-linux-%s", p.name, strings.TrimPrefix(r.version, "v"), t.debian)
	name = base + ".tar.gz"
	out, err := os.Create(filepath.Join(dist, name))
	if err != nil {
		return "", err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	// Level 9 takes more than twice as long, and saves less than a hundredth.
	compressed, err := gzip.NewWriterLevel(out, 6)
	if err != nil {
		return "", err
	}
	w := tar.NewWriter(compressed)
	for _, f := range contents {
		if debianOnly(f.path) {
			continue
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(base, f.path), Mode: int64(f.mode), Size: int64(len(f.data)),
			ModTime: r.date, Uname: "root", Gname: "root", Format: tar.FormatGNU,
		}
		if f.folder {
			header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		}
		if err := w.WriteHeader(header); err != nil {
			return "", err
		}
		if _, err := w.Write(f.data); err != nil {
			return "", err
		}
	}
	return name, errors.Join(w.Close(), compressed.Close())
}

// debianOnly reports whether a file means nothing outside Debian.
func debianOnly(path string) bool {
	return strings.HasPrefix(path, "/usr/share/lintian/") || strings.HasSuffix(path, "/changelog.Debian.gz")
}

const (
	sumsFile = "SHA256SUMS"

	// namespace is what a signature is for, in the words of `ssh-keygen -Y`: one made for something else, with the same
	// key, is refused.
	namespace = "edgechain-release"
)

// writeSums writes the SHA-256 sums of all files in the folder, as sha256sum does.
func writeSums(dist string) error {
	entries, err := os.ReadDir(dist) // sorted
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dist, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), entry.Name())
	}
	return os.WriteFile(filepath.Join(dist, sumsFile), []byte(sums.String()), 0o644)
}

// sign signs the sums as SHA256SUMS.sig. ssh-keygen asks for a passphrase if the key has one.
func sign(ctx context.Context, dist, key string) error {
	key, err := filepath.Abs(key)
	if err != nil {
		return err
	}
	sums := filepath.Join(dist, sumsFile)
	os.Remove(sums + ".sig") // ssh-keygen asks before it writes over one
	keygen := command(ctx, "ssh-keygen", "-Y", "sign", "-n", namespace, "-f", key, sums)
	keygen.Env = os.Environ() // the agent's socket
	keygen.Stdin, keygen.Stdout, keygen.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := keygen.Run(); err != nil {
		return fmt.Errorf("signing %s: %w", sumsFile, err)
	}
	return nil
}
