package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A smallDisk is a file system of its own, with a file that fills it as far as wanted.
type smallDisk struct {
	t   testing.TB
	dir string
}

const smallDiskSize = 48 << 20

// newSmallDisk mounts one in memory. Who may not mount cannot run the test.
func newSmallDisk(t testing.TB) *smallDisk {
	t.Helper()
	wholeSystem(t)
	d := &smallDisk{t, t.TempDir()}
	if err := syscall.Mount("edgeagent-test", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", smallDiskSize)); err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", d.dir, err)
		}
	})
	return d
}

// leave fills the disk, or gives space back, until so many bytes are free.
func (d *smallDisk) leave(bytes int64) {
	d.t.Helper()
	ballast := filepath.Join(d.dir, "ballast")
	if err := os.RemoveAll(ballast); err != nil {
		d.t.Fatal(err)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	fill := int64(s.Bavail)*int64(s.Bsize) - bytes
	if fill <= 0 {
		return
	}
	f, err := os.Create(ballast)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, fill); err != nil {
		d.t.Fatal(err)
	}
}

const mib = 1 << 20

func TestFullDiskStopsAcknowledgementsAndLosesNone(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	g := prepareGateway(t, disk.dir, "")
	g.must("init")
	payloads := spectra(5000)
	g.start("--set", "store.reserve=16MiB")
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(500)
	g.acknowledged(p, 500)
	disk.leave(18 * mib) // room for some of them
	p.allow(len(payloads))
	g.await("out of room", func() bool { return g.status().Live.Waiting })

	stopped, _ := p.promised()
	g.await("not ready on a full disk", func() bool {
		code, _ := g.get("/readyz")
		return code == http.StatusServiceUnavailable
	})
	if code, body := g.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d %s on a full disk, which no restart makes larger", code, body)
	}
	if !g.logged("failed to record: the disk's reserve") {
		t.Error("the log does not say that recording has stopped")
	}
	g.await("sent all that may wait for its acknowledgement", func() bool {
		acked, sent := p.promised()
		return sent-count(acked) == p.window
	})
	still, _ := p.promised()
	// Some were on their way; and a store that has tidied up may have found room.
	if count(still) > count(stopped)+p.window && !g.logged("there is room again") {
		t.Errorf("%d rows were acknowledged while recording had stopped", count(still)-count(stopped))
	}
	if count(still) == len(payloads) {
		t.Fatal("the disk never was full")
	}

	// What was promised is there, even if the program dies now, and comes back to the same full disk.
	g.kill()
	acked, sent := p.promised()
	checkRows(g, payloads, acked, sent)
	g.launch("--set", "store.reserve=16MiB")
	g.await("out of room again", func() bool {
		code, _ := g.get("/healthz")
		return code != 0 && g.status().Live.Waiting
	})
	disk.leave(40 * mib)
	g.acknowledged(p, len(payloads))
	g.stop()
	checkRows(g, payloads, nil, len(payloads))
	g.verify()
}

// outOfRoom returns a gateway that has acknowledged half of 100 messages, and waits for room on its disk with the others.
func outOfRoom(t testing.TB) (*smallDisk, *gateway, *publisher) {
	t.Helper()
	disk := newSmallDisk(t)
	g := prepareGateway(t, disk.dir, "")
	g.must("init")
	g.start("--set", "store.reserve=16MiB")
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), spectra(100))
	p.allow(50)
	g.acknowledged(p, 50)
	disk.leave(12 * mib)
	p.allow(100)
	g.await("out of room", func() bool { return g.status().Live.Waiting })
	return disk, g, p
}

func TestGatewayOnFullDiskStopsWhenAsked(t *testing.T) {
	t.Parallel()
	_, g, p := outOfRoom(t)
	g.process.Signal(syscall.SIGTERM)
	if code := g.ended(); code != 0 && code != 6 {
		t.Errorf("it ends with %d, want 0 or 6", code)
	}
	acked, sent := p.promised()
	checkRows(g, spectra(100), acked, sent)
	g.verify()
}

// Whoever notes something on a full disk is told so, and does not wait for room.
func TestANoteOnAFullDiskIsRefused(t *testing.T) {
	t.Parallel()
	disk, g, p := outOfRoom(t)
	g.fails(1, "the note is not recorded: recording has stopped: no room on the disk", "note", "the disk is full")
	disk.leave(40 * mib)
	g.acknowledged(p, 100)
	g.await("recording again", func() bool { return !g.status().Live.Waiting })
	g.must("note", "there is room")
	g.stop()
	g.verify()
}

func TestStartWithoutRoomWaitsAndSaysSo(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	g := prepareGateway(t, disk.dir, "")
	g.must("init")
	disk.leave(mib)
	g.launch("--set", "store.reserve=16MiB")
	g.await("said to wait", func() bool { return g.logged("waiting for some") })
	g.process.Signal(syscall.SIGTERM)
	if code := g.ended(); code != 0 && code != 6 {
		t.Errorf("told to stop while it waits, it ends with %d, want 0 or 6", code)
	}
	g.launch("--set", "store.reserve=16MiB")
	disk.leave(32 * mib)
	g.await("ready", func() bool {
		code, _ := g.get("/readyz")
		return code == http.StatusOK
	})
	g.stop()
}

func TestReserveIsTheLargerOfBytesAndPercent(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	g := prepareGateway(t, disk.dir, "")
	g.must("init")
	for _, c := range []struct {
		reserve, percent string
		want             uint64
	}{{"20MiB", "10", 20 * mib}, {"1MiB", "50", smallDiskSize / 100 * 50}} {
		g.start("--set", "store.reserve="+c.reserve, "--set", "store.reserve_percent="+c.percent)
		if got := g.status().Live.Reserve; got != c.want {
			t.Errorf("of %d bytes, %s and %s %% reserve %d, want %d", smallDiskSize, c.reserve, c.percent, got, c.want)
		}
		g.stop()
	}
}

// A disk may fail in spite of its free space. Here it is a limit to the size of a file, which a write runs into.
func TestWriteThatFailsEndsAgentWithoutFurtherAcknowledgement(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	whole := g.emulator
	g.emulator = []string{"sh", "-c", `ulimit -f 400 && exec "$0" "$@"`} // 200 KiB or 400, as the shell has it
	g.start()
	g.emulator = whole
	payloads := spectra(5000)
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(len(payloads))
	if code := g.ended(); code != 6 {
		t.Errorf("the agent ends with %d after a failed write, want 6", code)
	}
	acked, sent := p.promised()
	if n := count(acked); n == 0 || n == len(acked) {
		t.Errorf("%d of %d rows were acknowledged before the write failed", n, len(acked))
	}
	checkRows(g, payloads, acked, sent)
	g.start()
	g.acknowledged(p, len(payloads))
	g.stop()
	checkRows(g, payloads, nil, len(payloads))
	g.verify()
}

func TestBackupOntoFullDiskLeavesFormerGenerationsWhole(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	g := newGateway(t, "")
	usb := filepath.Join(disk.dir, "usb")
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), spectra(4000))
	p.allow(10)
	g.acknowledged(p, 10)
	g.backup(usb)
	p.allow(4000)
	g.acknowledged(p, 4000)
	disk.leave(2 * mib)
	g.fails(6, "the backup's disk is full", "backup", usb, "--keep", "1")
	g.must("backup", "--verify", usb)
	disk.leave(30 * mib)
	if m := g.backup(usb, "--keep", "1"); m.Generation != 2 {
		t.Errorf("with room again it is generation %d, want 2", m.Generation)
	}
	g.must("backup", "--verify", usb)
	g.stop()
}
