package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

const revision = "1" // of the packaging, within one version

// The scripts that dpkg runs, and the field of nfpm's that takes each.
func scripts(info *nfpm.Info) map[string]*string {
	return map[string]*string{
		"postinst": &info.Scripts.PostInstall,
		"prerm":    &info.Scripts.PreRemove,
		"postrm":   &info.Scripts.PostRemove,
	}
}

// writeDeb writes the Debian package and returns its name. nfpm reads what it packs from files, so it gets a folder of
// them.
func writeDeb(dist string, r *release, p *product, t target, contents []file) (name string, err error) {
	scratch, err := os.MkdirTemp("", "edgechain-deb-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)

	info := nfpm.WithDefaults(&nfpm.Info{
		Name:            p.name,
		Arch:            t.debian,
		Version:         r.debianVersion(),
		VersionSchema:   "none", // it has Debian's form already
		Release:         revision,
		Section:         "net",
		Priority:        "optional",
		Maintainer:      r.maintainer,
		Description:     p.summary + "\n" + p.description,
		DisableGlobbing: true,
		MTime:           r.date,
		Overridables: nfpm.Overridables{
			Depends: p.depends, Recommends: p.recommends, Suggests: p.suggests,
			Deb: nfpm.Deb{Arch: t.debian, Compression: "gzip:6"},
		},
	})
	for i, f := range contents {
		content := &files.Content{
			Destination: f.path,
			Type:        files.TypeFile,
			FileInfo:    &files.ContentFileInfo{Owner: "root", Group: "root", Mode: fs.FileMode(f.mode), MTime: r.date},
		}
		switch {
		case f.folder:
			content.Type = files.TypeDir
		case f.conffile:
			content.Type = files.TypeConfig
		}
		if !f.folder {
			content.Source = filepath.Join(scratch, fmt.Sprint(i))
			if err := os.WriteFile(content.Source, f.data, 0o600); err != nil {
				return "", err
			}
		}
		info.Contents = append(info.Contents, content)
	}
	if p.service {
		for script, field := range scripts(info) {
			text, err := p.fill(r, script)
			if err != nil {
				return "", err
			}
			*field = filepath.Join(scratch, script)
			if err := os.WriteFile(*field, text, 0o600); err != nil {
				return "", err
			}
		}
	}

	name = deb.Default.ConventionalFileName(info)
	out, err := os.Create(filepath.Join(dist, name))
	if err != nil {
		return "", err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	return name, deb.Default.Package(info, out)
}
