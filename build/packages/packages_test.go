package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// snapshot is the tree as it is at the start of the tests, without its repository, so that all builds are of one tree.
var snapshot = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "tree")
	return dir, copyTree("../..", dir)
})

// packages are those of the snapshot, version 1.2.3, for every target.
var packages = sync.OnceValues(func() (string, error) {
	dir, err := snapshot()
	if err != nil {
		return "", err
	}
	dist := filepath.Join(scratch, "dist")
	return dist, pack(dir, dist, targets, "VERSION=v1.2.3")
})

// patience is for a machine with more to do than the test; what is awaited is noticed at once.
const patience = 10 * time.Minute

var scratch string // goes when the tests have ended

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "edgechain-packages-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// pack builds the packages of a tree, of a fixed date, with more variables.
func pack(root, dist string, targets []target, env ...string) error {
	r, err := newRelease(context.Background(), root, append(os.Environ(), append(env, "SOURCE_DATE_EPOCH=1772352000", "CGO_ENABLED=0")...))
	if err != nil {
		return err
	}
	return r.build(context.Background(), dist, targets, io.Discard)
}

// copyTree copies what the repository holds, or will, with what is not committed yet.
func copyTree(from, to string) error {
	list := exec.Command("git", "-C", from, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("listing the tree: %w", err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(names), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not committed
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// must returns what a sync.OnceValues gives, or ends the test.
func must(t *testing.T, get func() (string, error)) string {
	t.Helper()
	dir, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// need ends the test where a program is missing: it fails where the variable CI is set, and is skipped elsewhere.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			lack(t, name+" is not installed: build/testenv/install.sh installs what the tests run")
		}
	}
}

func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	fmt.Fprintf(os.Stderr, "SKIPPED %s: %s\n", t.Name(), what)
	t.Skip(what)
}

// output runs a program that must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// built returns the one Debian package of a program in a folder.
func built(t *testing.T, dist, program, architecture string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dist, program+"_*_"+architecture+".deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages of %s for %s in %s: %q, %v", program, architecture, dist, found, err)
	}
	return found[0]
}

// programs returns those that the tree has.
func programs() (all []*product) {
	for _, p := range known() {
		if _, err := os.Stat("../../cmd/" + p.name); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// The same tree, somewhere else, by somebody with other habits: everything is compiled again for one target, with a
// cache of its own, and linked and packed again for the others.
func TestTheSameCommitGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles everything again")
	}
	need(t, "make", "git")
	first := must(t, packages)
	elsewhere := filepath.Join(t.TempDir(), "a folder", "by another name")
	if err := os.CopyFS(elsewhere, os.DirFS(must(t, snapshot))); err != nil {
		t.Fatal(err)
	}
	habits := []string{"VERSION=v1.2.3", "TZ=Pacific/Auckland", "LC_ALL=de_DE.UTF-8", "USER=somebody", "HOSTNAME=elsewhere"}
	second := filepath.Join(t.TempDir(), "arm")
	if err := pack(elsewhere, second, targets[1:], habits...); err != nil {
		t.Fatal(err)
	}
	third := filepath.Join(t.TempDir(), "amd64")
	if err := pack(elsewhere, third, targets[:1], append(habits, "GOCACHE="+filepath.Join(t.TempDir(), "cache"))...); err != nil {
		t.Fatal(err)
	}
	again := sums(t, second)
	for name, sum := range sums(t, third) {
		again[name] = sum
	}
	all := sums(t, first)
	if want := len(programs())*len(targets)*2 + 1; len(all) != want || len(again) != want {
		t.Errorf("%d packages, then %d, want %d", len(all), len(again), want)
	}
	for name, sum := range all {
		if again[name] != sum {
			t.Errorf("%s differs", name)
		}
	}
}

// Without dpkg, an archive unpacked at / puts the same files into the same places.
func TestArchivesHoldWhatPackagesDo(t *testing.T) {
	t.Parallel()
	need(t, "make", "git", "dpkg-deb", "tar")
	dist := must(t, packages)
	for _, p := range programs() {
		packaged, unpacked := t.TempDir(), t.TempDir()
		output(t, "dpkg-deb", "--extract", built(t, dist, p.name, "amd64"), packaged)
		output(t, "tar", "-C", unpacked, "--strip-components=1", "-xpf", filepath.Join(dist, p.name+"-1.2.3-linux-amd64.tar.gz"))
		want, got := listing(t, packaged), listing(t, unpacked)
		for path, what := range want {
			if got[path] != what && !debianOnly(path) {
				t.Errorf("%s: %s is %q in the package and %q in the archive", p.name, path, what, got[path])
			}
		}
		for path := range got {
			if _, ok := want[path]; !ok {
				t.Errorf("%s: %s is in the archive alone", p.name, path)
			}
		}
	}
}

