package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
)

// noteFlags is what a person says beside the text, and how it is signed.
type noteFlags struct {
	who, reason, meaning string
	entries, blocks      []string
	toSign, signed, key  string
}

func (f *noteFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.who, "who", "", "who says it (default: the name of the user who runs this)")
	flags.StringSliceVar(&f.entries, "entry", nil, "the `NUMBER` of an entry that it is about, or two with a hyphen between; may be repeated")
	flags.StringSliceVar(&f.blocks, "block", nil, "the `HEIGHT` of a block that it is about, or two with a hyphen between; may be repeated")
	flags.StringVar(&f.reason, "reason", "", "why it is said, in one line")
	flags.StringVar(&f.meaning, "meaning", "", "what the signature means: approved, reviewed, …")
	flags.StringVar(&f.key, "key", "", "sign it with this OpenSSH key, a `FILE`, by calling ssh-keygen")
	flags.StringVar(&f.toSign, "to-sign", "", "record nothing, and write to a new `FILE` what is to be signed")
	flags.StringVar(&f.signed, "signed", "", "record what stands in this `FILE`, signed in FILE.sig; with what was written by --to-sign")
	c.MarkFlagsMutuallyExclusive("key", "to-sign", "signed")
	for _, said := range []string{"who", "entry", "block", "reason", "meaning"} {
		c.MarkFlagsMutuallyExclusive("signed", said)
	}
}

const howSigned = `
It names the newest header of the chain by its hash, so that nothing else can come to stand under the numbers that it names;
for an entry whose block is not sealed yet there is none, and the command says so.

Signed with your own OpenSSH key (Ed25519), it is your word, which the gateway cannot invent: who verifies has a line
"person NAME ssh-ed25519 …" in the trust file. With the key at hand, --key FILE has ssh-keygen sign it. Where the key is on
another machine:

    edgeagent %[1]s … --to-sign words          # read it: this is what you sign
    ssh-keygen -Y sign -n edgechain-note -f ~/.ssh/id_ed25519 words
    edgeagent %[1]s%[2]s --signed words           # with words.sig beside it`

func newNote() *cobra.Command {
	c := &cobra.Command{
		Use:     "note [TEXT]",
		GroupID: "gateway",
		Short:   "Let the running agent record what you say of what it recorded",
		Long: `note records what a person says of the chain: that a sensor was recalibrated, that a batch is approved, why a value is wrong.
It changes nothing that was recorded. It is an entry of its own, agent:note, and says who handed it to the agent.
` + fmt.Sprintf(howSigned, "note", ""),
		Example: `  edgeagent note --entry 1042-1047 --reason "press 7 was open" "The values of 08:00 to 08:10 are of the room."
  edgeagent note --block 912-955 --who "A. Berger, QA" --meaning approved --key ~/.ssh/id_ed25519`,
		Args: command.Args(cobra.MaximumNArgs(1)),
	}
	var f noteFlags
	f.add(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		note := &lightchain.Note{}
		if len(args) == 1 {
			note.Text = args[0]
		}
		if f.signed == "" && note.Text == "" && f.reason == "" && f.meaning == "" {
			return command.Failf(command.ExitUsage, "what is to be noted? Give a text, --reason or --meaning")
		}
		if f.signed != "" && note.Text != "" {
			return command.Failf(command.ExitUsage, "--signed FILE holds the text already")
		}
		return f.record(c, note, api.Noting{})
	}
	return c
}

