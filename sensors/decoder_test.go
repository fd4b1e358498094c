package sensors

import (
	"sync"
	"testing"
)

func TestADecoderServesManyGoroutines(t *testing.T) {
	d := mustNew(t, Config{MessagesPath: "m.*", TimestampPath: "t", TimestampFormat: "unix"})
	payloads := append(seeds(t), `{"m":[{"a":1,"t":1},{"b":{"c":2}}],"t":2}`, `{"x":{"y":[`, `{"a":1,"a":2}`)
	want := make([]string, len(payloads))
	for i, p := range payloads {
		want[i] = decodeLines(d, "plant/press/temp", "", p)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				for i, p := range payloads {
					if got := decodeLines(d, "plant/press/temp", "", p); got != want[i] {
						t.Errorf("%s\n got %s\nwant %s", p, got, want[i])
					}
				}
			}
		})
	}
	all.Wait()
}

func TestReasonsAreAllThatErrorsGive(t *testing.T) {
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r] || r == "" {
			t.Errorf("reason %q stands twice", r)
		}
		seen[r] = true
	}
	for name, d := range everyDecoder(t) {
		for _, s := range seeds(t) {
			for i := range len(s) {
				_, err := d.Decode("a/b", "", []byte(s[:i]+"\xff"), received)
				if r := ReasonOf(err); err != nil && !seen[r] {
					t.Errorf("%s: the reason %q is not in the list", name, r)
				}
			}
		}
	}
}

func TestAOneValueMessageCostsFewAllocations(t *testing.T) {
	d := mustNew(t, Config{Dialect: "json", TimestampPath: "time", UnitPath: "unit"})
	payload := []byte(oneValue)
	n := testing.AllocsPerRun(200, func() {
		if _, err := d.Decode("factory/press-07/temperature", "", payload, received); err != nil {
			t.Fatal(err)
		}
	})
	// One holds the text, one the reading. Under the race detector, pools forget a quarter of what is put into them.
	if n > 6 {
		t.Errorf("%v allocations", n)
	}
}
