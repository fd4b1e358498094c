package store

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain"
)

// An opening says of the log, and of the open block, how much of it is read: never less than before, and all of it in the end.
// Afterwards it says nothing more, whoever reads a log.
func TestAnOpeningTellsHowFarItIs(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(t, fs)
	o.MaxBlockEntries = lightchain.MaxBlock
	s := newStore(t, o)
	const n = 3*tellEvery + 13 - 3*tellEvery%13
	for i := range n / 13 { // in chunks of some
		staged, err := s.Stage(testEntries(13*i, 13))
		if err == nil {
			err = staged.Wait()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	disk := fs.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, s)

	type share struct{ done, total uint64 }
	told := map[string][]share{}
	o.FS = disk
	o.Opening = func(step string, done, total uint64) error {
		told[step] = append(told[step], share{done, total})
		return nil
	}
	s, err := Open("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	for _, step := range []string{"reading the log", "checking the chain's end", "looking for the chain's end"} {
		shares := told[step]
		var before share
		known := 0
		for _, s := range shares {
			if s.total == 0 {
				continue
			}
			known++
			if s.done > s.total || s.done < before.done {
				t.Errorf("%s: %d of %d after %d", step, s.done, s.total, before.done)
			}
			before = s
		}
		if known < 3 || 10*before.done < 9*before.total {
			t.Errorf("%s: told are %v", step, shares)
		}
	}
	told = map[string][]share{}
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	if len(told) > 0 {
		t.Errorf("after the opening told are %v", told)
	}
}

// Whoever is told, and wants it to end, has it end, and the next one finds all that was there.
func TestAnOpeningThatIsToldToEndWhileItReadsTheLogEnds(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(t, fs)
	s := newStore(t, o)
	staged, err := s.Stage([]lightchain.Entry{{Received: 1, Source: "test:x", Payload: []byte("1")}})
	if err == nil {
		err = staged.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, s)
	o.Opening = func(step string, done, _ uint64) error {
		if step == "reading the log" && done > 0 {
			return context.Canceled
		}
		return nil
	}
	if _, err := Open("chain", o); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	o.Opening = nil
	if s, err = Open("chain", o); err != nil {
		t.Fatal(err)
	}
	if count, _ := s.Open(); count != 1 || len(s.Info().Recovered.Gaps) > 0 {
		t.Errorf("%d entries, %+v", count, s.Info().Recovered)
	}
	closeStore(t, s)
}
