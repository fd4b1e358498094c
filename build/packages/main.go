// Command packages turns the tree into what people install, in dist/: for each program and each kind of board a Debian
// package and a .tar.gz, what all is made of as a CycloneDX document, the SHA-256 sums of all, and the sums' signature if a
// release key is given.
//
//	go run . [-key FILE] [-maintainer WHO] [-out FOLDER]
//
// It owns what is in a package, where it goes, and the scripts that dpkg runs. How a program is compiled it asks the
// Makefile, what version that is the program, and what its pages say the program too. It is a module of its own, so
// that a packager's dependencies are never among those of the programs.
//
// The same commit gives the same bytes for the same maintainer, whoever builds it and wherever: every time is the
// commit's, every owner root, every list sorted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("packages", flag.ContinueOnError)
	root := flags.String("root", "../..", "the `FOLDER` of the tree")
	dist := flags.String("out", "", "the `FOLDER` to write, whose contents go first (default dist in the tree)")
	key := flags.String("key", os.Getenv("RELEASE_KEY"), "sign with this `FILE`, an OpenSSH key: private, or public where an agent holds the other half (default $RELEASE_KEY)")
	maintainer := flags.String("maintainer", os.Getenv("RELEASE_MAINTAINER"), "`WHO` answers for the packages, as \"Name <address>\" (default $RELEASE_MAINTAINER)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	who, err := answerable(*maintainer)
	if err != nil {
		return err
	}
	if *key != "" {
		if _, err := os.Stat(*key); err != nil {
			return fmt.Errorf("the release key: %w", err)
		}
	}
	if *dist == "" {
		*dist = filepath.Join(*root, "dist")
	}
	r, err := newRelease(ctx, *root, os.Environ())
	if err != nil {
		return err
	}
	if r.maintainer = who; who == nobody {
		fmt.Fprintln(out, "nobody answers for these packages: RELEASE_MAINTAINER, or -maintainer, says who does in a release")
	}
	if err := r.build(ctx, *dist, targets, out); err != nil {
		return err
	}
	if *key == "" {
		fmt.Fprintf(out, "%s is not signed: no release key was given\n", filepath.Join(*dist, sumsFile))
		return nil
	}
	return sign(ctx, *dist, *key)
}

// build writes the packages of all programs for the given targets, and their sums.
func (r *release) build(ctx context.Context, dist string, targets []target, out io.Writer) error {
	scratch, err := os.MkdirTemp("", "edgechain-packages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	host := target{goarch: runtime.GOARCH} // its programs can be asked
	for _, t := range targets {
		if runtime.GOOS == "linux" && t.goarch == runtime.GOARCH {
			host = t
		}
	}
	if err := r.compile(ctx, filepath.Join(scratch, "host"), host); err != nil {
		return err
	}
	var products []*product
	for _, p := range known() {
		p.host = filepath.Join(scratch, "host", p.name)
		if _, err := os.Stat(p.host); err != nil {
			continue
		}
		if err := p.ask(ctx, r); err != nil {
			return err
		}
		products = append(products, p)
	}
	if len(products) == 0 {
		return errors.New("the tree has none of the programs")
	}

	// A folder that is half old and half new would be signed as one release.
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	linked := make(map[string][]module) // by program, for all targets
	for _, t := range targets {
		bin := filepath.Join(scratch, "host")
		if t != host {
			bin = filepath.Join(scratch, t.debian)
			if err := r.compile(ctx, bin, t); err != nil {
				return err
			}
		}
		for _, p := range products {
			binary := filepath.Join(bin, p.name)
			modules, err := r.linked(ctx, p.name, binary, t)
			if err != nil {
				return err
			}
			linked[p.name] = append(linked[p.name], modules...)
			p.said["third-party"] = thirdParty(p.name, modules)
			names, err := r.pack(dist, p, t, binary)
			if err != nil {
				return fmt.Errorf("packing %s for %s: %w", p.name, t.debian, err)
			}
			for _, name := range names {
				fmt.Fprintln(out, filepath.Join(dist, name))
			}
		}
	}
	if err := r.writeSBOM(dist, linked); err != nil {
		return fmt.Errorf("the bill of materials: %w", err)
	}
	fmt.Fprintln(out, filepath.Join(dist, r.sbomFile()))
	return writeSums(dist)
}

// pack writes one program's packages for one target, and returns their names.
func (r *release) pack(dist string, p *product, t target, binary string) (names []string, err error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	contents, err := p.contents(r, program)
	if err != nil {
		return nil, err
	}
	for _, write := range []func(string, *release, *product, target, []file) (string, error){writeDeb, writeArchive} {
		name, err := write(dist, r, p, t, contents)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}
