package tomlconf

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME}, ${NAME:-text} and $$ in a text, as the package comment says. Its errors never repeat the
// text, which may be a password.
func (d *Document) expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "{"):
			inside, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", errors.New("${ without }; a dollar before { is written $$")
			}
			value, err := d.lookup(inside)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			text = rest
		default:
			out.WriteByte('$')
			text = after
		}
	}
}

// lookup returns the value of what stands between ${ and }.
func (d *Document) lookup(inside string) (string, error) {
	name, fallback, hasFallback := strings.Cut(inside, ":-")
	if !variableName.MatchString(name) {
		return "", errors.New("expected ${NAME} or ${NAME:-text}, the name of A-Z, a-z, 0-9 and _; a dollar before { is written $$")
	}
	if strings.Contains(fallback, "${") {
		return "", fmt.Errorf("${%s:-…: a default cannot hold another ${…}", name)
	}
	d.used[name] = true
	value, ok := d.env[name]
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case !ok:
		return "", unsetError{name}
	}
	return value, nil
}

// unsetError names a variable that the environment does not have.
type unsetError struct{ name string }

func (e unsetError) Error() string {
	return fmt.Sprintf("the environment has no variable %s; ${%s:-text} would give it a default", e.name, e.name)
}
