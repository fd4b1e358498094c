package agent

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
)

// A run that ended between taking headers back and saying so is finished by the next one.
func TestHeadersThatCameBackBeforeACrashAreRecordedAtTheNextStart(t *testing.T) {
	c, _ := keptGateway(t)
	key, err := keyfile.Load(c.Key.File, keyfile.Passphrase{})
	if err != nil {
		t.Fatal(err)
	}
	open := func() *store.Store {
		t.Helper()
		o := c.storeOptions(slog.New(slog.DiscardHandler))
		o.Signer = key
		st, err := store.Open(c.ChainDir(), o)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	grow := func(st *store.Store, blocks int) {
		t.Helper()
		for range blocks {
			group, err := st.Stage([]lightchain.Entry{{Received: 1, Source: "test:x", Flags: lightchain.NotUnderstood, Payload: []byte("x")}})
			if err == nil {
				err = group.Wait()
			}
			if err == nil {
				_, err = st.Seal(store.SealParams{Sealed: 1})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	st := open()
	grow(st, 2)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.CopyFS(image, os.DirFS(c.ChainDir())); err != nil {
		t.Fatal(err)
	}
	st = open()
	grow(st, 3)
	var run []store.Adopted
	for h, err := range st.Headers(3, 6) {
		if err != nil {
			t.Fatal(err)
		}
		run = append(run, store.Adopted{Header: h.Header, Signature: &h.HeaderSignature})
	}
	if err := errors.Join(st.Close(), os.RemoveAll(c.ChainDir()), os.Rename(image, c.ChainDir())); err != nil {
		t.Fatal(err)
	}
	st = open()
	if err := errors.Join(st.Adopt(run[:1]), st.Adopt(run[1:]), st.Close()); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second time there is nothing left to say
		a, stop := runAgent(t, c)
		await(t, "the note to be forgotten", func() bool { t, err := a.store.TakenBack(); return t == nil && err == nil })
		var told []restoreEvent
		for m, err := range a.store.Find(store.Query{Source: "agent:restore"}) {
			var e restoreEvent
			if errors.Is(err, store.ErrNotHeld) { // what was taken back has no entries
				continue
			}
			if err != nil || json.Unmarshal(m.Entry.Payload, &e) != nil {
				t.Fatal(err)
			}
			told = append(told, e)
		}
		if len(told) != 1 || told[0].From != 3 || told[0].To != 5 || told[0].FirstEntry != 2 || told[0].NextEntry != 5 || told[0].Sparse || told[0].SoFar.Count != 3 {
			t.Errorf("%+v", told)
		}
		stop()
	}
}
