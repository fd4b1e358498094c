package arm

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Filesystem is what a folder lies on.
type Filesystem struct {
	MountKnown bool
	MountPoint string // "/var/lib/edgeagent"
	Device     string // major and minor number, "179:2"
	Source     string // what was mounted: "/dev/mmcblk0p2", "/dev/root", "tmpfs"
	Type       string // "ext4"
	ReadOnly   bool

	SpaceKnown bool
	Size       uint64 // bytes
	Free       uint64 // bytes that a program without privileges may still write
}

// Volatile reports whether what is written here is gone after the next boot: in memory, or in the upper layer of an
// overlay, which is in memory where somebody protects a card that way, and with the container elsewhere.
func (f Filesystem) Volatile() bool {
	switch f.Type {
	case "tmpfs", "ramfs", "overlay", "aufs", "rootfs":
		return true
	}
	return false
}

// Filesystem finds out what dir, an absolute path, lies on; symbolic links in it are followed on this machine, and not
// where a root is given.
func (b Board) Filesystem(dir string) Filesystem {
	dir = b.resolve(dir)
	var f Filesystem
	if m, ok := mountOver(b.mounts(), dir); ok {
		f = Filesystem{
			MountKnown: true,
			MountPoint: m.point,
			Device:     m.device,
			Source:     m.source,
			Type:       m.kind,
			ReadOnly:   m.readOnly,
		}
	}
	if s, err := statfs(under(b.Root, dir)); err == nil {
		f.SpaceKnown, f.Size, f.Free = true, s.size, s.free
		if f.Type == "" { // no /proc
			f.Type = s.kind
		}
	}
	return f
}

// resolve follows the links on the way to dir, as far as dir exists.
func (b Board) resolve(dir string) string {
	if b.Root != "" {
		return filepath.Clean(dir)
	}
	existing, rest := filepath.Clean(dir), ""
	for {
		target, err := filepath.EvalSymlinks(existing)
		if err == nil {
			return filepath.Join(target, rest)
		}
		parent := filepath.Dir(existing)
		if parent == existing {
			return filepath.Clean(dir)
		}
		existing, rest = parent, filepath.Join(filepath.Base(existing), rest)
	}
}

// MissingMount returns the mount point, dir itself or a folder above it, where /etc/fstab or a mount unit of the
// administrator's wants a file system and none is mounted; "" if nothing is missing. Writing to dir then fills the
// file system below, and disappears when the right one is mounted over it.
func (b Board) MissingMount(dir string) string {
	dir = b.resolve(dir)
	// Of several wanted above dir the lowest decides: that is where dir's files are.
	point := ""
	for _, wanted := range b.wantedMounts() {
		if wanted != "/" && within(dir, wanted) && len(wanted) > len(point) {
			point = wanted
		}
	}
	if point == "" {
		return ""
	}
	all := b.mounts()
	if len(all) == 0 {
		return "" // no /proc: nobody knows
	}
	m, _ := mountOver(all, point)
	if m.point != point {
		return point
	}
	// In a systemd unit that may write only here (ReadWritePaths=, StateDirectory=), the folder is a mount point even
	// so: a part of the root file system, mounted upon itself.
	if system, ok := mountOver(all, "/"); ok && m.device == system.device && m.root == point {
		return point
	}
	return ""
}

// wantedMounts returns the mount points that the administrator has named.
func (b Board) wantedMounts() []string {
	var points []string
	for line := range strings.Lines(string(b.file("etc/fstab", 1<<20))) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") {
			continue // a comment; swap has "none"
		}
		points = append(points, filepath.ToSlash(filepath.Clean(unescape(fields[1]))))
	}
	units, _ := filepath.Glob(under(b.Root, "etc/systemd/system/*.mount"))
	for _, unit := range units {
		for line := range strings.Lines(string(content(unit, 1<<20))) {
			key, value, _ := strings.Cut(line, "=")
			if strings.TrimSpace(key) == "Where" {
				points = append(points, filepath.ToSlash(filepath.Clean(strings.TrimSpace(value))))
			}
		}
	}
	return points
}

// mount is one line of /proc/self/mountinfo, proc_pid_mountinfo(5).
type mount struct {
	device   string // of the file system
	root     string // the folder in it that is mounted
	point    string
	kind     string
	source   string
	readOnly bool
}

func (b Board) mounts() []mount {
	var all []mount
	for line := range strings.Lines(string(b.file("proc/self/mountinfo", 4<<20))) {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
		before, after, ok := strings.Cut(line, " - ")
		own, shared := strings.Fields(before), strings.Fields(after)
		if !ok || len(own) < 6 || len(shared) < 3 {
			continue
		}
		all = append(all, mount{
			device: own[2],
			root:   unescape(own[3]),
			point:  unescape(own[4]),
			kind:   shared[0],
			source: unescape(shared[1]),
			// The mount or the file system under it: either forbids writing.
			readOnly: hasOption(own[5], "ro") || hasOption(shared[2], "ro"),
		})
	}
	return all
}

func hasOption(list, option string) bool {
	for o := range strings.SplitSeq(list, ",") {
		if o == option {
			return true
		}
	}
	return false
}

// mountOver returns the mount that path lies on: the lowest, and of several on one point the last.
func mountOver(all []mount, path string) (found mount, ok bool) {
	path = filepath.ToSlash(path)
	for _, m := range all {
		if within(path, m.point) && len(m.point) >= len(found.point) {
			found, ok = m, true
		}
	}
	return found, ok
}

// within reports whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// unescape takes the octal escapes out of a path: a space is \040.
func unescape(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		if len(s) >= 4 {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = s[4:]
				continue
			}
		}
		b.WriteByte('\\')
		s = s[1:]
	}
	b.WriteString(s)
	return b.String()
}

// space is what statfs(2) says.
type space struct {
	size, free uint64
	kind       string // "" where its number is not one that matters here
}
