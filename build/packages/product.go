package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// A product is one program, and what is installed with it.
type product struct {
	name        string
	summary     string // Debian's synopsis: no capital, no article, no full stop
	description string // wrapped at 78 columns
	service     bool   // it has a unit, a user, a configuration and a data folder of its name
	depends     []string
	recommends  []string
	suggests    []string
	settings    []setting         // what the packaged configuration sets
	examples    map[string]string // their names, and where they are in the tree

	host string // the program compiled for this machine
	said map[string][]byte
}

// A setting is a key that the packaged configuration sets, its default being for a program that is run by hand.
type setting struct{ table, key, value string }

const evidence = `Edgechain is the evidence layer for the industrial edge: what factory devices
publish over MQTT is on disk before it is acknowledged, hashed into signed
blocks, and countersigned by aggregation nodes, so that any one reading can be
proved years later, offline.
`

// known returns the programs that are packed, if the tree has them.
func known() []*product {
	unit := []string{"procps", "systemd | systemd-standalone-sysusers | systemd-sysusers"}
	return []*product{{
		name:    "edgeagent",
		summary: "gateway that records what devices publish, provably",
		description: evidence + `
This is the agent that runs on the gateway, a Raspberry Pi for instance.`,
		service:    true,
		depends:    unit,
		recommends: []string{"edgeverify", "systemd-timesyncd | time-daemon"},
		suggests:   []string{"mosquitto"},
		settings:   []setting{{"api", "socket", `"/run/edgeagent/edgeagent.sock"`}},
		examples: map[string]string{
			"devices.conf":         "build/systemd/drop-ins/devices.conf",
			"passphrase.conf":      "build/systemd/drop-ins/passphrase.conf",
			"grafana-gateway.json": "build/grafana/gateway.json",
			"prometheus-rules.yml": "build/prometheus/edgeagent.yml",
		},
	}, {
		name:    "edgeaggregator",
		summary: "aggregation node that countersigns gateways' histories",
		description: evidence + `
This is the aggregation node: it checks that the history of each gateway only
ever grew, keeps its headers, and countersigns them.`,
		service:    true,
		depends:    unit,
		recommends: []string{"systemd-timesyncd | time-daemon"},
		suggests:   []string{"edgeverify", "mosquitto", "postgresql"},
		settings:   []setting{{"api", "socket", `"/run/edgeaggregator/edgeaggregator.sock"`}},
		examples: map[string]string{
			"grafana-fleet.json":   "build/grafana/fleet.json",
			"prometheus-rules.yml": "build/prometheus/edgeaggregator.yml",
		},
	}, {
		name:    "edgeverify",
		summary: "verifier of readings recorded by an Edgechain gateway",
		description: evidence + `
This is the auditor's program: it checks proofs offline, and says in plain
words what each one proves and what it does not. With it comes a page that
does so in a browser, /usr/share/edgechain/verify.html.`,
	}}
}

// A file is one entry of a package. Owners are root, times the release's.
type file struct {
	path     string // where it is installed
	mode     uint32
	data     []byte
	conffile bool // dpkg keeps what the administrator made of it
	folder   bool
}

//go:embed debian
var debian embed.FS

// ask runs the program for what it says of itself: version, completions, sample configuration, pages.
func (p *product) ask(ctx context.Context, r *release) error {
	p.said = make(map[string][]byte)
	questions := map[string][]string{"version": {"--version"}}
	if p.service {
		questions["config"] = []string{"config"}
		for _, shell := range []string{"bash", "zsh", "fish"} {
			questions[shell] = []string{"completion", shell}
		}
	}
	for name, args := range questions {
		output, err := command(ctx, p.host, args...).Output()
		if err != nil {
			return fmt.Errorf("%s %s: %w", p.name, strings.Join(args, " "), err)
		}
		p.said[name] = output
	}
	words := strings.Fields(string(p.said["version"]))
	if len(words) == 0 {
		return fmt.Errorf("%s --version prints nothing", p.name)
	}
	version := words[len(words)-1]
	if r.version != "" && r.version != version {
		return fmt.Errorf("%s is version %s, the program before it %s", p.name, version, r.version)
	}
	r.version = version

	page, err := p.manual(ctx, r)
	if err != nil {
		return err
	}
	p.said["manual"] = page
	if !p.service {
		return nil
	}
	p.said["reference"] = p.reference(r, p.said["config"])
	for _, s := range p.settings {
		if p.said["config"], err = s.apply(p.said["config"]); err != nil {
			return fmt.Errorf("the configuration that %s prints: %w", p.name, err)
		}
	}
	return nil
}

