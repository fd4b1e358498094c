package agent

import (
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
)

// Whoever says something sits and waits: no group is kept open for more meanwhile.
func TestANoteWaitsForNoGroup(t *testing.T) {
	c := quickConfig(t)
	c.Commit.MaxDelay, c.Commit.Idle, c.Commit.MaxEntries, c.Block.MaxEntries = time.Hour, time.Hour, 1000, 1000
	a := startAgent(t, c)
	note := lightchain.Note{Who: "the shift", When: "2026-11-30T08:00:00Z", Text: "the door was open"}
	noted := make(chan error, 1)
	go func() {
		_, err := a.Note(t.Context(), api.Noting{Statement: string(note.Statement(a.store.Chain()))})
		noted <- err
	}()
	select {
	case err := <-noted:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute): // the group waits for an hour
		t.Error("the note waits for its group")
	}
}
