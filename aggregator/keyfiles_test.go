package aggregator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain/keyfile"
)

// A file of the key that is lost while the aggregator runs is put back, from the other or from memory; what somebody may have
// put there on purpose is left alone, and told once.
func TestTheRunningAggregatorKeepsItsKeyFiles(t *testing.T) {
	for way, spoil := range map[string]func(file string) error{
		"gone":    os.Remove,
		"emptied": func(file string) error { return os.Truncate(file, 0) },
		"rubble":  func(file string) error { return os.WriteFile(file, []byte("rubble"), 0o600) },
		"another key": func(file string) error {
			other := filepath.Join(t.TempDir(), "key")
			if _, err := keyfile.Create(other, keyfile.Options{}); err != nil {
				return err
			}
			return os.Rename(other, file)
		},
		"a folder": func(file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Mkdir(file, 0o700)
		},
	} {
		for _, which := range [][]int{{0}, {1}, {0, 1}} {
			t.Run(fmt.Sprint(way, which), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "key")
				signer, err := keyfile.Create(path, keyfile.Options{})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Test(t, func(t *testing.T) {
					var log testenv.Log
					k := &keyFiles{path: path, public: signer.Public(), log: log.Logger()}
					go k.run(t.Context())
					synctest.Wait()
					if log.String() != "" {
						t.Fatalf("the files are as they should be:\n%s", log.String())
					}
					for _, i := range which {
						if err := spoil(keyfile.Files(path)[i]); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(3*keyFilesInterval + time.Second) // of the bubble
					synctest.Wait()
					left := way == "another key" || way == "a folder"
					for _, i := range which {
						file := keyfile.Files(path)[i]
						if got, err := keyfile.ReadPublicKey(file); left == (err == nil && got == signer.Public()) {
							t.Errorf("%s: %v", file, err)
						}
					}
					told := strings.Count(log.String(), "level=ERROR")
					if left && told != 1 || !left && (told != 0 || strings.Count(log.String(), "is put back") != len(which)) {
						t.Errorf("the log says:\n%s", log.String())
					}
				})
			})
		}
	}
}
