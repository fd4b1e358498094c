package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"edgechain.example/lightchain"
)

// A file that was mailed may come changed in what does not count. The format has one spelling and lightchain refuses every
// other; what is undone here is undone before, and told. The bytes that come out are checked like all others.

// What can have been done to a file.
const (
	doneGzip    = "gzip"
	doneMark    = "a byte order mark"
	doneAround  = "text around it"
	doneQuoted  = "quote marks"
	doneLines   = "lines of another length"
	doneUnarmed = "base64 without its first and last line"
)

const (
	sniffed  = 512 // bytes that tell text from the rest
	pemBegin = "-----BEGIN EDGECHAIN PROOF-----"
	pemEnd   = "-----END EDGECHAIN PROOF-----"
)

// isText tells text by having no control characters: each file of the format has some among its first few bytes.
func isText(first []byte) bool {
	for _, c := range first {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' || c == 0x7f {
			return false
		}
	}
	return true
}

// unzip looks into gzip, once: no file of the format begins like it.
func (o *outcome) unzip(in *bufio.Reader) (*bufio.Reader, error) {
	if first, _ := in.Peek(2); string(first) != "\x1f\x8b" {
		return in, nil
	}
	o.undone = append(o.undone, doneGzip)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, gzipError(err)
	}
	return bufio.NewReaderSize(&unzipped{z, maxUnzipped}, 1<<16), nil
}

// maxUnzipped is how many bytes of a gzip are looked at: a few megabytes of it can be a thousand times as many, all of which
// would be hashed. Who has a true bundle of more unzips it, and sees what it is.
const maxUnzipped = 1 << 30

var errUnzipped = fmt.Errorf("unzipped it has more than %d GiB: unzip it yourself, with gunzip, and name what comes out", maxUnzipped>>30)

// unzipped tells what is wrong with the gzip from what is wrong with the disk below it, and gives so many bytes at most.
type unzipped struct {
	z    io.Reader
	left int64
}

func (u *unzipped) Read(b []byte) (int, error) {
	if u.left < 0 {
		return 0, errUnzipped
	}
	n, err := u.z.Read(b[:min(int64(len(b)), u.left+1)]) // one beyond shows that there are more
	if u.left -= int64(n); u.left < 0 {
		return n - 1, errUnzipped
	}
	return n, gzipError(err)
}

func gzipError(err error) error {
	var corrupt flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) {
		return undecoded(fmt.Errorf("damaged or cut short: %w", err))
	}
	return err
}

// checkText verifies what comes as text, which takes a third more than the bytes, the ends of its lines and what was put
// before them.
func (o *outcome) checkText(r io.Reader, expected int64) error {
	b, err := readAtMost(r, lightchain.MaxProof/2*3+1, expected)
	if err != nil {
		return err
	}
	strict, err := lightchain.DecodeText(b)
	if err == nil && bytes.HasPrefix(b, []byte(pemBegin)) {
		if err := proofAlone(strict); err != nil {
			return undecoded(err)
		}
		return o.checkBytes(strict)
	}
	first := bytes.ToLower(b[:min(len(b), sniffed<<6)])
	isMail, isPage := bytes.Contains(first, []byte("content-transfer-encoding:")), bytes.HasPrefix(first, []byte("<!doctype html"))
	mended, undone, err := mend(b)
	if err != nil {
		if isPage {
			err = fmt.Errorf("a page: open it in a browser, save the proof that came with it, and name that file (%w)", err)
		} else if isMail {
			err = fmt.Errorf("a whole mail: save its attachment, and name that file (%w)", err)
		}
		return undecoded(err)
	}
	o.undone = append(o.undone, undone...)
	return o.checkBytes(mended)
}

