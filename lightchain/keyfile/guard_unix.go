//go:build unix

package keyfile

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// overwritesAfterRename says that a file which is open keeps its blocks when another takes its name.
const overwritesAfterRename = true

// checkPrivate refuses a file to which others than its owner have any right, and one whose owner is a third party:
// neither root, nor whom the program runs as. Root itself may use anybody's, since `sudo edgeagent key show` does.
func checkPrivate(path string, info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s: %w (mode %#o): run `chmod 600 %s`", path, ErrExposed, perm, shellWord(path))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if uid := uint32(os.Geteuid()); uid != 0 && stat.Uid != 0 && stat.Uid != uid {
		return fmt.Errorf("%s: %w: it belongs to user %d and this program runs as %d: run `chown %d %s`",
			path, ErrExposed, stat.Uid, uid, uid, shellWord(path))
	}
	return nil
}

// shellWord quotes a path where a shell would take it apart.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("/._-+,:@%", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	if strings.HasPrefix(s, "-") {
		s = "./" + s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
