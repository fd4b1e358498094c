package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
)

// runAgent records on the chain that c names until stop is called.
func runAgent(t *testing.T, c *Config) (a *Agent, stop func()) {
	t.Helper()
	ready := make(chan struct{})
	a = New(c, Options{Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { panic(err) }, Ready: func(*Agent) { close(ready) }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		stopped = true
		t.Fatal(err)
	}
	return a, stop
}

// keptGateway is a gateway whose chain has begun and that does not run, with its key.
func keptGateway(t *testing.T) (c *Config, key lightchain.PublicKey) {
	t.Helper()
	c = quickConfig(t)
	if _, err := Init(c, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	key, err := keyfile.ReadPublicKey(c.Key.File)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// recordDurably records an entry, and returns when it is on disk.
func recordDurably(t *testing.T, a *Agent) {
	t.Helper()
	done := make(chan error, 1)
	if err := a.recordWith(t.Context(), "gap", map[string]string{"why": "a test's"}, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// ways in which a file of a key becomes useless.
var ways = map[string]func(t *testing.T, path string) error{
	"gone":    func(_ *testing.T, path string) error { return os.Remove(path) },
	"emptied": func(_ *testing.T, path string) error { return os.Truncate(path, 0) },
	"zeroed":  func(_ *testing.T, path string) error { return os.WriteFile(path, make([]byte, 387), 0o600) },
	"cut":     func(_ *testing.T, path string) error { return os.Truncate(path, 200) },
	"a folder": func(_ *testing.T, path string) error {
		return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
	},
	"open to others": func(_ *testing.T, path string) error { return os.Chmod(path, 0o644) },
	"another gateway's": func(t *testing.T, path string) error {
		other := filepath.Join(t.TempDir(), "key")
		_, err := keyfile.Create(other, keyfile.Options{})
		return errors.Join(err, os.Remove(path), os.Rename(other, path))
	},
}

func TestWithoutItsKeyTheAgentRecordsAndGoesOnSealingWhenItIsBack(t *testing.T) {
	for way, spoil := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			c, key := keptGateway(t)
			keep := filepath.Join(t.TempDir(), "kept")
			good, err := os.ReadFile(c.Key.File)
			if err != nil || os.WriteFile(keep, good, 0o600) != nil {
				t.Fatal(err)
			}
			for _, file := range keyfile.Files(c.Key.File) {
				if err := spoil(t, file); err != nil {
					t.Fatal(err)
				}
			}
			a, _ := runAgent(t, c)
			for range 3 {
				recordDurably(t, a)
			}
			s := a.Status()
			if s.Height != 0 || len(s.Live.HeldBy) == 0 || s.Live.HeldBy[0].Kind != sealgate.Key || !strings.Contains(s.Live.Held, c.Key.File) {
				t.Fatalf("height %d, %+v", s.Height, s.Live.HeldBy)
			}
			if _, _, err := a.RotateKey(t.Context()); err == nil {
				t.Fatal("the key was changed without the key in force")
			}
			for _, file := range keyfile.Files(c.Key.File) {
				if err := os.RemoveAll(file); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Rename(keep, c.Key.File); err != nil {
				t.Fatal(err)
			}
			await(t, "a block", func() bool { return a.Status().Height > 0 })
			await(t, "the copy", func() bool {
				copied, err := keyfile.ReadPublicKey(keyfile.CopyPath(c.Key.File))
				return err == nil && copied == key
			})
			if s := a.Status(); s.Live.Held != "" {
				t.Error(s.Live.Held)
			}
		})
	}
}

func TestOneFileOfTheKeyIsEnoughAndTheOtherIsMadeAnew(t *testing.T) {
	for way, spoil := range ways {
		for which, name := range []string{"the first", "the copy"} {
			t.Run(name+" is "+way, func(t *testing.T) {
				t.Parallel()
				c, key := keptGateway(t)
				file := keyfile.Files(c.Key.File)[which]
				if err := spoil(t, file); err != nil {
					t.Fatal(err)
				}
				a, _ := runAgent(t, c)
				if way == "open to others" { // what stands in the other was open, too
					recordDurably(t, a)
					if s := a.Status(); s.Height != 0 || !strings.Contains(s.Live.Held, "chmod 600") {
						t.Fatalf("height %d, %s", s.Height, s.Live.Held)
					}
					if err := os.Chmod(file, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				awaitBlock(t, a)
				if way == "a folder" || way == "another gateway's" { // which is left to the operator
					await(t, "the status", func() bool { return strings.Contains(strings.Join(a.Status().Live.KeyFiles, "\n"), file) })
					return
				}
				await(t, "both files", func() bool {
					got, err := keyfile.ReadPublicKey(file)
					return err == nil && got == key
				})
			})
		}
	}
}

// A file of the key that is lost while the agent runs is put back, from the other or from memory; what somebody may have put
// there on purpose is left alone, and told.
func TestTheRunningAgentKeepsItsKeyFiles(t *testing.T) {
	for way, spoil := range ways {
		for _, which := range [][]int{{0}, {1}, {0, 1}} {
			t.Run(fmt.Sprint(way, which), func(t *testing.T) {
				t.Parallel()
				c, key := keptGateway(t)
				a, _ := runAgent(t, c)
				awaitBlock(t, a)
				look := func() {
					a.onTail(a.log, func() error {
						a.keepKeyFiles()
						return nil
					})
				}
				if look(); len(a.Status().Live.KeyFiles) > 0 {
					t.Fatal(a.Status().Live.KeyFiles)
				}
				for _, i := range which {
					if err := spoil(t, keyfile.Files(c.Key.File)[i]); err != nil {
						t.Fatal(err)
					}
				}
				look()
				said := strings.Join(a.Status().Live.KeyFiles, "\n")
				if said == "" || way == "a folder" && strings.Contains(said, "chmod") {
					t.Errorf("the status says %q", said)
				}
				left := way == "a folder" || way == "open to others" || way == "another gateway's"
				for _, i := range which {
					file := keyfile.Files(c.Key.File)[i]
					if got, err := keyfile.ReadPublicKey(file); left == (err == nil && got == key) {
						t.Errorf("%s: %v", file, err)
					}
				}
				if height := a.Status().Height; height == 0 {
					t.Error("it has stopped sealing")
				}
				if left {
					return
				}
				if _, _, err := a.RotateKey(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, file := range keyfile.Files(c.Key.File) { // not the old one
					if err := os.Remove(file); err != nil {
						t.Fatal(err)
					}
				}
				look()
				for _, file := range keyfile.Files(c.Key.File) {
					if got, err := keyfile.ReadPublicKey(file); err != nil || got == key || got != a.store.Tip().Key {
						t.Errorf("after a change of key %s: %v", file, err)
					}
				}
			})
		}
	}
}

// A former key that lies in the place of the next one, or in a file that was left over, is told, whether or not the agent runs. A key
// that waits there and was never in force is as it should be.
func TestTheStatusTellsOfAFormerKey(t *testing.T) {
	c, _ := keptGateway(t)
	former, err := os.ReadFile(c.Key.File)
	if err != nil {
		t.Fatal(err)
	}
	a, stop := runAgent(t, c)
	awaitBlock(t, a)
	look := func(want ...string) {
		t.Helper()
		a.onTail(a.log, func() error {
			a.keepKeyFiles()
			return nil
		})
		s := a.Status()
		if !slices.Equal(s.FormerKeys, want) || s.Has(api.KeyFiles) != (len(want) > 0) {
			t.Errorf("the status says %v, %+v", s.FormerKeys, s.Reasons)
		}
		for _, file := range want {
			if !s.About(api.KeyFiles, file) {
				t.Errorf("%s is no reason: %+v", file, s.Reasons)
			}
		}
	}
	leave := func(file string) string {
		t.Helper()
		if err := os.WriteFile(file, former, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if _, err := keyfile.Create(c.nextKeyFile(), keyfile.Options{}); err != nil {
		t.Fatal(err)
	}
	look()
	if _, _, err := a.RotateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	look()
	rest := leave(filepath.Join(filepath.Dir(c.Key.File), "."+filepath.Base(c.Key.File)+".copy.271828"))
	look(rest)
	if _, _, err := a.RotateKey(t.Context()); err != nil {
		t.Error(err)
	}
	next := leave(c.nextKeyFile())
	look(next, rest)
	if _, _, err := a.RotateKey(t.Context()); !errors.Is(err, store.ErrKeyUsed) {
		t.Errorf("a former key comes back: %v", err)
	}
	stop()
	r, err := store.OpenReader(c.ChainDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := FolderStatus(c, r)
	if text := strings.Join(s.Lines(), "\n"); !strings.Contains(text, "shred -u "+next) || strings.Count(text, "cannot be changed") != 1 {
		t.Error(text)
	}
	if err := os.Remove(next); err != nil {
		t.Fatal(err)
	}
	if s := FolderStatus(c, r); !slices.Equal(s.FormerKeys, []string{rest}) {
		t.Error(s.FormerKeys)
	}
}

// A change of key was cut off behind the hand-over, in all states that its files may be in then.
func TestACutOffChangeOfKeyIsFinished(t *testing.T) {
	for state, cut := range map[string]func(c *Config) error{
		"nothing was replaced": func(*Config) error { return nil },
		"the first file was": func(c *Config) error {
			return os.Rename(c.nextKeyFile(), c.Key.File)
		},
		"the next one's first file is gone": func(c *Config) error { return os.Remove(c.nextKeyFile()) },
		"the next one's copy is empty":      func(c *Config) error { return os.Truncate(keyfile.CopyPath(c.nextKeyFile()), 0) },
		"the old key's files are empty": func(c *Config) error {
			return errors.Join(os.Truncate(c.Key.File, 0), os.Truncate(keyfile.CopyPath(c.Key.File), 0))
		},
		"the old key's files are gone": func(c *Config) error {
			return errors.Join(os.Remove(c.Key.File), os.Remove(keyfile.CopyPath(c.Key.File)))
		},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			c, _ := keptGateway(t)
			next, err := keyfile.Create(c.nextKeyFile(), keyfile.Options{})
			if err != nil {
				t.Fatal(err)
			}
			old, err := keyfile.Load(c.Key.File, keyfile.Passphrase{})
			if err != nil {
				t.Fatal(err)
			}
			o := c.storeOptions(slog.New(slog.DiscardHandler))
			o.Signer = old
			st, err := store.Open(c.ChainDir(), o)
			if err != nil {
				t.Fatal(err)
			}
			_, sealErr := st.Seal(store.SealParams{Sealed: 1, NextSigner: next})
			if err := errors.Join(sealErr, st.Close(), cut(c)); err != nil {
				t.Fatal(err)
			}
			a, stop := runAgent(t, c)
			awaitBlock(t, a)
			stop()
			for _, file := range keyfile.Files(c.Key.File) {
				if got, err := keyfile.ReadPublicKey(file); err != nil || got != next.Public() {
					t.Errorf("%s: %v, %v", file, got, err)
				}
			}
			for _, file := range keyfile.Files(c.nextKeyFile()) {
				if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is left: %v", file, err)
				}
			}
		})
	}
}

// Whatever could keep a hand-over from being finished is found out before it is sealed.
func TestAKeyThatCannotBeReplacedIsNotHandedOver(t *testing.T) {
	c, key := keptGateway(t)
	a, _ := runAgent(t, c)
	awaitBlock(t, a)
	if err := errors.Join(os.Remove(keyfile.CopyPath(c.Key.File)), os.Mkdir(keyfile.CopyPath(c.Key.File), 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.RotateKey(t.Context()); err == nil || !strings.Contains(err.Error(), "could not be replaced") {
		t.Error(err)
	}
	if got := a.store.Tip().Key; got != key {
		t.Error("the key was handed over")
	}
	if err := os.Remove(keyfile.CopyPath(c.Key.File)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.nextKeyFile(), []byte("half a key"), 0o600); err != nil { // nothing has named it
		t.Fatal(err)
	}
	if _, _, err := a.RotateKey(t.Context()); err != nil {
		t.Error(err)
	}
	for _, file := range keyfile.Files(c.Key.File) {
		if got, err := keyfile.ReadPublicKey(file); err != nil || got == key || got != a.store.Tip().Key {
			t.Errorf("%s: %v, %v", file, got, err)
		}
	}
}

// Another chain's key that was put in the place of this one's while the agent runs is not destroyed by a change of key.
func TestAChangeOfKeyDestroysNoOtherChainsKey(t *testing.T) {
	c, key := keptGateway(t)
	a, _ := runAgent(t, c)
	awaitBlock(t, a)
	foreign := filepath.Join(t.TempDir(), "key")
	if _, err := keyfile.Create(foreign, keyfile.Options{}); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range keyfile.Files(c.Key.File) {
		own, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, other, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.RotateKey(t.Context()); err == nil || !strings.Contains(err.Error(), file+" holds another key than the chain's") {
			t.Errorf("%s is replaced: %v", file, err)
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, other) || a.store.Tip().Key != key {
			t.Errorf("%s was touched, or the chain goes on under another key: %v", file, err)
		}
		if err := os.WriteFile(file, own, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := a.RotateKey(t.Context()); err != nil || a.store.Tip().Key == key {
		t.Errorf("with the files as they were: %v", err)
	}
}
