package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A help is what a program says when it is asked for help, taken apart: text, how it is called, and then lists under
// titles that end with a colon. Cobra's form and that of package flag are both understood.
type help struct {
	text  []string // paragraphs' lines, with empty ones between
	usage []string
	lists []list
}

type list struct {
	title string
	items []item
}

// An item is one line "  -c, --config FILE    the file" or "  run    Record", with its continuation joined.
type item struct{ term, text string }

var (
	title = regexp.MustCompile(`^([A-Z][^:]*):$`)
	entry = regexp.MustCompile(`^ {2,6}(\S.*?)(?: {2,}(\S.*))?$`)
)

func parseHelp(output []byte) (h help) {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	var in *list
	usage := false
	for i, line := range lines {
		heading := title.FindStringSubmatch(line)
		switch {
		case heading != nil && (heading[1] == "Usage" || h.usage != nil) && i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  "):
			usage, in = heading[1] == "Usage", nil
			if !usage {
				h.lists = append(h.lists, list{title: heading[1]})
				in = &h.lists[len(h.lists)-1]
			}
		case strings.HasPrefix(line, "Usage: "):
			usage = true
			h.usage = append(h.usage, strings.TrimPrefix(line, "Usage: "))
		case line == "":
			if !usage && in == nil {
				h.text = append(h.text, "")
			}
			usage, in = false, nil
		case usage:
			h.usage = append(h.usage, strings.TrimSpace(line))
		case in != nil:
			found := entry.FindStringSubmatch(strings.ReplaceAll(line, "\t", "        "))
			if found != nil {
				in.items = append(in.items, item{found[1], found[2]})
			} else if n := len(in.items); n > 0 {
				in.items[n-1].text = strings.TrimSpace(in.items[n-1].text + " " + strings.TrimSpace(line))
			}
		case !strings.HasPrefix(line, `Use "`): // where to find more help; in a page it is below
			h.text = append(h.text, line)
		}
	}
	return h
}

// manual writes the program's page for section 1 of the manual. It is made of what the program says of itself when it
// is asked for help, so that the two cannot differ, and the program need not link a writer of manual pages.
func (p *product) manual(ctx context.Context, r *release) ([]byte, error) {
	top, err := p.help(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	p.header(&b, r, p.name, 1, "User Commands")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", roff(p.name), roff(p.summary))
	writeUsage(&b, top.usage)
	fmt.Fprint(&b, ".SH DESCRIPTION\n")
	writeText(&b, top.text)
	fmt.Fprint(&b, ".SH OPTIONS\n")
	writeOptions(&b, top)
	if commands := top.commands(); len(commands) > 0 {
		fmt.Fprint(&b, ".SH COMMANDS\n")
		for _, name := range commands {
			if err := p.command(ctx, &b, []string{name}); err != nil {
				return nil, err
			}
		}
	}
	if p.service {
		fmt.Fprint(&b, ".SH FILES\n")
		for _, f := range []item{
			{"/etc/" + p.name + "/" + p.name + ".toml", "the configuration, with conf.d/*.toml beside it"},
			{"/var/lib/" + p.name, "the data: of the user and the group " + p.name},
			{"/run/" + p.name, "the socket by which the other commands speak with the service, for the same group"},
			{"/usr/share/doc/" + p.name, "how to operate it, and examples"},
		} {
			fmt.Fprintf(&b, ".TP\n.I %s\n%s.\n", roff(f.term), roff(f.text))
		}
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (5),\n.BR systemctl (1)\n", roff(p.name+".toml"))
	}
	return b.Bytes(), nil
}

// command writes the section of one command, and of those below it.
func (p *product) command(ctx context.Context, b *bytes.Buffer, names []string) error {
	h, err := p.help(ctx, names...)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, ".SS %s\n", roff(strings.Join(names, " ")))
	writeText(b, h.text)
	fmt.Fprint(b, ".PP\n")
	writeUsage(b, h.usage)
	writeOptions(b, h)
	for _, below := range h.commands() {
		if err := p.command(ctx, b, append(slices.Clone(names), below)); err != nil {
			return err
		}
	}
	return nil
}

