package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain/lighttime"
)

// Height, head and numbers of an answer are of one moment, however many blocks are sealed while it is made: an auditor who
// compares two answers would take anything else for two histories.
func TestWhatStatusSaysOfTheChainsEndIsOfOneMoment(t *testing.T) {
	b := newRecording(t, nil)
	b.start()
	said := make(chan []api.Status)
	ended := make(chan struct{})
	go func() {
		var all []api.Status
		for {
			select {
			case <-ended:
				said <- all
				return
			default:
				all = append(all, ChainStatus(&b.store.Reader))
			}
		}
	}()
	b.put(t, 4000)
	close(ended)
	for _, s := range <-said {
		header, err := b.store.Header(s.Height)
		if err != nil {
			t.Fatal(err)
		}
		if h := header.Header; s.Head != header.Hash() || s.Entries-s.Open != h.First+h.Count || !s.Sealed.Equal(lighttime.Instant(h.Sealed)) {
			t.Fatalf("status says %+v; header %d is %s, up to entry %d", s, s.Height, header.Hash(), h.First+h.Count)
		}
	}
	b.stop(t)
}

// Of a chain that counts as restored or moved, by a file that cannot be read, nobody is told when that was.
func TestAFileThatCannotBeReadNamesNoTime(t *testing.T) {
	for _, name := range []string{"RESTORED", "MOVED"} {
		c, _ := keptGateway(t)
		if err := os.WriteFile(filepath.Join(c.ChainDir(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		said := FolderStatus(c, openReader(t, c)).Mark
		if !strings.Contains(said, name) || !strings.Contains(said, "cannot be read") || strings.Contains(said, "0001") {
			t.Errorf("%s: %s", name, said)
		}
	}
}

// ready returns nil while messages are recorded and all sources are connected, which is what tests wait for.
func (a *Agent) ready() error {
	if err := a.stopped(); err != nil {
		return err
	}
	for _, s := range a.running() {
		if status := s.status(); status.State != api.SourceUp {
			return fmt.Errorf("source %s: %s", s.name, status.Text())
		}
	}
	return nil
}
