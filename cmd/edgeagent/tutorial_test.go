package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgechain.example/build/testenv"
)

// A fenced block of a page: what follows the fence, and the text.
var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// The tutorial's commands run as they stand there, in one shell, and print what the page shows. What needs its time, as a block that
// is not sealed yet, is asked for again.
func TestTutorial(t *testing.T) {
	t.Parallel()
	folder := wholeSystem(t)
	testenv.Need(t, "mosquitto_pub")
	page, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	broker := testenv.Mosquitto(t, "")
	_, port, _ := strings.Cut(broker.Addr, ":")
	dir, err := os.MkdirTemp("", "ec") // the socket's path must stay short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sh := newShell(t, dir, folder)
	ran := 0
	blocks := fenced.FindAllStringSubmatch(strings.ReplaceAll(string(page), "1883", port), -1)
	for i, b := range blocks {
		switch language, text := b[1], b[2]; language {
		case "toml":
			if err := os.WriteFile(filepath.Join(dir, "edgeagent.toml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case "sh":
			ran++
			said := sh.run(text)
			if i+1 == len(blocks) || blocks[i+1][1] != "text" {
				continue
			}
			for began := time.Now(); ; said = sh.run(text) {
				lacking := lacks(said, blocks[i+1][2])
				if lacking == "" {
					break
				}
				if time.Since(began) > patience {
					t.Fatalf("%s\ndoes not say %q but\n%s", text, lacking, said)
				}
				time.Sleep(time.Second)
			}
		}
	}
	if ran < 8 {
		t.Fatalf("the page has %d blocks of commands", ran)
	}
}

// lacks returns the first line of what a page shows that a program did not print; "…" stands for anything.
func lacks(said, shown string) string {
	for line := range strings.Lines(shown) {
		words := strings.Split(strings.TrimSpace(line), "…")
		for i := range words {
			words[i] = regexp.QuoteMeta(words[i])
		}
		found := regexp.MustCompile(`(?m)` + strings.Join(words, ".*")).FindStringIndex(said)
		if found == nil {
			return strings.TrimSpace(line)
		}
		said = said[found[1]:]
	}
	return ""
}

// shell is a shell that is given one text after the other.
type shell struct {
	t    *testing.T
	in   *os.File
	out  string // file that it writes to
	read int64
	n    int
}

func newShell(t *testing.T, dir, folder string) *shell {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, "bash", "-m") // with jobs, as a person's
	c.Dir, c.Stdin, c.Stdout, c.Stderr = dir, from, out, out
	c.Env = append(os.Environ(), "PATH="+folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = to.WriteString("\nkill %1 2>/dev/null; wait\n")
		to.Close()
		ended := time.AfterFunc(patience, cancel)
		_ = c.Wait()
		ended.Stop()
		cancel()
	})
	return &shell{t: t, in: to, out: out.Name()}
}

// run returns what the shell printed until it was through with the text.
func (s *shell) run(text string) string {
	s.t.Helper()
	s.n++
	mark := fmt.Sprintf("-- through with %d --\n", s.n)
	if _, err := s.in.WriteString(text + "\necho; echo " + strconv.Quote(strings.TrimSpace(mark)) + "\n"); err != nil {
		s.t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		all, err := os.ReadFile(s.out)
		if err != nil {
			s.t.Fatal(err)
		}
		if said, _, through := bytes.Cut(all[s.read:], []byte(mark)); through {
			s.read += int64(len(said) + len(mark))
			return string(said)
		}
		if time.Since(began) > patience {
			s.t.Fatalf("%s\nis not through, and has said\n%s", text, all[s.read:])
		}
	}
}
