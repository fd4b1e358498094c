package broker

import (
	"errors"
	"fmt"
	"strings"

	"edgechain.example/mqttwire"
)

// What Mosquitto has is read as it is: its password_file and its acl_file, with the meaning that they have there. Two things
// are stricter here: a substituted %u or %c is one level of a topic even where the name has a slash, and a line that
// Mosquitto would skip or take for something else is an error.

// CheckMosquitto tells what is wrong with a password_file and an acl_file; the latter may be "".
func CheckMosquitto(passwords, acl string) error {
	_, err := readMosquitto(passwords, acl)
	return err
}

// readMosquitto reads users from Mosquitto's files. Without an acl_file everybody may do everything, as there.
func readMosquitto(passwords, acl string) (*Users, error) {
	u, err := newUsers()
	if err != nil {
		return nil, err
	}
	u.anonymous, u.filtered = new(user), true
	if err := readLines(passwords, u.parsePassword); err != nil {
		return nil, err
	}
	if acl == "" {
		u.patterns = []rule{{access: Publish | Subscribe, filter: "#"}, {access: Subscribe, filter: "$SYS/#"}}
		return u, u.makeNobody()
	}
	p := aclParser{users: u, current: u.anonymous}
	if err := readLines(acl, p.parse); err != nil {
		return nil, err
	}
	return u, u.makeNobody()
}

// parsePassword reads a line of a password_file: NAME:HASH.
func (u *Users) parsePassword(line string) error {
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return errors.New("expected NAME:HASH, as mosquitto_passwd writes it")
	}
	name, hash = strings.TrimSpace(name), strings.TrimSpace(hash) // as Mosquitto does
	if err := u.checkName(name); err != nil {
		return err
	}
	p, err := parseMosquittoHash(name, hash)
	if err != nil {
		return err
	}
	u.byName[name] = &user{password: p}
	return nil
}

// An aclParser reads an acl_file.
type aclParser struct {
	users   *Users
	current *user // whom `topic` lines are about; of one whose name cannot be a user's here it is nobody in particular
}

func (p *aclParser) parse(line string) error {
	word, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "user":
		if rest == "" {
			return errors.New("expected `user NAME`")
		}
		if p.current = p.users.byName[rest]; p.current == nil {
			p.current = new(user)
			if checkUserName(rest) == nil { // else its rules are for nobody
				p.users.byName[rest] = p.current // who may come in by a certificate
			}
		}
		return nil
	case "topic":
		r, err := parseACL(word, rest)
		p.current.rules = append(p.current.rules, r)
		return err
	case "pattern":
		r, err := parseACL(word, rest)
		r.substitutes = true
		p.users.patterns = append(p.users.patterns, r)
		return err
	}
	return fmt.Errorf("unknown word %q: expected `user NAME`, `topic [read|write|readwrite|deny] FILTER`, or `pattern` likewise", word)
}

// parseACL reads what follows `topic` or `pattern`: an access, which may be left out, and a filter.
func parseACL(word, s string) (r rule, err error) {
	access, filter, two := strings.Cut(s, " ")
	r.filter = strings.TrimSpace(filter)
	switch {
	case !two:
		r.access, r.filter = Publish|Subscribe, access
	case access == "read":
		r.access = Subscribe
	case access == "write":
		r.access = Publish
	case access == "readwrite":
		r.access = Publish | Subscribe
	case access == "deny":
		r.access, r.deny = Publish|Subscribe, true
	default:
		return r, fmt.Errorf("unknown access %q: expected `%s [read|write|readwrite|deny] FILTER`", access, word)
	}
	if r.filter == "" {
		return r, fmt.Errorf("expected a topic filter after `%s`", word)
	}
	if err := mqttwire.CheckFilter(r.filter); err != nil {
		return r, fmt.Errorf("topic filter %q: %w", r.filter, err)
	}
	if word == "pattern" {
		return r, checkLevels(r.filter)
	}
	return r, nil
}
