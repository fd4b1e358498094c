package backup_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edgechain.example/backup"
)

func TestCheckpointsLeftBehindGoAndFailedOnesLeaveNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "hall [3]") // a pattern, to whoever takes it for one
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	take := func(now time.Time, copyTo func(string) error) (string, error) {
		return backup.MakeCheckpoint(data, "store", now, slog.New(slog.DiscardHandler), copyTo)
	}
	count := func() int {
		entries, err := os.ReadDir(data)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	copyTo := func(dir string) error { return os.Mkdir(dir, 0o700) }
	for want := 1; want <= 2; want++ {
		if dir, err := take(now, copyTo); err != nil || filepath.Base(dir) != "store" || count() != want {
			t.Fatalf("%s: %v; %d folders", dir, err, count())
		}
	}
	if _, err := take(now.Add(backup.CheckpointLife+time.Minute), copyTo); err != nil || count() != 1 {
		t.Errorf("%d folders after their time: %v", count(), err)
	}
	full := errors.New("no room")
	if _, err := take(now, func(string) error { return full }); !errors.Is(err, full) || count() != 1 {
		t.Errorf("%d folders after a failure: %v", count(), err)
	}
	backup.RemoveCheckpoints(data, time.Time{}, slog.New(slog.DiscardHandler))
	if count() != 0 {
		t.Errorf("%d folders are left", count())
	}
}

// Whoever answers on a program's socket names the checkpoint, and its reader may be root.
func TestNothingButACheckpointIsRemoved(t *testing.T) {
	top := t.TempDir()
	data, precious := filepath.Join(top, "data"), filepath.Join(top, "precious")
	for _, dir := range []string{data, filepath.Join(precious, "chain"), filepath.Join(data, "chain", "data-1"), filepath.Join(data, "checkpoint-1", "chain"), filepath.Join(top, "checkpoint-2", "chain")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"checkpoint-link": precious, "checkpoint-1/link": filepath.Join(precious, "chain")} {
		if err := os.Symlink(to, filepath.Join(data, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		filepath.Join(precious, "chain"), filepath.Join(data, "chain"), filepath.Join(data, "chain", "data-1"), data, "/", "",
		filepath.Join(data, "checkpoint-1"), filepath.Join(data, "checkpoint-link", "chain"), filepath.Join(data, "checkpoint-1", "link"),
		data + "/checkpoint-1/../chain/data-1", data + "/checkpoint-1/../../checkpoint-2/chain", filepath.Join(data, "checkpoint-3", "chain"),
	} {
		if _, err := backup.HoldCheckpoint(data, path); err == nil {
			t.Errorf("%q counts as a checkpoint", path)
		}
		if backup.RemoveCheckpoint(data, path) == nil {
			t.Errorf("%q is removed", path)
		}
	}
	for _, stays := range []string{filepath.Join(precious, "chain"), filepath.Join(data, "chain", "data-1"), filepath.Join(top, "checkpoint-2", "chain"), filepath.Join(data, "checkpoint-1", "chain")} {
		if _, err := os.Stat(stays); err != nil {
			t.Error(err)
		}
	}
	checkpoint := filepath.Join(data, "checkpoint-1", "chain")
	if err := backup.RemoveCheckpoint(data, checkpoint); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(checkpoint)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there still: %v", err)
	}
	if _, err := os.Stat(filepath.Join(precious, "chain")); err != nil {
		t.Errorf("a link in it was followed: %v", err)
	}
}

// Whatever starts, stops or tidies up meanwhile: what somebody reads stays until he has read it.
func TestAHeldCheckpointStaysUntilItsReaderHasDone(t *testing.T) {
	data, log := t.TempDir(), slog.New(slog.DiscardHandler)
	there := func(dir string) bool { _, err := os.Stat(dir); return err == nil }
	copyTo := func(dir string) error {
		backup.RemoveCheckpoints(data, time.Time{}, log) // it is held while it is made, too
		return os.MkdirAll(filepath.Join(dir, "data-1"), 0o700)
	}
	given, err := backup.MakeCheckpoint(data, "chain", time.Now(), log, copyTo)
	if err != nil {
		t.Fatal(err)
	}
	first, err := backup.HoldCheckpoint(data, given)
	if err != nil {
		t.Fatal(err)
	}
	second, err := backup.TakeCheckpoint(data, "chain", time.Now(), log, copyTo)
	if err != nil {
		t.Fatal(err)
	}
	left, err := backup.MakeCheckpoint(data, "chain", time.Now(), log, copyTo)
	if err != nil {
		t.Fatal(err)
	}
	backup.RemoveCheckpoints(data, time.Time{}, log)
	if _, err := backup.MakeCheckpoint(data, "chain", time.Now().Add(2*backup.CheckpointLife), log, copyTo); err != nil {
		t.Error(err)
	}
	if !there(first.Dir) || !there(second.Dir) || there(left) {
		t.Errorf("held: %v %v, left behind: %v", there(first.Dir), there(second.Dir), there(left))
	}
	if err := errors.Join(first.Remove(), second.Remove()); err != nil || there(first.Dir) || there(second.Dir) {
		t.Errorf("%v; %v %v", err, there(first.Dir), there(second.Dir))
	}
	if _, err := backup.HoldCheckpoint(data, left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that was removed is held: %v", err)
	}
}
