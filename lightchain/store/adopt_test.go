package store

import (
	"errors"
	"math/rand/v2"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// setBack runs a chain, keeps the card as it was in the middle, and returns both states: the store that went on, and
// one that was opened from the old card.
func setBack(t *testing.T, seed uint64, rotate bool) (ahead, old *Store) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	rng := rand.New(rand.NewPCG(seed, 3))
	n := 0
	grow := func(blocks int) {
		for range blocks {
			if size := rng.IntN(9); size > 0 {
				stage(t, s, testEntries(n, size))
				n += size
			}
			seal(t, s)
		}
	}
	grow(rng.IntN(150))
	stage(t, s, testEntries(n, 5)) // staged and not sealed when the image is made
	image := disk.CrashClone(vfs.CrashCloneCfg{})
	n += 5
	grow(1 + rng.IntN(5))
	if rotate {
		if _, err := s.Seal(SealParams{NextSigner: testSigner(t, 2)}); err != nil {
			t.Fatal(err)
		}
	}
	grow(2 + rng.IntN(150))
	o = testOptions(t, image)
	o.Rand = &counter{1 << 50}
	old = openStore(t, o)
	old.AddSigner(testSigner(t, 2))
	return s, old
}

func runAbove(t *testing.T, ahead *Store, height uint64) (run []Adopted) {
	t.Helper()
	for h, err := range ahead.Headers(height+1, 1<<60) {
		if err != nil {
			t.Fatal(err)
		}
		run = append(run, Adopted{Header: h.Header})
		if h.Header.NextKey != nil || h.Header.Height == ahead.Tip().Height {
			run[len(run)-1].Signature = &h.HeaderSignature
		}
	}
	return run
}

