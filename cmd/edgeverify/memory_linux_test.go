package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
)

// proofOf begins a chain and seals one block of one entry; it returns the proof.
func proofOf(t *testing.T, e lightchain.Entry) (proof []byte, chain string) {
	t.Helper()
	return proofOfBytes(t, encoded(t, e))
}

func encoded(t *testing.T, e lightchain.Entry) []byte {
	t.Helper()
	if e.Source == "" {
		e.Source = "broker:-/x:t"
	}
	entry, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// proofOfBytes seals whatever an entry is said to be.
func proofOfBytes(t *testing.T, entry []byte) (proof []byte, chain string) {
	t.Helper()
	signer, genesis, tip := beginChain(t)
	header, err := tip.Header(lightchain.LeafHash(entry), 1, 0, lightchain.Clock{}).Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	p := &lightchain.Proof{Entry: entry, EntryPath: lightchain.Path{Size: 1}, Header: header, Keys: []*lightchain.SignedHeader{genesis}}
	if proof, err = p.Append(nil); err != nil {
		t.Fatal(err)
	}
	return proof, tip.Chain.String()
}

// bundleOf begins a chain and seals one block of so many entries.
func bundleOf(t *testing.T, n int, e lightchain.Entry) (bundle []byte) {
	t.Helper()
	return bundleOfBytes(t, n, encoded(t, e))
}

func bundleOfBytes(t *testing.T, n int, entry []byte) (bundle []byte) {
	t.Helper()
	signer, genesis, tip := beginChain(t)
	var block lightchain.CompactRange
	for range n {
		block.Append(lightchain.LeafHash(entry), nil)
	}
	header, err := tip.Header(block.Root(), uint64(n), 0, lightchain.Clock{}).Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	if bundle, err = lightchain.AppendBundleStart(nil, []*lightchain.SignedHeader{genesis}, []lightchain.Hash{genesis.Hash()}); err != nil {
		t.Fatal(err)
	}
	bundle = lightchain.AppendBundleBlock(bundle, header.Bytes())
	for range n {
		bundle = lightchain.AppendBundleEntry(bundle, entry)
	}
	if bundle, err = lightchain.AppendBundleEnd(bundle, header, nil); err != nil {
		t.Fatal(err)
	}
	return bundle
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Whatever a file claims, it is judged within bounded memory: the program may run where the auditor happens to be.
func TestMemoryIsBoundedWhateverAFileHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and starts the program")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "edgeverify")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	small, chain := proofOf(t, lightchain.Entry{Payload: []byte(`{"temperature":20.5}`), Decoder: "json/2", Readings: []lightchain.Reading{{Value: lightchain.Float(20.5)}}})
	large, largeChain := proofOf(t, lightchain.Entry{Payload: bytes.Repeat([]byte("0123456789abcdef"), (lightchain.MaxEntry-64)/16)})
	// To be read again: as JSON of one string, all of it escaped.
	escaped := slices.Concat([]byte(`{"a":"`), bytes.Repeat([]byte(`\u0061`), (lightchain.MaxEntry-128)/6), []byte(`"}`))
	again, _ := proofOf(t, lightchain.Entry{Payload: escaped, Decoder: "json/2", Readings: []lightchain.Reading{{Value: lightchain.Int(1)}}})

	// The most that an attachment can have, and JSON of nothing but members' parts.
	content := make([]byte, (lightchain.MaxEntry-1024)/4*3)
	attached, _ := proofOf(t, lightchain.Entry{Source: lightchain.SourceAttach, Payload: fmt.Appendf(nil, `{"who":"x","when":"2026-11-28T20:41:48Z","name":"n","media_type":"m","size":%d,"sha256":"%x","data":"%s"}`,
		len(content), sha256.Sum256(content), base64.StdEncoding.EncodeToString(content))})
	listed, _ := proofOf(t, lightchain.Entry{Source: lightchain.SourceNote, Payload: slices.Concat([]byte(`{"entries":[`), bytes.Repeat([]byte("[],"), (lightchain.MaxEntry-128)/3), []byte(`[]]}`))})
	spoken, _ := proofOf(t, lightchain.Entry{Source: lightchain.SourceNote, Payload: slices.Concat([]byte(`{"text":"`), bytes.Repeat([]byte(`\u0061`), (lightchain.MaxEntry-128)/6), []byte(`"}`))})

	// Where a word belongs, the longest text that there is room for, all of which would be escaped.
	worded := slices.Concat([]byte("\x87\x50"), make([]byte, 16), []byte("\x00\x60\x00\x40\x7a\x00\xff\xff\xd0"), bytes.Repeat([]byte("\x01"), 0xffffd0), []byte("\x80"))
	decoder, _ := proofOfBytes(t, worded)
	kind := slices.Concat([]byte("\xa6"), small[1:], []byte("\x08\x81\x83\x7a\x01\xff\xf0\x00"), bytes.Repeat([]byte("\x01"), 0x1fff000), []byte("\x00\x40"))

	long := lightchain.Entry{Source: "mqtt:x:" + strings.Repeat("0/", 30_000), Payload: bytes.Repeat([]byte("a b=1\n"), 1024), Decoder: "influx/2", Readings: []lightchain.Reading{{Value: lightchain.Int(1)}}}
	lines, _ := proofOf(t, long)
	long.Source += strings.Repeat("0/", 4<<20)
	longer, _ := proofOf(t, long)

	// Characters that take five or six others each when they are told.
	controls := func(n int) string { return strings.Repeat("\x01", n) }
	steering, _ := proofOf(t, lightchain.Entry{Readings: []lightchain.Reading{{Value: lightchain.Text(controls(lightchain.MaxEntry - 128))}}})
	source, _ := proofOf(t, lightchain.Entry{Source: controls(lightchain.MaxEntry - 128)})
	all := make([]lightchain.Reading, lightchain.MaxReadings)
	for i := range all {
		all[i] = lightchain.Reading{Name: controls(190), Timed: true, Derived: true, Quality: 7, Meaning: &lightchain.Hash{byte(i), byte(i >> 8)}}
	}
	readings, _ := proofOf(t, lightchain.Entry{Readings: all})

	const size = lightchain.MaxProof
	fill := func(head string, with string) []byte {
		return append([]byte(head), bytes.Repeat([]byte(with), (size-len(head))/len(with))...)
	}
	// proofHead is a proof up to the payload's place in its entry; forkHead a fork up to its first header.
	proofHead, forkHead := "\xa5\x01\x01\x02", "\xa3\x01\x01\x02"
	items := func(item []byte) (b []byte) {
		for len(b) < size {
			b = binary.BigEndian.AppendUint32(append(b, 0x5a), uint32(len(item)))
			b = append(b, item...)
		}
		return b
	}
	for name, file := range map[string][]byte{
		"nested empty maps":                   fill("", "\xa1\x01"),
		"empty maps in an array":              fill(proofHead+"\x5a\x00\xff\xff\xff\x87\x50", "\xa0"),
		"an entry of empty readings":          fill(proofHead+"\x5a\x00\xff\xff\xf0\x87\x50"+string(make([]byte, 16))+"\x00\x60\x00\x40\x60\x9a\x00\x00\xff\xff", "\x86\x60\x60\x60\x00\x00\x00"),
		"an entry that claims 2^63 readings":  fill(proofHead+"\x5a\x00\xff\xff\xf0\x87\x50"+string(make([]byte, 16))+"\x00\x60\x00\x40\x60\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "\x86"),
		"a fork of paths":                     fill(forkHead+"\x9a\x00\x00\x04\x00", "\x83\x00\x00\x9a\x00\x00\xff\xff"),
		"a fork of nothing":                   fill("\xa3", "\xa0"),
		"zeros":                               fill("", "\x00"),
		"ones":                                fill("", "\xff"),
		"a bundle of large items":             items(append([]byte{0x82, 0x02, 0x5a, 0x00, 0xff, 0xff, 0xff}, make([]byte, 0xffffff)...)),
		"a bundle of small items":             items([]byte{0x82, 0x02, 0x40}),
		"the largest entry":                   large,
		"the largest entry, read again":       again,
		"the largest attachment":              attached,
		"a note of stretches of nothing":      listed,
		"a note of nothing but escapes":       spoken,
		"the largest entry in PEM":            lightchain.EncodeText(large),
		"PEM that never ends":                 fill("-----BEGIN EDGECHAIN PROOF-----\n", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"),
		"PEM of short lines":                  fill("-----BEGIN EDGECHAIN PROOF-----\n", "AAAA\n"),
		"the largest entry in gzip":           zipped(t, large),
		"gzip of a bundle without end":        zipped(t, items([]byte{0x82, 0x02, 0x40})),
		"gzip of far too many zeros":          zipped(t, make([]byte, 256<<20)),
		"gzip of far too much text":           zipped(t, bytes.Repeat([]byte("AAAA"), 64<<20)),
		"the largest entry, quoted":           bytes.ReplaceAll(lightchain.EncodeText(large), []byte("\n"), []byte("\n> ")),
		"a bundle of small entries":           bundleOf(t, 300_000, lightchain.Entry{Payload: []byte("1"), Readings: []lightchain.Reading{{Value: lightchain.Int(1)}}}),
		"a bundle of entries that have room":  bundleOf(t, 7, lightchain.Entry{Payload: make([]byte, 1<<20)}),
		"a bundle of the largest entries":     bundleOf(t, 3, lightchain.Entry{Payload: make([]byte, lightchain.MaxEntry-64)}),
		"a decoder of nothing but escapes":    decoder,
		"a bundle with such a decoder":        bundleOfBytes(t, 1, worded),
		"a kind of evidence from outside":     kind,
		"lines under a long topic":            lines,
		"lines under a topic that is none":    longer,
		"a value of control characters":       steering,
		"a source of control characters":      source,
		"readings named by such":              readings,
		"a bundle of values of such":          bundleOf(t, 1, lightchain.Entry{Readings: []lightchain.Reading{{Value: lightchain.Text(controls(7 << 20))}}}),
		"a bundle of very many readings":      bundleOf(t, 2, lightchain.Entry{Readings: all[:20_000]}),
		"the largest entry, and bytes behind": append(bytes.Clone(large), make([]byte, size-len(large))...),
	} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, file, 0o666); err != nil {
			t.Fatal(err)
		}
		for _, options := range [][]string{{"--readings"}, {"--output=json"}} {
			if peak := peakOf(t, program, largeChain, path, options...); peak >= 128<<20 {
				t.Errorf("%s, %v: %d bytes of memory at its peak", name, options, peak)
			}
		}
	}
	path := filepath.Join(dir, "small")
	if err := os.WriteFile(path, small, 0o666); err != nil {
		t.Fatal(err)
	}
	if peak := peakOf(t, program, chain, path); peak >= 16<<20 {
		t.Errorf("a proof of %d bytes takes %d bytes of memory", len(small), peak)
	}
}

// peakOf has the program judge a file, tell all of it, and then wait for another one on its standard input, looks how much
// memory it has had resident by then, and ends it. Verified or not, it must not have ended otherwise.
func peakOf(t *testing.T, program, chain, file string, options ...string) int64 {
	t.Helper()
	cmd := exec.Command(program, append(options, "--chain", chain, file, "-")...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := bufio.NewReader(stdout)
	if !slices.Contains(options, "--output=json") {
		if verdict, err := told.ReadString('\n'); err != nil || !strings.HasSuffix(verdict, "VERIFIED\n") {
			t.Errorf("%q (%v)", verdict, err)
		}
	}
	go io.Copy(io.Discard, told)
	// More than the pipe has room for: when it is written, the program has begun to read it, and is through with the file.
	if _, err := stdin.Write(make([]byte, 256<<10)); err != nil {
		t.Error(err)
	}
	peak := testenv.PeakResident(t, cmd.Process.Pid)
	stdin.Close()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitVerification { // zeros came on its standard input
		t.Errorf("exit code %d", code)
	}
	return peak
}