func (p *product) help(ctx context.Context, names ...string) (help, error) {
	args := append(slices.Clone(names), "--help")
	output, err := command(ctx, p.host, args...).CombinedOutput()
	if err != nil {
		return help{}, fmt.Errorf("%s %s: %w", p.name, strings.Join(args, " "), err)
	}
	h := parseHelp(output)
	// What is not a command is answered with the help of the one above it.
	if want := strings.Join(append([]string{p.name}, names...), " "); len(h.usage) == 0 || !strings.HasPrefix(h.usage[0]+" ", want+" ") {
		return help{}, fmt.Errorf("%s %s: expected the usage of %q, found %q", p.name, strings.Join(args, " "), want, h.usage)
	}
	return h, nil
}

// commands returns the names that the help lists as commands, without those that every program of its kind has.
func (h help) commands() (names []string) {
	for _, l := range h.lists {
		for _, i := range l.items {
			name, _, _ := strings.Cut(i.term, " ") // one blank follows the longest name
			if !strings.HasPrefix(name, "-") && l.title != "Aliases" && l.title != "Examples" && name != "help" && name != "completion" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func writeUsage(b *bytes.Buffer, usage []string) {
	fmt.Fprint(b, ".nf\n")
	for _, line := range usage {
		name, rest, _ := strings.Cut(line, " ")
		fmt.Fprintf(b, "\\fB%s\\fR %s\n", roff(name), roff(rest))
	}
	fmt.Fprint(b, ".fi\n")
}

// writeText writes paragraphs. One with an indented line is set as it is.
func writeText(b *bytes.Buffer, lines []string) {
	for _, paragraph := range strings.Split(strings.Trim(strings.Join(lines, "\n"), "\n"), "\n\n") {
		verbatim := strings.HasPrefix(paragraph, " ") || strings.Contains(paragraph, "\n ") || strings.Contains(paragraph, ":   ")
		fmt.Fprint(b, ".PP\n")
		if verbatim {
			fmt.Fprint(b, ".nf\n")
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			fmt.Fprintf(b, "%s\n", roff(line))
		}
		if verbatim {
			fmt.Fprint(b, ".fi\n")
		}
	}
}

// writeOptions writes a command's own flags; the ones of all commands are told once, at the top.
func writeOptions(b *bytes.Buffer, h help) {
	for _, l := range h.lists {
		if l.title == "Global Flags" {
			continue
		}
		for _, i := range l.items {
			if strings.HasPrefix(i.term, "-") && !strings.HasPrefix(i.term, "-h,") {
				fmt.Fprintf(b, ".TP\n\\fB%s\\fR\n%s\n", roff(i.term), roff(i.text))
			}
		}
	}
}

// reference writes the page of the configuration for section 5: the sample, which explains every key.
func (p *product) reference(r *release, sample []byte) []byte {
	var b bytes.Buffer
	name := p.name + ".toml"
	p.header(&b, r, name, 5, "File Formats")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- configuration of %s\n.SH DESCRIPTION\n.nf\n", roff(name), roff(p.name))
	for line := range strings.Lines(string(sample)) {
		fmt.Fprintf(&b, "%s\n", roff(strings.TrimRight(line, "\n")))
	}
	fmt.Fprintf(&b, ".fi\n.SH SEE ALSO\n.BR %s (1)\n", roff(p.name))
	return b.Bytes()
}

func (p *product) header(b *bytes.Buffer, r *release, name string, section int, manual string) {
	fmt.Fprintf(b, ".TH %s %d %s \"Edgechain %s\" \"%s\"\n.nh\n.ad l\n",
		strings.ToUpper(roff(name)), section, r.date.Format("2006-01-02"), roff(r.version), manual)
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", "\\`")

// roff escapes a line: a backslash, the hyphens that somebody may copy, and what begins a line as a request would.
func roff(line string) string {
	line = roffEscapes.Replace(line)
	if strings.HasPrefix(line, ".") {
		line = `\&` + line
	}
	return line
}