// checkAdopted checks a store that was brought to the end of another, and then recorded more.
func checkAdopted(t *testing.T, ahead, old *Store, sparse bool) {
	t.Helper()
	if got, want := old.Tip(), ahead.Tip(); got.Hash != want.Hash || got.Next != want.Next || got.Key != want.Key || got.History.Root() != want.History.Root() {
		t.Fatalf("tip %+v, want %+v", got, want)
	}
	if old.Next() != old.Tip().Next+5 {
		t.Fatalf("next entry %d above %d: the five that were staged are not there", old.Next(), old.Tip().Next)
	}
	sealed := seal(t, old)
	if sealed.Header.Count != 5 || sealed.Header.Previous != ahead.Tip().Hash {
		t.Fatalf("%+v", sealed.Header)
	}
	stage(t, old, testEntries(7000, 20))
	for range 70 {
		seal(t, old)
	}
	o := old.options
	closeStore(t, old)
	old = openStore(t, o)
	sum := verify(t, &old.Reader)
	if sparse != (sum.NotHeld > 0) {
		t.Fatalf("%+v", sum)
	}
	held, gone := 0, 0
	for rec, err := range old.Entries(0, 1<<60) {
		switch {
		case errors.Is(err, ErrNotHeld):
			gone++
		case err != nil:
			t.Fatal(err)
		default:
			held++
			if p, err := old.Prove(rec.Number, 0); err != nil {
				t.Fatal(err)
			} else if _, err := p.Verify(&lightchain.Trust{Chains: []lightchain.ChainID{old.Chain()}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if uint64(held) != sum.Entries || gone == 0 {
		t.Fatalf("%d entries are held, %d verify, %d gaps", held, sum.Entries, gone)
	}
	// The index knows what was there before and what came after.
	for _, q := range []Query{{Device: "press-01", Before: 5}, {Device: "press-01", After: sealed.Header.First}} {
		found := 0
		for _, err := range old.Find(q) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		if found == 0 && (q.Before == 0 || held > 30) {
			t.Fatalf("%+v finds nothing", q)
		}
	}
	closeStore(t, old)
	closeStore(t, ahead)
}

// adoptions returns how many images are tried.
func adoptions() uint64 {
	if testing.Short() {
		return 2
	}
	return 6
}

func TestAnOldImageTakesItsHeadersBackAndGoesOn(t *testing.T) {
	for seed := range adoptions() {
		ahead, old := setBack(t, seed, seed%3 == 0)
		run := runAbove(t, ahead, old.Tip().Height)
		half := run[:len(run)/2+1]
		if last := &half[len(half)-1]; last.Signature == nil {
			h, err := ahead.Header(last.Header.Height)
			if err != nil {
				t.Fatal(err)
			}
			last.Signature = &h.HeaderSignature
		}
		// A part that ends before the key that this gateway has is refused only if it never comes into force.
		if err := old.Adopt(half); err != nil {
			t.Fatal(err)
		}
		if rest := run[len(half):]; len(rest) > 0 {
			if err := old.Adopt(rest); err != nil {
				t.Fatal(err)
			}
		}
		checkAdopted(t, ahead, old, false)
	}
}

func TestABeaconNamesNoReceiptThatCameAfterAnEntryThatWasRenumbered(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		ahead, old := setBack(t, 7, false)
		height := old.Tip().Height
		seen, err := old.Header(height)
		if err != nil {
			t.Fatal(err)
		}
		r, err := seen.Countersign(testSigner(t, 10), "north", 100)
		if err != nil {
			t.Fatal(err)
		}
		// Five entries are staged; two more have arrived, and come after the end of the chain came back.
		if err := old.PutReceipt(height, r, func() uint64 { return 2 }); err != nil {
			t.Fatal(err)
		}
		if sparse {
			err = old.AdoptHead(headOf(t, ahead, old))
		} else {
			err = old.Adopt(runAbove(t, ahead, height))
		}
		if err != nil {
			t.Fatal(err)
		}
		if h := seal(t, old).Header; h.Count != 5 || h.Beacon != nil {
			t.Errorf("sparse %t: the block of %d entries has the beacon %v", sparse, h.Count, h.Beacon)
		}
		stage(t, old, testEntries(7000, 2))
		if h := seal(t, old).Header; h.Beacon != nil {
			t.Errorf("sparse %t: the block of the two that had arrived has the beacon %v", sparse, h.Beacon)
		}
		stage(t, old, testEntries(7002, 1))
		if h := seal(t, old).Header; h.Beacon == nil {
			t.Errorf("sparse %t: the block after it has no beacon", sparse)
		}
		closeStore(t, old)
		closeStore(t, ahead)
	}
}

func TestAnOldImageGoesOnFromAHeadAlone(t *testing.T) {
	for seed := range adoptions() {
		ahead, old := setBack(t, 100+seed, seed%3 == 0)
		a := headOf(t, ahead, old)
		if err := old.AdoptHead(a); err != nil {
			t.Fatal(err)
		}
		checkAdopted(t, ahead, old, true)
	}
}

func headOf(t *testing.T, ahead, old *Store) (a AdoptedHead) {
	t.Helper()
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	from, to := old.Tip().Height, ahead.Tip().Height
	a.Head, err = ahead.Header(to)
	check()
	a.Edge, err = ahead.Edge(to)
	check()
	a.Consistency, err = ahead.Consistency(from+1, to)
	check()
	keys, err := ahead.KeyHeights(to)
	check()
	for _, height := range keys {
		if height > from {
			h, err := ahead.Header(height)
			if err != nil {
				t.Fatal(err)
			}
			a.Keys = append(a.Keys, h)
		}
	}
	return a
}

func TestWhatIsNotThisChainsIsNotAdopted(t *testing.T) {
	ahead, old := setBack(t, 1, false)
	defer closeStore(t, ahead)
	defer closeStore(t, old)
	before := old.Tip()
	run := runAbove(t, ahead, before.Height)
	spoil := func(what string, f func(run []Adopted) []Adopted) {
		t.Helper()
		if err := old.Adopt(f(append([]Adopted(nil), run...))); err == nil {
			t.Fatalf("%s: adopted", what)
		}
		if old.Tip().Hash != before.Hash || old.Next() != before.Next+5 {
			t.Fatalf("%s: moved", what)
		}
	}
	spoil("no headers", func([]Adopted) []Adopted { return nil })
	spoil("an end without signature", func(r []Adopted) []Adopted { return r[:len(r)-1] })
	spoil("a missing header", func(r []Adopted) []Adopted { return r[1:] })
	spoil("another time", func(r []Adopted) []Adopted { r[0].Header.Sealed++; return r })
	spoil("a wrong signature", func(r []Adopted) []Adopted {
		sig := *r[len(r)-1].Signature
		sig.Signature[0]++
		r[len(r)-1].Signature = &sig
		return r
	})
	spoil("a smuggled key", func(r []Adopted) []Adopted {
		stolen := testSigner(t, 9).Public()
		r[0].Header.NextKey = &stolen
		return r
	})
	good := headOf(t, ahead, old)
	for what, a := range map[string]AdoptedHead{
		"another edge":   {Head: good.Head, Edge: append([]lightchain.Hash{{1}}, good.Edge[1:]...), Consistency: good.Consistency, Keys: good.Keys},
		"no consistency": {Head: good.Head, Edge: good.Edge, Keys: good.Keys},
		"a foreign key":  {Head: good.Head, Edge: good.Edge, Consistency: good.Consistency, Keys: []*lightchain.SignedHeader{good.Head}},
	} {
		if err := old.AdoptHead(a); err == nil {
			t.Fatalf("%s: adopted", what)
		}
	}
	if err := old.AdoptHead(good); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyThatThisGatewayDoesNotHaveStopsAdoption(t *testing.T) {
	ahead, old := setBack(t, 4, true)
	defer closeStore(t, ahead)
	o := old.options
	closeStore(t, old)
	old = openStore(t, o)
	defer closeStore(t, old)
	if err := old.Adopt(runAbove(t, ahead, old.Tip().Height)); !errors.Is(err, ErrWrongKey) {
		t.Fatal(err)
	}
	if err := old.AdoptHead(headOf(t, ahead, old)); !errors.Is(err, ErrWrongKey) {
		t.Fatal(err)
	}
}

// A gateway whose newest headers are gone, those among them that set its key, takes them back with that key alone.
func TestHeadersComeBackToAGatewayThatHasOnlyTheKeyTheySet(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		ahead, old := setBack(t, 4, true)
		o := old.options
		closeStore(t, old)
		o.Signer = testSigner(t, 2)
		old = openStore(t, o)
		if old.Signer() != nil {
			t.Fatal("the key is in force before the header that sets it")
		}
		if sparse {
			if err := old.AdoptHead(headOf(t, ahead, old)); err != nil {
				t.Fatal(err)
			}
		} else {
			run := runAbove(t, ahead, old.Tip().Height)
			first, err := ahead.Header(run[0].Header.Height)
			if err != nil {
				t.Fatal(err)
			}
			run[0].Signature = &first.HeaderSignature
			for _, page := range [][]Adopted{run[:1], run[1:]} { // the first one leaves the old key in force
				if err := old.Adopt(page); err != nil {
					t.Fatal(err)
				}
			}
		}
		if old.Signer() == nil {
			t.Error("its key is not in force")
		}
		seal(t, old)
		closeStore(t, old)
		closeStore(t, ahead)
	}
}
