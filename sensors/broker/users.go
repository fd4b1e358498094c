package broker

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"edgechain.example/mqttwire"
	"edgechain.example/tomlconf"
)

// Access is what a rule allows.
type Access byte

// What a rule may allow.
const (
	Publish Access = 1 << iota
	Subscribe
)

// Users is who may come in, and what with: as a users file has it, or Mosquitto's files.
type Users struct {
	byName    map[string]*user
	anonymous *user    // nil if the file does not name them
	patterns  []rule   // for everybody, after the user's own
	filtered  bool     // anybody may subscribe to anything, and hears what the rules let through
	nobody    password // checked in place of a user that does not exist, so that both take as long
	key       []byte   // of the digests of passwords that were right
}

type user struct {
	password password // nil: none is right, as for the anonymous and who comes in by a certificate alone
	rules    []rule

	// The password that was right last time, digested under Users.key, so that not each connection costs a slow check. One
	// for each user.
	right atomic.Pointer[[sha256.Size]byte]
}

func newUsers() (*Users, error) {
	u := &Users{byName: make(map[string]*user), key: make([]byte, sha256.Size)}
	_, err := rand.Read(u.key)
	return u, err
}

// CheckUsers tells what is wrong with a users file.
func CheckUsers(path string) error {
	_, err := readUsers(path)
	return err
}

// maxUsers bounds a file of users, or of what they may do, in bytes: some hundred thousand lines.
const maxUsers = 16 << 20

func readUsers(path string) (*Users, error) {
	text, err := tomlconf.ReadFile(path, maxUsers)
	if err != nil {
		return nil, fmt.Errorf("reading the users file: %w", err)
	}
	return ParseUsers(bytes.NewReader(text), path)
}

// ParseUsers reads a users file; name stands for it in errors, which name the line. Lines are UTF-8; `#` begins a
// comment where a line begins with it, and blank lines and indentation mean nothing:
//
//	user press-07 $2y$10$Cy0bFN3XqlOu5mB1F5lUIe1U7OZ0m2DJ4z4dsy3XMsgaMhF0mRT3S
//	  allow publish   factory/%u/#
//	  allow subscribe factory/%u/commands
//	user node-red $2y$10$…
//	  allow readwrite factory/#
//	user press-08 certificate
//	  allow publish   factory/%u/#
//	anonymous
//	  allow publish   local/+/state
//
// A user is followed by a bcrypt hash of the password (`htpasswd -nB -C 10 NAME`), of cost 10 at most, and by what that
// user may do: `publish`, `subscribe`, or `readwrite` for both, and a topic filter. What no line allows is refused. `deny` in
// place of `allow` takes away what other lines allow: a topic that it covers is neither published to nor heard of by a
// filter that covers more. `certificate` in place of a hash is for who comes in by a client certificate alone; one with a hash
// may do either. `%u` and
// `%c` stand for a whole level that is the user's name or the client id. `anonymous` is for clients that name no user,
// where a listener lets them in.
func ParseUsers(r io.Reader, name string) (*Users, error) {
	u, err := newUsers()
	if err != nil {
		return nil, err
	}
	var current *user
	err = scanLines(r, name, func(line string) (err error) {
		current, err = u.parseLine(line, current)
		return err
	})
	if err != nil {
		return nil, err
	}
	return u, u.makeNobody()
}

func (u *Users) parseLine(line string, current *user) (*user, error) {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "user":
		return u.parseUser(rest)
	case "anonymous":
		if rest != "" || u.anonymous != nil {
			return nil, fmt.Errorf("expected `anonymous` alone on its line, once")
		}
		u.anonymous = new(user)
		return u.anonymous, nil
	case "allow", "deny":
		if current == nil {
			return nil, fmt.Errorf("`%s` before the first `user` or `anonymous`", word)
		}
		r, err := parseRule(word, rest)
		current.rules = append(current.rules, r)
		return current, err
	}
	return nil, fmt.Errorf("unknown word %q: expected `user NAME BCRYPT-HASH`, `anonymous`, `allow publish|subscribe|readwrite FILTER`, or `deny` likewise", word)
}

// byCertificate stands in place of a hash.
const byCertificate = "certificate"

func (u *Users) parseUser(s string) (*user, error) {
	f := strings.Fields(s)
	if len(f) != 2 {
		return nil, fmt.Errorf("expected `user NAME BCRYPT-HASH`, or `user NAME certificate`, the name without blanks")
	}
	name := f[0]
	if err := u.checkName(name); err != nil {
		return nil, err
	}
	if f[1] == byCertificate {
		u.byName[name] = new(user)
		return u.byName[name], nil
	}
	hash, err := parseBcrypt(name, f[1])
	if err != nil {
		return nil, err
	}
	u.byName[name] = &user{password: hash}
	return u.byName[name], nil
}

// checkName refuses a name that no user may have. It stands in entries, up to the first slash; `-` there is nobody.
func (u *Users) checkName(name string) error {
	if err := checkUserName(name); err != nil {
		return err
	}
	if u.byName[name] != nil {
		return fmt.Errorf("user %s stands here twice", name)
	}
	return nil
}

