package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"edgechain.example/cmd/internal/verifypage"
	"edgechain.example/lightchain"
)

// Whatever mail programs do to the form of a proof, the same bytes come out, and what was done is told.
func TestWhatMailDoesIsUndone(t *testing.T) {
	proof, _ := proofOf(t, lightchain.Entry{Payload: []byte("20.5")})
	pem := string(lightchain.EncodeText(proof))
	lines := strings.SplitAfter(strings.TrimSuffix(pem, "\n"), "\n")
	base := base64.StdEncoding.EncodeToString(proof)
	var wrapped strings.Builder
	for part := range slices.Chunk([]byte(base), 40) {
		fmt.Fprintf(&wrapped, "%s\r\n", part)
	}
	for about, c := range map[string]struct {
		text string
		want []string
	}{
		"quoted":                  {"> " + strings.Join(lines, "> "), []string{doneQuoted}},
		"quoted twice, no blanks": {">>" + strings.Join(lines, ">>"), []string{doneQuoted}},
		"in the middle of a mail": {"From: a\n\n" + pem + "\nregards", []string{doneAround}},
		"wrapped anew":            {pemBegin + "\n" + wrapped.String() + pemEnd + "\n", []string{doneLines}},
		"on one line":             {pemBegin + " " + base + " " + pemEnd, []string{doneLines}},
		"indented":                {"    " + strings.Join(lines, "    "), []string{doneLines}},
		"blank lines":             {strings.Join(lines, "\n\n"), []string{doneLines}},
		"without its last LF":     {strings.TrimSuffix(pem, "\n"), []string{doneLines}},
		"blanks of a web page":    {strings.ReplaceAll(pem, "\n", "\u00a0\n"), []string{doneLines}},
		"a mark at its beginning": {"\ufeff" + pem, []string{doneMark}},
		"base64 alone":            {base, []string{doneUnarmed}},
		"base64 alone, quoted":    {"> " + strings.ReplaceAll(wrapped.String(), "\n", "\n> "), []string{doneUnarmed, doneQuoted}},
	} {
		got, undone, err := mend([]byte(c.text))
		if err != nil || !bytes.Equal(got, proof) || !slices.Equal(undone, c.want) {
			t.Errorf("%s: undone %q, want %q (%v)", about, undone, c.want, err)
		}
		if !isText([]byte(c.text)[:min(len(c.text), sniffed)]) {
			t.Errorf("%s: not taken for text", about)
		}
	}
}

// Nothing is guessed: what was changed in more than its form, or is none of a file, is refused.
func TestWhatIsNoMailedFileIsRefused(t *testing.T) {
	proof, _ := proofOf(t, lightchain.Entry{})
	pem := string(lightchain.EncodeText(proof))
	for about, text := range map[string]string{
		"a character more":       strings.Replace(pem, "A", "AA", 1),
		"a character less":       strings.Replace(pem, "\n", "", 1)[:len(pemBegin)] + pem[len(pemBegin)+2:],
		"a sign within a line":   pem[:len(pemBegin)+10] + ">" + pem[len(pemBegin)+10:],
		"padding in the middle":  pemBegin + "\nAA==" + pem[len(pemBegin)+1:],
		"two proofs":             pem + pem,
		"no end":                 strings.TrimSuffix(pem, pemEnd+"\n"),
		"another label":          "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"prose":                  "not evidence of anything",
		"prose that is base64":   "evidence",
		"nothing in between":     pemBegin + "\n" + pemEnd + "\n",
		"the marks of a mail":    ">\n>\n",
		"a trust file":           "chain aaaa\n",
		"JSON of another's":      `{"a":1}`,
		"base64 of another file": base64.StdEncoding.EncodeToString([]byte{0, 1, 2}),
	} {
		if got, _, err := mend([]byte(text)); err == nil {
			t.Errorf("%s: %x", about, got)
		}
	}
}

