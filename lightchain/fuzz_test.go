package lightchain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// seed adds the published vectors of one kind to the corpus.
func seed(f *testing.F, kind string) {
	files, err := filepath.Glob(vectorFolder + "/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			f.Fatal(err)
		}
		if v.Kind == kind {
			f.Add(append(v.Bytes, v.Text...))
		}
	}
}

// fuzzCodec claims, of a decoder: it never panics, and what it accepts encodes back to the same bytes.
func fuzzCodec[T any](f *testing.F, kind string, decode func([]byte) (T, error), encode func(T) ([]byte, error)) {
	seed(f, kind)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(v)
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("accepts %x\nencodes %x (%v)", b, again, err)
		}
	})
}

// What only looks at an entry takes the same ones as what reads it, and finds the same notes.
func FuzzDecodeEntry(f *testing.F) {
	fuzzCodec(f, "entry", func(b []byte) (Entry, error) {
		e, err := DecodeEntry(b)
		note, looked := checkEntry(b)
		if (err == nil) != (looked == nil) || looked != nil && err.Error() != looked.Error() {
			panic(fmt.Sprintf("read: %v, looked at: %v", err, looked))
		}
		if err == nil && (note != nil) != IsNote(e.Source) || note != nil && !bytes.Equal(note.Payload, e.Payload) {
			panic(fmt.Sprintf("a note from %q: %+v", e.Source, note))
		}
		return e, err
	}, func(e Entry) ([]byte, error) { return e.Append(nil) })
}

func FuzzDecodeHeader(f *testing.F) {
	fuzzCodec(f, "header", DecodeHeader, func(h Header) ([]byte, error) { return h.Append(nil) })
}

func FuzzDecodeSignedHeader(f *testing.F) {
	fuzzCodec(f, "signed header", DecodeSignedHeader, (*SignedHeader).Encode)
}

func FuzzDecodeReceipt(f *testing.F) {
	fuzzCodec(f, "receipt", DecodeReceipt, func(r Receipt) ([]byte, error) { return r.Append(nil) })
}

func FuzzDecodeProof(f *testing.F) {
	fuzzCodec(f, "proof", DecodeProof, func(p *Proof) ([]byte, error) { return p.Append(nil) })
}

// A trust file has many spellings; what one says must survive being written and read again.
func FuzzParseTrust(f *testing.F) {
	seed(f, "trust")
	f.Fuzz(func(t *testing.T, b []byte) {
		trust, err := ParseTrust(b)
		if err != nil {
			return
		}
		text := trust.Format()
		again, err := ParseTrust(text)
		if err != nil || !bytes.Equal(again.Format(), text) {
			t.Errorf("%q becomes %q (%v)", b, text, err)
		}
	})
}

func FuzzDecodeText(f *testing.F) {
	seed(f, "text")
	f.Fuzz(func(t *testing.T, b []byte) {
		inside, err := DecodeText(b)
		if err != nil || bytes.Equal(inside, b) {
			return
		}
		if again := EncodeText(inside); !bytes.Equal(again, bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))) {
			t.Errorf("%q has two spellings", inside)
		}
	})
}
