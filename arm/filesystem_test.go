package arm

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestFolderIsFoundOnItsFilesystem(t *testing.T) {
	for _, c := range []struct {
		board, dir string
		want       Filesystem
		volatile   bool
		card       string
	}{
		{"zero2w", "/var/lib/edgeagent", Filesystem{MountPoint: "/", Device: "179:2", Source: "/dev/mmcblk0p2", Type: "ext4"}, false, "mmcblk0"},
		{"zero2w", "/tmp/edge", Filesystem{MountPoint: "/tmp", Device: "0:31", Source: "tmpfs", Type: "tmpfs"}, true, ""},
		{"zero2w", "/tmpfiles", Filesystem{MountPoint: "/", Device: "179:2", Source: "/dev/mmcblk0p2", Type: "ext4"}, false, "mmcblk0"},
		{"3bplus", "/var/lib/edgeagent", Filesystem{MountPoint: "/", Device: "0:29", Source: "overlay", Type: "overlay"}, true, ""},
		{"3bplus", "/data/edgeagent", Filesystem{MountPoint: "/data", Device: "179:3", Source: "/dev/mmcblk0p3", Type: "ext4"}, false, "mmcblk0"},
		{"3bplus", "/boot/firmware", Filesystem{MountPoint: "/boot/firmware", Device: "179:1", Source: "/dev/mmcblk0p1", Type: "vfat", ReadOnly: true}, false, "mmcblk0"},
		{"5", "/mnt/nvme/edge", Filesystem{MountPoint: "/mnt/nvme", Device: "259:1", Source: "/dev/nvme0n1p1", Type: "ext4"}, false, ""},
	} {
		b := recorded(t, c.board)
		got := b.Filesystem(c.dir)
		got.SpaceKnown, got.Size, got.Free = false, 0, 0 // the space is this machine's
		c.want.MountKnown = true
		if got != c.want || got.Volatile() != c.volatile {
			t.Errorf("%s: %s: %+v, want %+v", c.board, c.dir, got, c.want)
		}
		if card, _ := b.CardUnder(got); card.Device != c.card {
			t.Errorf("%s: %s lies on card %q, want %q", c.board, c.dir, card.Device, c.card)
		}
	}
}

func TestMountThatIsWantedAndNotThereIsMissed(t *testing.T) {
	for _, c := range []struct {
		board, dir, want string
	}{
		{"4b", "/srv/edge data", "/srv/edge data"},
		{"4b", "/srv/edge data/agent", "/srv/edge data"},
		{"4b", "/srv/edge database", ""},
		{"4b", "/var/lib/edgeagent", ""},
		{"3bplus", "/data/edgeagent", ""},
		{"5", "/mnt/nvme/edge", ""},
	} {
		if got := recorded(t, c.board).MissingMount(c.dir); got != c.want {
			t.Errorf("%s: %s: missing %q, want %q", c.board, c.dir, got, c.want)
		}
	}

	b := recorded(t, "5")
	mounts := string(b.file("proc/self/mountinfo", 1<<20))
	i := strings.LastIndex(strings.TrimSpace(mounts), "\n")
	put(t, b, "proc/self/mountinfo", mounts[:i+1])
	if got := b.MissingMount("/mnt/nvme/edge"); got != "/mnt/nvme" {
		t.Errorf("the unit's disk is gone: missing %q", got)
	}
}

// systemd mounts the folders that a sandboxed unit may write to upon themselves: they are mount points then, whether or
// not what belongs there is mounted.
func TestSandboxOfAUnitDoesNotHideAMissingMount(t *testing.T) {
	b := recorded(t, "4b")
	mounts := string(b.file("proc/self/mountinfo", 1<<20))
	put(t, b, "proc/self/mountinfo", mounts+`120 29 179:2 /srv/edge\040data /srv/edge\040data rw,noatime - ext4 /dev/mmcblk0p2 rw`+"\n")
	if got := b.MissingMount("/srv/edge data/agent"); got != "/srv/edge data" {
		t.Errorf("mounted upon itself: missing %q", got)
	}
	put(t, b, "proc/self/mountinfo", mounts+`120 29 8:1 / /srv/edge\040data rw,noatime - ext4 /dev/sda1 rw
130 120 8:1 /agent /srv/edge\040data/agent rw,noatime - ext4 /dev/sda1 rw`+"\n")
	if got := b.MissingMount("/srv/edge data/agent"); got != "" {
		t.Errorf("the disk is there: missing %q", got)
	}
	if f := b.Filesystem("/srv/edge data/agent"); f.Device != "8:1" || f.MountPoint != "/srv/edge data/agent" {
		t.Errorf("%+v", f)
	}
}

func TestLaterMountHidesTheEarlier(t *testing.T) {
	b := recorded(t, "zero2w")
	put(t, b, "proc/self/mountinfo", string(b.file("proc/self/mountinfo", 1<<20))+
		"140 33 8:1 / /tmp rw - ext4 /dev/sda1 ro\n")
	if f := b.Filesystem("/tmp"); f.Type != "ext4" || !f.ReadOnly {
		t.Errorf("%+v", f)
	}
}

func TestLinkToAVolatileFolderIsFollowed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /dev/shm")
	}
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip("no /dev/shm")
	}
	link := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink("/dev/shm", link); err != nil {
		t.Fatal(err)
	}
	if f := (Board{}).Filesystem(filepath.Join(link, "chain")); !f.Volatile() {
		t.Errorf("%+v", f)
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add("29 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n", `UUID=x /srv/a\040b ext4 defaults 0 2`)
	f.Add(`1 2 3:4 /\04 /\ ro - x \777 y`, "a /\\ b")
	f.Fuzz(func(t *testing.T, mounts, fstab string) {
		b := Board{Root: t.TempDir()}
		put(t, b, "proc/self/mountinfo", mounts)
		put(t, b, "etc/fstab", fstab)
		b.Filesystem("/srv/a b/c")
		if point := b.MissingMount("/srv/a b/c"); point != "" && !within("/srv/a b/c", point) {
			t.Errorf("missing %q, which is not above the folder", point)
		}
	})
}
