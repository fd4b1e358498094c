package broker

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"bufio"

	"golang.org/x/crypto/bcrypt"

	"edgechain/mqttwire"
)

// Access is what a rule allows.
type Access byte

// What a rule may allow.
const (
	Publish Access = 1 << iota
	Subscribe
)

// maxBcryptCost bounds what one password check costs: at 10 it is a tenth of a second on a PC and a second on a small
// board, and each step more doubles it.
const maxBcryptCost = 10

// Users is who may come in, and what with.
type Users struct {
	byName    map[string]*user
	anonymous *user  // nil if the file does not name them
	nobody    *user  // checked in place of a user that does not exist, so that both take as long
	key       []byte // of the digests of passwords that were right
}

type user struct {
	hash  []byte // bcrypt
	rules []rule

	// The password that was right last time, digested under Users.key, so that not each connection costs a bcrypt. One
	// for each user.
	right atomic.Pointer[[sha256.Size]byte]
}

// CheckUsers tells what is wrong with a users file.
func CheckUsers(path string) error {
	_, err := readUsers(path)
	return err
}

func readUsers(path string) (*Users, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the users file: %w", err)
	}
	defer f.Close()
	return ParseUsers(f, path)
}

// ParseUsers reads a users file; name stands for it in errors, which name the line. Lines are UTF-8; `#` begins a
// comment where a line begins with it, and blank lines and indentation mean nothing:
//
//	user press-07 $2y$10$Cy0bFN3XqlOu5mB1F5lUIe1U7OZ0m2DJ4z4dsy3XMsgaMhF0mRT3S
//	  allow publish   factory/%u/#
//	  allow subscribe factory/%u/commands
//	user node-red $2y$10$…
//	  allow readwrite factory/#
//	anonymous
//	  allow publish   local/+/state
//
// A user is followed by a bcrypt hash of the password (`htpasswd -nB -C 10 NAME`), of cost 10 at most, and by what that
// user may do: `publish`, `subscribe`, or `readwrite` for both, and a topic filter. What no line allows is refused. `deny` in
// place of `allow` takes away what other lines allow: a topic that it covers is neither published to nor heard of by a
// filter that covers more. `%u` and
// `%c` stand for a whole level that is the user's name or the client id. `anonymous` is for clients that name no user,
// where a listener lets them in.
func ParseUsers(r io.Reader, name string) (*Users, error) {
	u := &Users{byName: make(map[string]*user), key: make([]byte, sha256.Size)}
	if _, err := rand.Read(u.key); err != nil {
		return nil, err
	}
	var current *user
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		var err error
		if current, err = u.parseLine(line, current); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return u, u.makeNobody()
}