// What a program is linked with, by its own word, is named in every package with the text of its licence, and in the release's
// bill of materials.
func TestEveryLinkedModuleIsNamedWithItsLicence(t *testing.T) {
	t.Parallel()
	need(t, "make", "git", "dpkg-deb")
	dist := must(t, packages)
	document, err := os.Open(filepath.Join(dist, "edgechain-1.2.3.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer document.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(document, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]*cdx.Component)
	for i := range *bom.Components {
		c := &(*bom.Components)[i]
		listed[c.Name+" "+c.Version] = c
	}
	needs := make(map[string][]string)
	for _, d := range *bom.Dependencies {
		needs[d.Ref] = *d.Dependencies
	}
	for _, p := range programs() {
		for _, target := range targets {
			dir := t.TempDir()
			output(t, "dpkg-deb", "--extract", built(t, dist, p.name, target.debian), dir)
			packed, err := os.ReadFile(filepath.Join(dir, "usr/share/doc", p.name, "THIRD-PARTY.gz"))
			if err != nil {
				t.Fatal(err)
			}
			unpacked, err := gzip.NewReader(bytes.NewReader(packed))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(unpacked)
			if err != nil {
				t.Fatal(err)
			}
			info, err := buildinfo.ReadFile(filepath.Join(dir, "usr/bin", p.name))
			if err != nil {
				t.Fatal(err)
			}
			linked := append(info.Deps, &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")})
			for _, m := range linked {
				if !bytes.Contains(text, []byte("\n  "+m.Path+" "+m.Version+": ")) || !regexp.MustCompile(`(?mi)^`+regexp.QuoteMeta(m.Path)+`/(licen[cs]e|copying)`).Match(text) {
					t.Errorf("%s for %s: THIRD-PARTY lacks %s %s or its licence", p.name, target.debian, m.Path, m.Version)
				}
				c := listed[m.Path+" "+m.Version]
				if c == nil || c.Licenses == nil || (*c.Licenses)[0].Expression == "" || !slices.Contains(needs[p.name], c.BOMRef) {
					t.Errorf("%s for %s: the bill of materials lacks %s %s: %+v", p.name, target.debian, m.Path, m.Version, c)
				}
			}
			for _, notice := range []string{"Prometheus instrumentation library for Go applications", "Eclipse Distribution License"} {
				if p.service && !bytes.Contains(text, []byte(notice)) {
					t.Errorf("%s for %s: THIRD-PARTY lacks a notice: %q", p.name, target.debian, notice)
				}
			}
		}
	}
}

// A licence that this program does not know stops a release, rather than going out unnamed.
func TestALicenceThatIsNotKnownStopsTheRelease(t *testing.T) {
	for text, want := range map[string]string{
		"Permission is hereby granted, free\nof charge, to any person obtaining a copy of this": "MIT",
		"Redistribution and use in source and binary\n forms ... Neither the name of":           "BSD-3-Clause",
		"Redistribution and use in source and binary forms":                                     "BSD-2-Clause",
		"Apache License\n  Version 2.0, January 2004":                                           "Apache-2.0",
		"Eclipse Public License ... Eclipse Distribution License":                               "EPL-2.0 OR BSD-3-Clause",
		"GNU AFFERO GENERAL PUBLIC LICENSE":                                                     "",
		"":                                                                                      "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := module{path: "example.com/m"}
		if err := m.read(dir); m.licence != want || (err != nil) != (want == "") {
			t.Errorf("%q is read as %q, %v; want %q", text, m.licence, err, want)
		}
	}
	none := module{path: "example.com/m"}
	if err := none.read(t.TempDir()); err == nil {
		t.Error("a module without any licence is packed")
	}
}

// listing returns, by their paths below the folder, the mode and the sum of all files.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		all[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%v %x", info.Mode(), sha256.Sum256(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sums hashes the packages in a folder, and holds SHA256SUMS to that.
func sums(t *testing.T, dist string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	var list bytes.Buffer
	all := make(map[string]string)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), sumsFile) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dist, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = fmt.Sprintf("%x", sha256.Sum256(data))
		fmt.Fprintf(&list, "%s  %s\n", all[entry.Name()], entry.Name())
	}
	if written, err := os.ReadFile(filepath.Join(dist, sumsFile)); err != nil || !bytes.Equal(written, list.Bytes()) {
		t.Errorf("%s in %s does not list what is there: %v\n%s", sumsFile, dist, err, written)
	}
	return all
}

func TestSumsAreSignedForAReleaseAndNothingElse(t *testing.T) {
	need(t, "ssh-keygen")
	dir := t.TempDir()
	dist := filepath.Join(dir, "dist")
	if err := os.CopyFS(dist, os.DirFS("debian")); err != nil {
		t.Fatal(err)
	}
	if err := writeSums(dist); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "release", "-f", key)
	for range 2 { // the second writes over the first
		if err := sign(t.Context(), dist, key); err != nil {
			t.Fatal(err)
		}
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signers := filepath.Join(dir, "allowed_signers")
	if err := os.WriteFile(signers, append([]byte("release "), public...), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := func(namespace, suffix string) error {
		data, err := os.ReadFile(filepath.Join(dist, sumsFile))
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command("ssh-keygen", "-Y", "verify", "-f", signers, "-I", "release", "-n", namespace, "-s", filepath.Join(dist, sumsFile+".sig"))
		c.Stdin = strings.NewReader(string(data) + suffix)
		return c.Run()
	}
	if err := verify("edgechain-release", ""); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
	if verify("file", "") == nil {
		t.Error("it verifies as a signature of something else")
	}
	if verify("edgechain-release", "more\n") == nil {
		t.Error("it verifies other sums")
	}
	check := exec.Command("sha256sum", "--check", "--strict", sumsFile)
	check.Dir = dist
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum --check: %v\n%s", err, out)
	}
}

func TestLintianFindsNothingUnexplained(t *testing.T) {
	t.Parallel()
	need(t, "make", "git", "lintian")
	dist := must(t, packages)
	var debs []string
	for _, p := range programs() {
		for _, architecture := range []string{"amd64", "armhf"} {
			debs = append(debs, built(t, dist, p.name, architecture))
		}
	}
	lintian := exec.Command("lintian", append([]string{"--allow-root", "--fail-on=error,warning", "--display-level=>=warning", "--info"}, debs...)...)
	if out, err := lintian.CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}