func newAttach() *cobra.Command {
	c := &cobra.Command{
		Use:     "attach FILE",
		GroupID: "gateway",
		Short:   "Let the running agent record a file: a certificate, a photo",
		Long: `attach records a file beside what was recorded, a calibration certificate or a photo: its name, media type, size, SHA-256 and
its bytes, up to payload.max. A larger one is refused, unless --hash-only has its SHA-256 alone recorded: then keep the
file. It is an entry of its own, agent:attach; edgeagent attachment gives the file back.
` + fmt.Sprintf(howSigned, "attach", " FILE"),
		Example: `  edgeagent attach certificate.pdf --entry 1042-1047 --reason "calibration of press-07"`,
		Args:    command.Args(cobra.ExactArgs(1)),
	}
	var f noteFlags
	f.add(c)
	mediaType := c.Flags().String("type", "", "the file's media `TYPE` (default: by its name, else by its contents)")
	text := c.Flags().String("text", "", "what is to be said of it")
	hashOnly := c.Flags().Bool("hash-only", false, "record the SHA-256 alone, not the bytes")
	for _, said := range []string{"type", "text"} {
		c.MarkFlagsMutuallyExclusive("signed", said)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		b, file, err := readAttachment(c.Context(), args[0], *hashOnly)
		if err != nil {
			return err
		}
		if file.MediaType = *mediaType; file.MediaType == "" {
			if file.MediaType = mime.TypeByExtension(filepath.Ext(file.Name)); file.MediaType == "" {
				file.MediaType = http.DetectContentType(b)
			}
		}
		noting := api.Noting{Data: b, Kept: !*hashOnly}
		if *hashOnly {
			noting.Data = nil
		}
		return f.record(c, &lightchain.Note{Text: *text, File: file}, noting)
	}
	return c
}

// mostRead is more than any attachment has of which the bytes are kept.
const mostRead = 16 << 20

// readAttachment describes a file, and returns its bytes or, where the hash is enough, the first of them.
func readAttachment(ctx context.Context, path string, hashOnly bool) (b []byte, file *lightchain.File, err error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	hash := sha256.New()
	limit := int64(mostRead)
	if hashOnly {
		limit = math.MaxInt64
	}
	var first bytes.Buffer
	n, err := io.Copy(hash, io.LimitReader(io.TeeReader(&untilDone{ctx, f}, &atMost{&first, mostRead}), limit))
	if err != nil {
		return nil, nil, err
	}
	if !hashOnly && n == mostRead {
		return nil, nil, command.Failf(command.ExitUsage, "%s is too large for its bytes to be kept: keep the file yourself, and have its hash recorded with --hash-only", path)
	}
	return first.Bytes(), &lightchain.File{Name: filepath.Base(path), Size: uint64(n), SHA256: lightchain.Hash(hash.Sum(nil))}, nil
}

// openRegular opens a file that ends. Opening a pipe waits for its other end, and a device may never end.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, command.Failf(command.ExitUsage, "%s is a folder, a pipe or a device: a regular file is expected", path)
	}
	return os.Open(path)
}

// readSmall reads a file of so many bytes at the most.
func readSmall(path string, most int) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(b) > most {
		err = command.Failf(command.ExitUsage, "%s has more than the %d bytes that may be in it", path, most)
	}
	return b, err
}

// untilDone reads until a context ends: a large file takes long to hash.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(b []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}

// atMost keeps the first so many bytes that are written.
type atMost struct {
	to   *bytes.Buffer
	most int
}

func (a *atMost) Write(b []byte) (int, error) {
	a.to.Write(b[:min(len(b), a.most-a.to.Len())])
	return len(b), nil
}

// record has a note signed, as far as it is to be, and hands it to the agent; or writes what is to be signed.
func (f *noteFlags) record(c *cobra.Command, note *lightchain.Note, noting api.Noting) error {
	out, err := command.NewOutput(c)
	if err != nil {
		return err
	}
	config, err := quietConfig(c)
	if err != nil {
		return err
	}
	var statement []byte
	if f.signed != "" {
		if statement, noting.Signature, err = readSigned(f.signed, note.File); err != nil {
			return err
		}
	} else if statement, err = f.statement(c, note); err != nil {
		return err
	}
	if f.toSign != "" {
		return writeOutput(c, out, f.toSign, statement, map[string]any{})
	}
	client, err := dialAgent(c, config, "only it adds entries to the chain")
	if err != nil {
		return err
	}
	if f.key != "" {
		if noting.Signature, err = signWithKey(c, f.key, statement); err != nil {
			return err
		}
	}
	noting.Statement = string(statement)
	noted, err := client.Note(c.Context(), noting)
	if err != nil && c.Context().Err() != nil {
		return fmt.Errorf("%w; it may be recorded all the same: see edgeagent log before you say it again", err)
	}
	if err != nil {
		return err
	}
	return out.Print(noted, func(w io.Writer) { fmt.Fprintf(w, "recorded as entry %d, %s\n", noted.Number, noted.Source) })
}