// Bundle and fork have no text form: behind the lines of a proof neither verifies, mended or not. What a mail program makes base64 of
// does.
func TestAProofAloneHasATextForm(t *testing.T) {
	for _, v := range vectorFiles(t, "proof", "bundle", "fork") {
		if v.Expect != "ok" || bytes.HasPrefix(v.Bytes, []byte("-----BEGIN ")) {
			continue
		}
		text := string(lightchain.EncodeText(v.Bytes))
		trust := writeTemp(t, []byte(v.Trust))
		for about, c := range map[string]struct{ text, without string }{
			"strict":          {text, ""},
			"quoted":          {"> " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n> "), ""},
			"an attachment's": {base64.StdEncoding.EncodeToString(v.Bytes), "no lines"},
		} {
			var whole, out bytes.Buffer
			want := run([]string{"--trust", trust, writeTemp(t, v.Bytes)}, nil, &whole, &whole)
			if v.Kind != "proof" && c.without == "" {
				want = exitVerification
			}
			if code := run([]string{"--trust", trust, writeTemp(t, []byte(c.text))}, nil, &out, &out); code != want {
				t.Errorf("%s, %s: exit code %d, want %d\n%s", v.name, about, code, want, &out)
			}
		}
	}
}

// A mail that was saved with its attachment is none, and what to do is said.
func TestAWholeMailIsToldFromItsAttachment(t *testing.T) {
	proof, chain := proofOf(t, lightchain.Entry{})
	mail := "From: a\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString(proof) + "\n"
	for text, says := range map[string]bool{mail: true, "not evidence of anything": false} {
		var out bytes.Buffer
		if code := run([]string{"--chain", chain, writeTemp(t, []byte(text))}, nil, &out, &out); code != exitVerification || strings.Contains(out.String(), "save its attachment") != says {
			t.Errorf("exit code %d\n%s", code, &out)
		}
	}
}

// A page that came with a proof is none either.
func TestAPageIsToldFromItsProof(t *testing.T) {
	proof, chain := proofOf(t, lightchain.Entry{})
	page, err := verifypage.Enclose("aaaaaaaa-0.edgeproof", proof)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run([]string{"--chain", chain, writeTemp(t, page)}, nil, &out, &out); code != exitVerification || !strings.Contains(out.String(), "a page: open it in a browser, save the proof") {
		t.Errorf("exit code %d\n%s", code, &out)
	}
}

// Files of the format are never taken for text, whatever stands in them.
func TestFilesAreToldFromText(t *testing.T) {
	for _, v := range vectorFiles(t, "proof", "bundle", "fork", "pair") {
		if strings.HasPrefix(v.Expect, "fail") || len(v.Bytes) == 0 || bytes.HasPrefix(v.Bytes, []byte("-----BEGIN ")) {
			continue
		}
		if isText(v.Bytes[:min(len(v.Bytes), sniffed)]) {
			t.Errorf("%s is taken for text", v.name)
		}
	}
}

// No text makes the reader of mailed files fail but with an error, and none comes out longer than it went in.
func FuzzMend(f *testing.F) {
	f.Add([]byte(pemBegin + "\n> AAAA\n" + pemEnd))
	f.Add([]byte("\ufeff> pQEB"))
	f.Add([]byte("WQEB\u00a0=="))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, undone, err := mend(bytes.Clone(text))
		if err == nil && (len(got) >= len(text) || len(got) == 0 || len(undone) == 0) {
			t.Errorf("%q becomes %x by %q", text, got, undone)
		}
	})
}

// A gzip that holds more than is looked at is not called damaged: nothing is known of it.
func TestAGzipIsLookedAtUpToALimit(t *testing.T) {
	for _, c := range []struct {
		has, most int64
		err       error
	}{{0, 0, nil}, {10, 10, nil}, {11, 10, errUnzipped}, {1 << 20, 10, errUnzipped}, {1 << 20, 1 << 20, nil}} {
		read := int64(0)
		in := io.TeeReader(io.LimitReader(zeros{}, c.has), counter{&read})
		b, err := io.ReadAll(&unzipped{in, c.most})
		if want := min(c.has, c.most); int64(len(b)) != want || !errors.Is(err, c.err) || read > want+1 {
			t.Errorf("of %d bytes, %d at most: %d (%v), and %d were unzipped", c.has, c.most, len(b), err, read)
		}
	}
	o := outcome{err: errUnzipped}
	if o.verdict() != unreadable || !strings.Contains(o.explain(), "unzip it yourself") {
		t.Errorf("%s: %s", o.verdict(), o.explain())
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type counter struct{ n *int64 }

func (c counter) Write(b []byte) (int, error) { *c.n += int64(len(b)); return len(b), nil }