// apply takes the # away from a key of a sample configuration, and sets it.
func (s setting) apply(sample []byte) ([]byte, error) {
	lines := strings.SplitAfter(string(sample), "\n")
	table := slices.Index(lines, "["+s.table+"]\n")
	if table < 0 {
		return nil, fmt.Errorf("there is no [%s]", s.table)
	}
	for i, line := range lines[table+1:] {
		if strings.HasPrefix(line, "[") || strings.HasPrefix(line, "#[") {
			break
		}
		if strings.HasPrefix(line, "#"+s.key+" = ") {
			lines[table+1+i] = s.key + " = " + s.value + "\n"
			return []byte(strings.Join(lines, "")), nil
		}
	}
	return nil, fmt.Errorf("there is no #%s in [%s]", s.key, s.table)
}

// contents returns what the package installs, sorted by path.
func (p *product) contents(r *release, program []byte) ([]file, error) {
	doc := "/usr/share/doc/" + p.name
	all := []file{
		{path: "/usr/bin/" + p.name, mode: 0o755, data: program},
		{path: "/usr/share/man/man1/" + p.name + ".1.gz", mode: 0o644, data: zip(p.said["manual"])},
		{path: doc + "/changelog.Debian.gz", mode: 0o644, data: zip(p.changelog(r))},
		{path: doc + "/THIRD-PARTY.gz", mode: 0o644, data: zip(p.said["third-party"])},
	}
	trees := map[string]string{doc + "/changelog.gz": "CHANGELOG.md"}
	for name, from := range p.examples {
		trees[doc+"/examples/"+name] = from
	}
	templates := map[string]string{
		doc + "/copyright":                       "copyright",
		"/usr/share/lintian/overrides/" + p.name: "lintian-overrides",
	}
	if p.name == "edgeverify" {
		trees["/usr/share/edgechain/verify.html"] = "cmd/internal/verifypage/verify.html"
	}
	if p.service {
		trees["/lib/systemd/system/"+p.name+".service"] = "build/systemd/" + p.name + ".service"
		for _, folder := range []string{"operate", "reference"} {
			pages, err := os.ReadDir(filepath.Join(r.root, "docs", folder))
			if err != nil {
				return nil, err
			}
			for _, page := range pages {
				trees[path.Join(doc, folder, page.Name()+".gz")] = path.Join("docs", folder, page.Name())
			}
		}
		templates["/usr/lib/sysusers.d/"+p.name+".conf"] = "sysusers"
		etc := "/etc/" + p.name
		all = append(all,
			file{path: etc + "/" + p.name + ".toml", mode: 0o644, data: p.said["config"], conffile: true},
			file{path: etc + "/conf.d", mode: 0o755, folder: true},
			file{path: "/usr/share/man/man5/" + p.name + ".toml.5.gz", mode: 0o644, data: zip(p.said["reference"])},
			file{path: "/usr/share/bash-completion/completions/" + p.name, mode: 0o644, data: p.said["bash"]},
			file{path: "/usr/share/zsh/vendor-completions/_" + p.name, mode: 0o644, data: p.said["zsh"]},
			file{path: "/usr/share/fish/vendor_completions.d/" + p.name + ".fish", mode: 0o644, data: p.said["fish"]},
		)
	}
	for to, from := range trees {
		data, err := os.ReadFile(filepath.Join(r.root, filepath.FromSlash(from)))
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(to, ".gz") {
			data = zip(data)
		}
		all = append(all, file{path: to, mode: 0o644, data: data})
	}
	for to, from := range templates {
		data, err := p.fill(r, from)
		if err != nil {
			return nil, err
		}
		all = append(all, file{path: to, mode: 0o644, data: data})
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// fill completes one of the files in debian/ for the product.
func (p *product) fill(r *release, name string) ([]byte, error) {
	text, err := debian.ReadFile(path.Join("debian", name))
	if err != nil {
		return nil, err
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Name": p.name, "Summary": p.summary, "Service": p.service, "Year": r.date.Year(),
	})
	return b.Bytes(), err
}

// changelog is Debian's: that this version was packed. What changed is in the other one, CHANGELOG.md.
func (p *product) changelog(r *release) []byte {
	return fmt.Appendf(nil, "%s (%s-%s) stable; urgency=medium\n\n  * Version %s of %s; see changelog.gz for what is new.\n\n -- %s  %s\n",
		p.name, r.debianVersion(), revision, r.version, p.name, r.maintainer, r.date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
}

// zip compresses, without a time or a name in the result.
func zip(data []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}