// mend returns the bytes that a text holds, and what it had to undo. It works within b.
func mend(b []byte) (decoded []byte, undone []string, err error) {
	if rest, found := bytes.CutPrefix(b, []byte("\ufeff")); found {
		b, undone = rest, append(undone, doneMark)
	}
	body, around, err := armoured(b)
	if err != nil {
		return nil, nil, err
	}
	undone = append(undone, around...)
	body, quoted, err := unquote(body)
	if err != nil {
		return nil, nil, err
	}
	if quoted {
		undone = append(undone, doneQuoted)
	}
	if len(undone) == 0 {
		undone = append(undone, doneLines)
	}
	if decoded, err = unbase64(body); err != nil {
		return nil, nil, err
	}
	if len(decoded) == 0 || decoded[0]&0xe0 != 0xa0 && !lightchain.IsBundle(decoded) { // a map, or a bundle's byte string
		return nil, nil, errNoFile
	}
	if !slices.Contains(undone, doneUnarmed) {
		err = proofAlone(decoded)
	}
	return decoded, undone, err
}

// proofAlone refuses what else stands between the lines of a proof.
//
// SPEC: Bundle and fork have no text form
func proofAlone(b []byte) error {
	if lightchain.IsBundle(b) || lightchain.IsFork(b) {
		return fmt.Errorf("a bundle or evidence of a fork behind the line %q: these have no text form", pemBegin)
	}
	return nil
}

var errNoFile = fmt.Errorf("a text without the line %q that is no base64 of a proof, a bundle or a fork either", pemBegin)

// armoured returns what stands between the two lines of PEM, or all of a text that has none.
func armoured(b []byte) (body []byte, undone []string, err error) {
	before, rest, found := bytes.Cut(b, []byte(pemBegin))
	if !found {
		if bytes.Contains(b, []byte("-----BEGIN ")) {
			return nil, nil, fmt.Errorf("a text with a PEM block that is not labelled %q", pemBegin)
		}
		return b, []string{doneUnarmed}, nil
	}
	body, after, found := bytes.Cut(rest, []byte(pemEnd))
	switch {
	case !found:
		return nil, nil, fmt.Errorf("a text that is cut short: the line %q is missing", pemEnd)
	case bytes.Contains(after, []byte(pemBegin)):
		return nil, nil, errors.New("a text with several proofs: save each to a file of its own")
	}
	const white = "\ufeff\u00a0 \t\r\n\f>|"
	if len(bytes.Trim(before, white))+len(bytes.Trim(after, white)) > 0 {
		undone = append(undone, doneAround)
	}
	return body, undone, nil
}

// unquote takes away what is no base64: white space anywhere, and quote marks at the beginning of lines. It works within b.
func unquote(b []byte) (clean []byte, quoted bool, err error) {
	clean = b[:0]
	begun, line := false, 1 // base64 has begun on this line
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\n':
			begun, line = false, line+1
		case c == ' ' || c == '\t' || c == '\r' || c == '\f':
		case c == 0xc2 && i+1 < len(b) && b[i+1] == 0xa0: // a space that no line is to be broken at
			i++
		case (c == '>' || c == '|') && !begun:
			quoted = true
		case c == '+' || c == '/' || c == '=' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
			clean, begun = append(clean, c), true
		default:
			return nil, false, fmt.Errorf("%w: in its line %d stands what is no base64", errNoBase64, line)
		}
	}
	return clean, quoted, nil
}

var errNoBase64 = errors.New("a text that was changed or cut short, or is none of a proof")

// unbase64 decodes within b, a few characters at a time.
func unbase64(b []byte) ([]byte, error) {
	const step = 4096 // characters
	var decoded [step / 4 * 3]byte
	out := 0
	for at := 0; at < len(b); at += step {
		part := b[at:min(at+step, len(b))]
		n, err := base64.StdEncoding.Strict().Decode(decoded[:], part)
		if err != nil || n < len(decoded) && at+step < len(b) { // it is padded, and goes on
			return nil, fmt.Errorf("%w: its base64 cannot be decoded", errNoBase64)
		}
		out += copy(b[out:], decoded[:n])
	}
	return b[:out], nil
}
