package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A module is linked into a program, and its licence asks that its text goes with it.
type module struct {
	path, version string
	sum           string // as go.sum has it; "" of the standard library
	licence       string // an SPDX expression
	texts         []licenceText
}

// A licenceText is a file of a module: its licence, or a notice beside it.
type licenceText struct{ name, text string }

// standard is the path under which the standard library is listed, as package URLs name it.
const standard = "std"

// legal are the names of files that say who may do what with the code beside them.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|authors|copyright|e[dp]l-v\d+)([.-].*)?$`)

// linked returns what a program, compiled for a target, is linked with, sorted by path: what the binary itself says, with
// the texts that lie in the folders of the packages that are in it, and above them.
func (r *release) linked(ctx context.Context, program, binary string, t target) ([]module, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	list := command(ctx, "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}\t{{$.Dir}}{{end}}", "./cmd/"+program)
	list.Dir = r.root
	list.Env = append(list.Env, "GOOS=linux", "GOARCH="+t.goarch, "GOARM="+t.goarm, "CGO_ENABLED=0")
	out, err := printed(list)
	if err != nil {
		return nil, err
	}
	folders := make(map[string][]string) // of each module: its own, and those of its packages
	for line := range strings.Lines(out) {
		if parts := strings.Split(strings.TrimSpace(line), "\t"); len(parts) == 3 {
			folders[parts[0]] = append(folders[parts[0]], parts[1], parts[2])
		}
	}
	root, err := printed(command(ctx, "go", "env", "GOROOT"))
	if err != nil {
		return nil, err
	}
	std := module{path: standard, version: strings.TrimPrefix(info.GoVersion, "go")}
	if err := std.read(strings.TrimSpace(root)); err != nil {
		return nil, err
	}
	modules := []module{std}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		m := module{path: dep.Path, version: dep.Version, sum: dep.Sum}
		if err := m.read(folders[dep.Path]...); err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return modules, nil
}

// printed runs a command for what it prints.
func printed(c *exec.Cmd) (string, error) {
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, said.Bytes())
	}
	return string(out), nil
}

// read reads the texts that hold for packages in the folders: the first is the module's own, the others lie in it.
func (m *module) read(folders ...string) error {
	if len(folders) == 0 {
		return fmt.Errorf("no package of %s is in the program that is linked with it", m.path)
	}
	root := folders[0]
	looked := make(map[string]bool)
	look := func(folder string) error {
		entries, err := os.ReadDir(folder)
		if looked[folder] || err != nil {
			return err
		}
		looked[folder] = true
		for _, e := range entries {
			if !e.Type().IsRegular() || !legal.MatchString(e.Name()) && filepath.Base(folder) != "licenses" || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, filepath.Join(folder, e.Name()))
			if err != nil {
				return err
			}
			m.texts = append(m.texts, licenceText{filepath.ToSlash(name), string(bytes.ToValidUTF8(text, []byte("?")))})
		}
		return nil
	}
	for _, folder := range append(slices.Clone(folders), filepath.Join(root, "licenses")) {
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
			continue // few keep the texts of what they have from others in a folder
		}
		for ; ; folder = filepath.Dir(folder) {
			if err := look(folder); err != nil {
				return fmt.Errorf("the licence of %s: %w", m.path, err)
			}
			if folder == root || len(folder) <= len(root) {
				break
			}
		}
	}
	slices.SortFunc(m.texts, func(a, b licenceText) int { return cmp.Compare(a.name, b.name) })
	var terms []string
	for _, t := range m.texts {
		terms = append(terms, identify(t.text)...)
	}
	slices.Sort(terms)
	terms = slices.Compact(terms)
	if len(terms) == 0 {
		return fmt.Errorf("%s %s, in %s: no licence is found that this program knows, among %d files; see identify", m.path, m.version, root, len(m.texts))
	}
	m.licence = strings.Join(terms, " AND ")
	if slices.Contains(terms, eclipse) { // which stands for both of its files, too
		m.licence = eclipse
	}
	return nil
}

// eclipse is how the Eclipse Foundation's projects are licensed: one of the two, as the user likes.
const eclipse = "EPL-2.0 OR BSD-3-Clause"

// identify returns the SPDX expressions of the licences in a text, as far as they are among those that linked modules have.
func identify(text string) (terms []string) {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(phrase string) bool { return strings.Contains(text, phrase) }
	if has("apache license") && has("version 2.0, january 2004") {
		terms = append(terms, "Apache-2.0")
	}
	if has("permission is hereby granted, free of charge, to any person obtaining a copy") {
		terms = append(terms, "MIT")
	}
	switch {
	case has("eclipse public license") && has("eclipse distribution license"):
		return []string{eclipse}
	case has("redistribution and use in source and binary forms") && has("neither the name"):
		terms = append(terms, "BSD-3-Clause")
	case has("redistribution and use in source and binary forms"):
		terms = append(terms, "BSD-2-Clause")
	}
	return terms
}

// thirdParty is the text that goes with a program: each module with its licence, then each text once, with all that have it.
func thirdParty(program string, modules []module) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s is linked with the Go standard library and these modules, each under its own licence:\n\n", program)
	for _, m := range modules {
		fmt.Fprintf(&b, "  %s %s: %s\n", m.path, m.version, m.licence)
	}
	var order []string
	holders := make(map[string][]string)
	for _, m := range modules {
		for _, t := range m.texts {
			text := strings.TrimSpace(t.text)
			if holders[text] == nil {
				order = append(order, text)
			}
			holders[text] = append(holders[text], m.path+"/"+t.name)
		}
	}
	for _, text := range order {
		fmt.Fprintf(&b, "\n%s\n", strings.Repeat("=", 78))
		for _, holder := range holders[text] {
			fmt.Fprintln(&b, holder)
		}
		fmt.Fprintf(&b, "%s\n\n%s\n", strings.Repeat("-", 78), text)
	}
	return b.Bytes()
}
