// Package verifypage holds the verifier for browsers, one file of HTML that needs nothing else, and puts a proof into it.
//
// The page is built from build/page, where its sources and its tests are; a test there holds that it is what they make. The package
// knows nothing of what a proof is.
package verifypage

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
)

//go:embed verify.html
var page []byte

// place is where a proof stands in the page: once, before what the page runs. What stands there is not run.
const place = "<!--enclosed-->"

// What stands around the proof; the page looks for it in this spelling.
const (
	begin = `<script type="application/octet-stream" id="enclosed" data-name="`
	named = `">`
	end   = `</script>`
)

// Enclose returns the page with a proof in it, under a name that has letters, digits, hyphens and dots alone.
func Enclose(name string, proof []byte) ([]byte, error) {
	before, after, found := bytes.Cut(page, []byte(place))
	if !found {
		return nil, fmt.Errorf("the page has no place %s", place)
	}
	text := base64.StdEncoding.EncodeToString(proof)
	return fmt.Appendf(nil, "%s%s%s%s%s%s%s", before, begin, name, named, text, end, after), nil
}

// Enclosed returns the proof in a page that [Enclose] made, now or in an earlier version.
func Enclosed(html []byte) (proof []byte, found bool) {
	_, rest, found := bytes.Cut(html, []byte(begin))
	if !found {
		return nil, false
	}
	_, rest, found = bytes.Cut(rest, []byte(named))
	if !found {
		return nil, false
	}
	text, _, found := bytes.Cut(rest, []byte(end))
	if !found {
		return nil, false
	}
	proof, err := base64.StdEncoding.Strict().DecodeString(string(text))
	return proof, err == nil
}