// statement completes a note, and returns what there is to sign.
func (f *noteFlags) statement(c *cobra.Command, note *lightchain.Note) (_ []byte, err error) {
	note.When, note.Who, note.Reason, note.Meaning = time.Now().UTC().Format(time.RFC3339), f.who, f.reason, f.meaning
	if note.Who == "" {
		u, err := user.Current()
		if err != nil {
			return nil, command.Failf(command.ExitUsage, "who says it? Name somebody with --who (%v)", err)
		}
		note.Who = u.Username
	}
	if note.Entries, err = lightchain.ParseSpans(strings.Join(f.entries, " ")); err != nil {
		return nil, command.Failf(command.ExitUsage, "--entry: %v", err)
	}
	if note.Heights, err = lightchain.ParseSpans(strings.Join(f.blocks, " ")); err != nil {
		return nil, command.Failf(command.ExitUsage, "--block: %v", err)
	}
	if err := note.Check(); err != nil {
		return nil, command.Fail(command.ExitUsage, err)
	}
	client, done, err := connect(c)
	if err != nil {
		return nil, err
	}
	defer done()
	status, err := client.Status(c.Context())
	if err != nil {
		return nil, err
	}
	f.nameHead(c, note, status)
	return note.Statement(status.Chain), nil
}

// nameHead has a note name the newest header, which binds what stands under the numbers that it is about. For an entry of the
// open block there is none yet.
func (f *noteFlags) nameHead(c *cobra.Command, note *lightchain.Note, status api.Status) {
	last := func(all []lightchain.Span) (n uint64, named bool) {
		if len(all) == 0 {
			return 0, false
		}
		return all[len(all)-1][1], true
	}
	entry, named := last(note.Entries)
	block, _ := last(note.Heights)
	switch sealed := status.Entries - status.Open; {
	case block > status.Height || named && entry >= status.Entries: // the agent refuses it, and says why
	case named && entry >= sealed:
		fmt.Fprintf(c.ErrOrStderr(), "entry %d is not sealed yet, so the note names its number and not what it holds: to have that bound, say it again once its block is sealed\n", entry)
	default:
		note.Head = &lightchain.Head{Height: status.Height, Hash: status.Head}
	}
}

// readSigned reads what was signed, and the signature beside it.
func readSigned(path string, file *lightchain.File) (statement []byte, signature string, err error) {
	if statement, err = readSmall(path, lightchain.MaxStatement); err != nil {
		return nil, "", err
	}
	note, chain, err := lightchain.ParseStatement(statement)
	if err != nil {
		return nil, "", command.Failf(command.ExitUsage, "%s: %v", path, err)
	}
	switch {
	case file == nil && note.File != nil:
		return nil, "", command.Failf(command.ExitUsage, "%s is about the file %q: edgeagent attach FILE --signed %s records it", path, note.File.Name, path)
	case file != nil && (note.File == nil || note.File.SHA256 != file.SHA256):
		return nil, "", command.Failf(command.ExitUsage, "%s is not about the file %s, of which the SHA-256 is %s", path, file.Name, file.SHA256)
	}
	b, err := readSmall(path+".sig", lightchain.MaxSSHSignature)
	if err != nil {
		return nil, "", err
	}
	s, err := lightchain.ReadSSHSignatureFile(b)
	if err != nil {
		return nil, "", command.Failf(command.ExitUsage, "%s.sig: %v", path, err)
	}
	if !s.Verify(note.Statement(chain)) {
		return nil, "", command.Failf(command.ExitVerification, "%s.sig is not a signature of %s: was one of them changed?", path, path)
	}
	return statement, s.Text(), nil
}

// signWithKey has ssh-keygen sign; it asks for a passphrase, or a touch, at the terminal by itself.
func signWithKey(c *cobra.Command, key string, statement []byte) (string, error) {
	sign := exec.CommandContext(c.Context(), "ssh-keygen", "-Y", "sign", "-q", "-n", lightchain.NoteNamespace, "-f", key)
	sign.Stdin, sign.Stderr = bytes.NewReader(statement), c.ErrOrStderr()
	b, err := sign.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("there is no ssh-keygen here (Debian's package openssh-client): use --to-sign, and sign it where there is one")
	}
	if err != nil {
		return "", fmt.Errorf("ssh-keygen did not sign with %s: %w", key, err)
	}
	s, err := lightchain.ReadSSHSignatureFile(b)
	if err != nil {
		return "", command.Failf(command.ExitUsage, "--key %s: %v", key, err)
	}
	return s.Text(), nil
}

