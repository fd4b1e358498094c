package broker

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// A password is what a file keeps of one. Its text is as it stands there.
type password interface {
	matches(given []byte) bool
	String() string
	cost() int // in a unit of its kind
}

// maxBcryptCost bounds what one password check costs: at 10 it is a tenth of a second on a PC and a second on a small
// board, and each step more doubles it.
const maxBcryptCost = 10

// A bcryptHash is as `htpasswd -nB` prints it.
type bcryptHash []byte

func parseBcrypt(user, text string) (bcryptHash, error) {
	hash := bcryptHash(text)
	switch cost, err := bcrypt.Cost(hash); {
	case err != nil:
		return nil, fmt.Errorf("password of user %s: %w: expected a bcrypt hash, as `htpasswd -nB -C 10 %s` prints it", user, err, user)
	case len(hash) != 60:
		return nil, fmt.Errorf("password of user %s: %d characters, expected the 60 of a bcrypt hash", user, len(hash))
	case cost > maxBcryptCost:
		return nil, fmt.Errorf("password of user %s: bcrypt cost %d, expected %d at most, since a small board needs a second for that", user, cost, maxBcryptCost)
	}
	return hash, nil
}

func (h bcryptHash) matches(given []byte) bool {
	return len(given) <= 72 && // it looks at the first 72 bytes only: others would do as well
		bcrypt.CompareHashAndPassword(h, given) == nil
}

func (h bcryptHash) String() string { return string(h) }

func (h bcryptHash) cost() int {
	cost, _ := bcrypt.Cost(h) // parsed before
	return cost
}

// maxIterations bounds what a check of Mosquitto's costs: a tenth of a second on a PC. mosquitto_passwd makes 101 unless told
// otherwise.
const maxIterations = 100_000

// A mosquittoHash is as mosquitto_passwd writes it: `$7$ITERATIONS$SALT$HASH`, PBKDF2 with HMAC-SHA-512, or `$6$SALT$HASH`,
// one SHA-512 of password and salt; salt and hash in base64.
type mosquittoHash struct {
	text       string
	iterations int // 0: one SHA-512
	salt, sum  []byte
}

func parseMosquittoHash(user, text string) (*mosquittoHash, error) {
	h := &mosquittoHash{text: text}
	parts := strings.Split(text, "$")
	var err error
	switch {
	case strings.HasPrefix(text, "$argon2"):
		return nil, fmt.Errorf("password of user %s: an Argon2 hash, which this broker does not check: `mosquitto_passwd -H sha512-pbkdf2` makes one that it does", user)
	case len(parts) == 4 && parts[0] == "" && parts[1] == "6":
	case len(parts) == 5 && parts[0] == "" && parts[1] == "7":
		if h.iterations, err = strconv.Atoi(parts[2]); err != nil || h.iterations < 1 || h.iterations > maxIterations {
			return nil, fmt.Errorf("password of user %s: %s iterations, expected 1 to %d, since a small board needs a second for that", user, parts[2], maxIterations)
		}
	default:
		return nil, fmt.Errorf("password of user %s: expected a hash, $7$… or $6$…, as `mosquitto_passwd -U FILE` makes of a file with passwords in the clear", user)
	}
	for i, field := range []*[]byte{&h.salt, &h.sum} {
		if *field, err = base64.StdEncoding.DecodeString(parts[len(parts)-2+i]); err != nil {
			return nil, fmt.Errorf("password of user %s: salt and hash are base64: %w", user, err)
		}
	}
	if len(h.sum) != sha512.Size || len(h.salt) == 0 {
		return nil, fmt.Errorf("password of user %s: a salt of %d bytes and a hash of %d, expected some and %d", user, len(h.salt), len(h.sum), sha512.Size)
	}
	return h, nil
}

func (h *mosquittoHash) matches(given []byte) bool {
	var sum []byte
	if h.iterations == 0 {
		s := sha512.Sum512(append(bytes.Clone(given), h.salt...))
		sum = s[:]
	} else {
		var err error
		if sum, err = pbkdf2.Key(sha512.New, string(given), h.salt, h.iterations, sha512.Size); err != nil {
			return false
		}
	}
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (h *mosquittoHash) String() string { return h.text }

func (h *mosquittoHash) cost() int { return h.iterations }

// asCostly returns a password that nobody has, whose check takes as long as the longest of others.
func asCostly(others []password) (password, error) {
	var most password
	for _, p := range others {
		if most == nil || p.cost() > most.cost() {
			most = p
		}
	}
	if h, ok := most.(*mosquittoHash); ok {
		return &mosquittoHash{iterations: h.iterations, salt: []byte(rand.Text()), sum: make([]byte, sha512.Size)}, nil
	}
	cost := bcrypt.MinCost
	if most != nil {
		cost = most.cost()
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	return bcryptHash(hash), err
}
