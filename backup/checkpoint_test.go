package backup_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edgechain/backup"
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