// noteText shows a note in one line. What comes from elsewhere stands in quotes: none of it may pass for words of this
// program, such as a key.
func noteText(n *lightchain.NoteView) string {
	var b strings.Builder
	if f := n.Attached; f != nil {
		fmt.Fprintf(&b, "%s, %s, %d bytes, SHA-256 %s, ", beginning(f.Name), beginning(f.MediaType), f.Size, f.SHA256)
		if !f.Here {
			b.WriteString("its bytes are not kept, ")
		}
	}
	b.WriteString("by " + beginning(n.Who))
	for _, about := range [...]struct{ word, text string }{{"entries", spansText(n.Entries)}, {"blocks", spansText(n.Heights)}} {
		if about.text != "" {
			b.WriteString(", about " + about.word + " " + about.text)
		}
	}
	for _, part := range [...]struct{ word, text string }{{"reason", n.Reason}, {"meaning", n.Meaning}, {"text", n.Text}} {
		if part.text != "" {
			b.WriteString(", " + part.word + ": " + beginning(part.text))
		}
	}
	if n.Head != nil {
		fmt.Fprintf(&b, ", of the history up to header %d (%.8s…)", n.Head.Height, n.Head.Hash.String())
	}
	if n.Key != "" {
		b.WriteString(", under " + n.Key)
	}
	if n.Error != "" {
		b.WriteString(", BAD: " + n.Error)
	}
	return b.String()
}

// beginning is a text in quotes, or the beginning of one that would make its column too wide.
func beginning(s string) string {
	const most = 120
	if runes := []rune(s); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "…"
	}
	return strconv.Quote(s)
}

func spansText(all []lightchain.Span) string {
	var words []string
	for _, s := range all {
		if word := strconv.FormatUint(s[0], 10); s[0] == s[1] {
			words = append(words, word)
		} else {
			words = append(words, fmt.Sprintf("%d-%d", s[0], s[1]))
		}
	}
	return strings.Join(words, " ")
}

func newAttachment() *cobra.Command {
	c := &cobra.Command{
		Use:     "attachment NUMBER",
		GroupID: "chain",
		Short:   "Give back a file that was attached",
		Args:    command.Args(cobra.ExactArgs(1)),
	}
	file := c.Flags().String("file", "-", "write it to a new `FILE`")
	c.RunE = func(c *cobra.Command, args []string) error {
		number, err := strconv.ParseUint(args[0], 10, 63)
		if err != nil {
			return command.Failf(command.ExitUsage, "%q: the number of an entry is expected, as edgeagent log --source agent:attach shows it", args[0])
		}
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		values := url.Values{"from": {args[0]}, "to": {strconv.FormatUint(number+1, 10)}}
		for e, err := range client.Entries(c.Context(), values) {
			switch {
			case err != nil:
				return err
			case e.Gone != "":
				return command.Failf(command.ExitNotFound, "entry %d: %s", number, e.Gone)
			case e.Source != lightchain.SourceAttach:
				return command.Failf(command.ExitUsage, "entry %d is no attachment but from %s", number, e.Source)
			}
			n, _, err := lightchain.ReadNote(&lightchain.Entry{Source: e.Source, Payload: e.Payload})
			if err != nil {
				return fmt.Errorf("entry %d: %w", number, err)
			}
			b, err := n.Bytes()
			if err != nil {
				return err
			}
			if b == nil {
				return command.Failf(command.ExitNotFound, "entry %d holds no bytes of %s, only their SHA-256: %s", number, command.Printable(n.File.Name), n.File.SHA256)
			}
			return writeOutput(c, out, *file, b, map[string]any{"number": number, "name": n.File.Name, "sha256": n.File.SHA256})
		}
		return command.Failf(command.ExitNotFound, "there is no entry %d", number)
	}
	return c
}
