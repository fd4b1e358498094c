package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A release is one commit of the tree, as something to be installed.
type release struct {
	root    string
	version string    // as the programs print it: "v1.4.0", "v1.4.0-5-gabc1234", "abc1234-dirty"
	date    time.Time // the commit's, in every package instead of the time of building
	env     []string  // what the Makefile is run with: VERSION, for one

	maintainer string // who answers for the packages, as Debian writes it: "Name <address>"
}

// A target is a kind of machine that packages are made for.
type target struct {
	debian string // what Debian calls the architecture
	goarch string
	goarm  string
}

// Debian's armhf is ARMv7, Raspberry Pi OS's is ARMv6: built for the older, a package runs on every Pi.
var targets = []target{
	{debian: "amd64", goarch: "amd64"},
	{debian: "arm64", goarch: "arm64"},
	{debian: "armhf", goarch: "arm", goarm: "6"},
}

// nobody stands as maintainer in packages for which nobody has said that he answers. The address is one of those that
// never lead anywhere (RFC 2606), rather than one that somebody could own; the builder's own, say from git, would make
// the bytes depend on who builds them.
const nobody = "Nobody yet <unreleased@edgechain.example>"

// answerable returns who is to stand as maintainer.
func answerable(given string) (string, error) {
	if given == "" {
		return nobody, nil
	}
	a, err := mail.ParseAddress(given)
	if err != nil || a.Name == "" || strings.ContainsAny(given, "\n\r") {
		return "", fmt.Errorf("the maintainer %q: expected a name and an address, such as \"Ada Byron <ada@plant.example>\"", given)
	}
	return a.Name + " <" + a.Address + ">", nil
}

// newRelease finds out when the tree's commit was made: SOURCE_DATE_EPOCH says so where there is no repository. What
// version it is, the first program that is compiled says.
func newRelease(ctx context.Context, root string, env []string) (*release, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	seconds := ""
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "SOURCE_DATE_EPOCH="); ok {
			seconds = value
		}
	}
	if seconds == "" {
		output, err := command(ctx, "git", "-C", root, "log", "-1", "--format=%ct").Output()
		if err != nil {
			return nil, errors.New("there is no git repository that tells the date of the release: set SOURCE_DATE_EPOCH, in seconds since 1970")
		}
		seconds = strings.TrimSpace(string(output))
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH=%s: expected seconds since 1970", seconds)
	}
	return &release{root: root, date: time.Unix(n, 0).UTC(), env: env, maintainer: nobody}, nil
}

// compile has the Makefile compile all programs into a folder, so that what is packed is what `make build` makes.
func (r *release) compile(ctx context.Context, bin string, t target) error {
	make := command(ctx, "make", "-s", "-C", r.root, "build", "BIN="+bin+"/")
	make.Env = append(slices.Clone(r.env), "GOARCH="+t.goarch)
	if t.debian != "" {
		make.Env = append(make.Env, "GOOS=linux", "GOARM="+t.goarm)
	}
	var output bytes.Buffer
	make.Stdout, make.Stderr = &output, &output
	if err := make.Run(); err != nil {
		return fmt.Errorf("compiling for %s: %w\n%s", t.debian, err, output.Bytes())
	}
	return nil
}

// command is one whose output does not depend on who runs it, or where.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	return c
}

// What `git describe --tags --always --dirty` prints is a tag, or nothing, then how many commits were made since, and
// which is the last, or that alone, then whether files differ.
var (
	tagged = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(?:-([0-9A-Za-z.-]+))?$`)
	since  = regexp.MustCompile(`^(.+)-(\d+)-g([0-9a-f]+)$`)
	commit = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
)

// debianVersion returns the version in the form and the order of Debian's: a candidate comes before its release
// ("1.4.0~rc.1"), what follows a release after it ("1.4.0+5.gabc1234"), and a tree without tags before everything, by
// the time of its commit.
func (r *release) debianVersion() string {
	tag, dirty := strings.CutSuffix(r.version, "-dirty")
	after := ""
	if m := since.FindStringSubmatch(tag); m != nil {
		tag, after = m[1], "+"+m[2]+".g"+m[3]
	}
	version := "0~" + r.date.Format("20060102150405")
	if m := tagged.FindStringSubmatch(tag); m != nil {
		version = m[1]
		if m[2] != "" {
			version += "~" + strings.ReplaceAll(m[2], "-", ".")
		}
		version += after
	} else if commit.MatchString(tag) {
		version += ".g" + tag
	}
	if dirty {
		version += "+dirty"
	}
	return version
}