func (u *Users) parseLine(line string, current *user) (*user, error) {
	if !utf8.ValidString(line) {
		return nil, fmt.Errorf("not UTF-8")
	}
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

func (u *Users) parseUser(s string) (*user, error) {
	f := strings.Fields(s)
	if len(f) != 2 {
		return nil, fmt.Errorf("expected `user NAME BCRYPT-HASH`, the name without blanks")
	}
	name, hash := f[0], []byte(f[1])
	switch cost, err := bcrypt.Cost(hash); {
	// The name stands in entries, up to the first slash; `-` there is nobody.
	case name == "-" || strings.Contains(name, "/") || !printable(name):
		return nil, fmt.Errorf("user name %q: expected neither `-`, nor a slash or a control character in it", name)
	case u.byName[name] != nil:
		return nil, fmt.Errorf("user %s stands here twice", name)
	case err != nil:
		return nil, fmt.Errorf("password of user %s: %w: expected a bcrypt hash, as `htpasswd -nB -C 10 %s` prints it", name, err, name)
	case len(hash) != 60:
		return nil, fmt.Errorf("password of user %s: %d characters, expected the 60 of a bcrypt hash", name, len(hash))
	case cost > maxBcryptCost:
		return nil, fmt.Errorf("password of user %s: bcrypt cost %d, expected %d at most, since a small board needs a second for that", name, cost, maxBcryptCost)
	}
	u.byName[name] = &user{hash: hash}
	return u.byName[name], nil
}

// makeNobody gives strangers a hash as costly as that of the others.
func (u *Users) makeNobody() error {
	cost := bcrypt.MinCost
	for _, known := range u.byName {
		if c, err := bcrypt.Cost(known.hash); err == nil {
			cost = max(cost, c)
		}
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	u.nobody = &user{hash: hash}
	return err
}

// authenticate checks a password, which takes a tenth of a second unless it is remembered.
func (u *Users) authenticate(name string, password []byte) bool {
	if len(password) > 72 {
		return false // bcrypt looks at the first 72 bytes only: others would do as well
	}
	if u.remembers(name, password) {
		return true
	}
	who, known := u.byName[name]
	if !known {
		who = u.nobody
	}
	if bcrypt.CompareHashAndPassword(who.hash, password) != nil || !known {
		return false
	}
	digest := u.digest(who, password)
	who.right.Store(&digest)
	return true
}

// remembers reports whether a password is the one with which the user came in last.
func (u *Users) remembers(name string, password []byte) bool {
	who := u.byName[name]
	if who == nil {
		return false
	}
	right, digest := who.right.Load(), u.digest(who, password)
	return right != nil && hmac.Equal(right[:], digest[:])
}

func (u *Users) digest(who *user, password []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, u.key)
	mac.Write(who.hash)
	mac.Write(password)
	return [sha256.Size]byte(mac.Sum(nil))
}

// allow tells whether somebody may publish to a topic or subscribe to a filter; "" names the anonymous.
func (u *Users) allow(name, clientID, topic string, what Access) bool {
	who := u.byName[name]
	if name == "" {
		who = u.anonymous
	}
	if who == nil {
		return false // removed since it came in
	}
	if what == Subscribe {
		_, topic, _ = mqttwire.SplitShare(topic)
	}
	allowed := false
	for i := range who.rules {
		if r := &who.rules[i]; r.access&what != 0 && r.covers(topic, name, clientID) {
			if r.deny {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

// denies tells whether a rule forbids somebody to publish to a topic or subscribe to a filter.
func (u *Users) denies(name, clientID, topic string, what Access) bool {
	who := u.byName[name]
	if name == "" {
		who = u.anonymous
	}
	return who != nil && slices.ContainsFunc(who.rules, func(r rule) bool { return r.deny && r.access&what != 0 && r.covers(topic, name, clientID) })
}

// publishes tells whether somebody may publish anything at all.
func (u *Users) publishes(name string) bool {
	who := u.byName[name]
	if name == "" {
		who = u.anonymous
	}
	return who != nil && slices.ContainsFunc(who.rules, func(r rule) bool { return !r.deny && r.access&Publish != 0 })
}

// rule allows what its filter covers.
type rule struct {
	access Access
	deny   bool
	filter string // %u and %c are the user's name and the client id
}

func parseRule(verb, s string) (rule, error) {
	word, filter, _ := strings.Cut(s, " ")
	r := rule{deny: verb == "deny", filter: strings.TrimSpace(filter)}
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
	for level := range strings.SplitSeq(r.filter, "/") {
		if level != "%u" && level != "%c" && (strings.Contains(level, "%u") || strings.Contains(level, "%c")) {
			return r, fmt.Errorf("topic filter %q: expected %%u and %%c as whole levels", filter)
		}
	}
	return r, nil
}

// covers tells whether the rule's filter covers a topic, or all topics of a filter.
func (r *rule) covers(topic, user, clientID string) bool {
	return mqttwire.CoversAs(r.filter, topic, func(level string) string {
		switch level {
		case "%u":
			return user
		case "%c":
			return clientID
		}
		return level
	})
}
