package broker

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"edgechain.example/tomlconf"
)

// Files of users are read line by line, ours and Mosquitto's.

// readLines gives each line that is no comment and not blank, without blanks around it. Errors name file and line.
func readLines(path string, parse func(line string) error) error {
	text, err := tomlconf.ReadFile(path, maxUsers)
	if err != nil {
		return fmt.Errorf("reading the users: %w", err)
	}
	return scanLines(bytes.NewReader(text), path, parse)
}

// scanLines is readLines for what is open already; name stands for it in errors.
func scanLines(r io.Reader, name string, parse func(line string) error) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		err := error(nil)
		if !utf8.ValidString(line) {
			err = errors.New("not UTF-8")
		}
		if err = cmp.Or(err, parse(line)); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}