func checkUserName(name string) error {
	if name == "" || name == "-" || strings.Contains(name, "/") || !printable(name) || !utf8.ValidString(name) {
		return fmt.Errorf("user name %q: expected neither `-`, nor a slash or a control character in it", name)
	}
	return nil
}

// makeNobody gives strangers a password as costly to check as that of the others.
func (u *Users) makeNobody() (err error) {
	var all []password
	for _, known := range u.byName {
		if known.password != nil {
			all = append(all, known.password)
		}
	}
	u.nobody, err = asCostly(all)
	return err
}

// authenticate checks a password, which takes a tenth of a second unless it is remembered.
func (u *Users) authenticate(name string, given []byte) bool {
	if u.remembers(name, given) {
		return true
	}
	who := u.byName[name]
	if who == nil || who.password == nil {
		u.nobody.matches(given)
		return false
	}
	if !who.password.matches(given) {
		return false
	}
	digest := u.digest(who, given)
	who.right.Store(&digest)
	return true
}

// remembers reports whether a password is the one with which the user came in last.
func (u *Users) remembers(name string, given []byte) bool {
	who := u.byName[name]
	if who == nil {
		return false
	}
	right := who.right.Load()
	if right == nil {
		return false
	}
	digest := u.digest(who, given)
	return hmac.Equal(right[:], digest[:])
}

func (u *Users) digest(who *user, given []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, u.key)
	mac.Write([]byte(who.password.String()))
	mac.Write(given)
	return [sha256.Size]byte(mac.Sum(nil))
}

// A ruling is what rules say of one topic.
type ruling byte

const (
	silent ruling = iota // which is a no
	allowed
	denied
)

// named returns a user, nil if there is none; "" names the anonymous.
func (u *Users) named(name string) *user {
	if name == "" {
		return u.anonymous
	}
	return u.byName[name]
}

// judge finds what the rules say: a user's own first, and of these what denies.
func (u *Users) judge(name, clientID, topic string, what Access) ruling {
	who := u.named(name)
	if who == nil {
		return silent // removed since it came in
	}
	for i, rules := range [...][]rule{who.rules, u.patterns} {
		if i > 0 && strings.ContainsAny(name+clientID, "+#") {
			break // a pattern that names it would let it through anywhere
		}
		found := silent
		for i := range rules {
			if r := &rules[i]; r.access&what != 0 && r.covers(topic, name, clientID) {
				if r.deny {
					return denied
				}
				found = allowed
			}
		}
		if found == allowed {
			return allowed
		}
	}
	return silent
}

// allow tells whether somebody may publish to a topic or subscribe to a filter; "" names the anonymous.
func (u *Users) allow(name, clientID, topic string, what Access) bool {
	if what == Subscribe {
		_, topic, _ = mqttwire.SplitShare(topic)
	}
	return u.judge(name, clientID, topic, what) == allowed
}

// denies tells whether a rule forbids somebody to publish to a topic or subscribe to a filter.
func (u *Users) denies(name, clientID, topic string, what Access) bool {
	return u.judge(name, clientID, topic, what) == denied
}

// publishes tells whether somebody may publish anything at all.
func (u *Users) publishes(name string) bool {
	who := u.named(name)
	publishes := func(r rule) bool { return !r.deny && r.access&Publish != 0 }
	return who != nil && (slices.ContainsFunc(who.rules, publishes) || slices.ContainsFunc(u.patterns, publishes))
}

// rule allows what its filter covers.
type rule struct {
	access      Access
	deny        bool
	filter      string
	substitutes bool // %u and %c in the filter are the user's name and the client id
}

func parseRule(verb, s string) (rule, error) {
	word, filter, _ := strings.Cut(s, " ")
	r := rule{deny: verb == "deny", filter: strings.TrimSpace(filter), substitutes: true}
	switch word {
	case "publish":
		r.access = Publish
	case "subscribe":
		r.access = Subscribe
	case "readwrite":
		r.access = Publish | Subscribe
	default:
		return r, fmt.Errorf("cannot %s %q: expected `%[1]s publish|subscribe|readwrite FILTER`", verb, word)
	}
	if r.filter == "" {
		return r, fmt.Errorf("expected a topic filter after `%s %s`", verb, word)
	}
	if err := mqttwire.CheckFilter(r.filter); err != nil {
		return r, fmt.Errorf("topic filter %q: %w", filter, err)
	}
	return r, checkLevels(r.filter)
}

// checkLevels refuses a filter in which %u or %c is a part of a level.
func checkLevels(filter string) error {
	for level := range strings.SplitSeq(filter, "/") {
		if level != "%u" && level != "%c" && (strings.Contains(level, "%u") || strings.Contains(level, "%c")) {
			return fmt.Errorf("topic filter %q: expected %%u and %%c as whole levels", filter)
		}
	}
	return nil
}

// covers tells whether the rule's filter covers a topic, or all topics of a filter.
func (r *rule) covers(topic, user, clientID string) bool {
	if !r.substitutes {
		return mqttwire.Covers(r.filter, topic)
	}
	return mqttwire.CoversAs(r.filter, topic, func(level string) string {
		switch level {
		case "%u":
			return cmp.Or(user, "+") // of the anonymous: it covers nothing
		case "%c":
			return clientID
		}
		return level
	})
}
