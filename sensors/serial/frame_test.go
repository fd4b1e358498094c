package serial

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fed returns what comes of bytes that come one after the other, each with "~" before it if it may be torn.
func fed(f *framer, pieces ...string) (all []string) {
	for _, piece := range pieces {
		for _, t := range f.feed([]byte(piece), false) {
			mark := ""
			if t.torn {
				mark = "~"
			}
			all = append(all, mark+string(t.bytes))
		}
	}
	return all
}

func TestTelegramsBeginAndEndWhereTheirFrameSays(t *testing.T) {
	long := strings.Repeat("x", MaxTelegram+1)
	for _, c := range []struct {
		claim  string
		framer framer
		come   []string
		want   []string
		lost   lost
	}{
		{"lines end with CR, LF or both, wherever they are parted", framer{form: frameLine}, []string{"345\r", "\n12.345\n\n12", ".346\r12.347\r\n"}, []string{"~345", "12.345", "12.346", "12.347"}, lost{}},
		{"lines end with what is given", framer{form: frameLine, terminator: []byte("\x03")}, []string{"5\x03\x02 12.345 kg\r\n\x03"}, []string{"~5", "\x02 12.345 kg\r\n"}, lost{}},
		{"and with all of it", framer{form: frameLine, terminator: []byte("\r\n")}, []string{"a\r", "\nb\rc\n\r\n"}, []string{"~a", "b\rc\n"}, lost{}},
		{"a line that does not end", framer{form: frameLine}, []string{"a\n", long, long, "\nb\n"}, []string{"~a", "b"}, lost{cut: 1}},
		{"sentences", framer{form: frameNMEA}, []string{"MWV,1*00\r\n$WIMWV,1\r\n!AIVDM,2\n"}, []string{"$WIMWV,1", "!AIVDM,2"}, lost{}},
		{"a sentence that another breaks off, and noise between two", framer{form: frameNMEA}, []string{"$A,1$B,2\r\nxyz\r\n$C,3\r\n"}, []string{"$B,2", "$C,3"}, lost{1, 3}},
		{"a sentence that does not end", framer{form: frameNMEA}, []string{"$", long, "\r\n$C,3\r\n"}, []string{"$C,3"}, lost{1, 1}},
		{"telegrams with a checksum and without", framer{form: frameP1}, []string{"(1)\r\n!12A", "B\r\n/A\r\n\r\n1(2)\r\n!12ab\r\n/B\r\n!\r\n/C\r\n!"}, []string{"/A\r\n\r\n1(2)\r\n!12ab", "/B\r\n!"}, lost{}},
		{"one without any end but the next one's beginning", framer{form: frameP1}, []string{"/A\r\n!/B\r\n!1234/C\r\n!\n"}, []string{"/A\r\n!", "/B\r\n!1234", "/C\r\n!"}, lost{}},
		{"one that another breaks off, and what some meters say behind them", framer{form: frameP1}, []string{"/A\r\n1(2)/B\r\n!12AB\r\n  258\r\n\xff\xff\r\n/C\r\n!\r\n"}, []string{"/B\r\n!12AB", "/C\r\n!"}, lost{1, 7}},
		{"one that does not end", framer{form: frameP1}, []string{"/", long, "/C\r\n!\r\n"}, []string{"/C\r\n!"}, lost{1, 1}},
	} {
		if got := fed(&c.framer, c.come...); !slices.Equal(got, c.want) || c.framer.lost != c.lost {
			t.Errorf("%s\n got %q, lost %+v\nwant %q, lost %+v", c.claim, got, c.framer.lost, c.want, c.lost)
		}
	}
}

// The first line after silence is whole: a scale that sends when a button is pressed loses none.
func TestALineAfterSilenceIsWhole(t *testing.T) {
	f := framer{form: frameLine}
	if all := f.feed([]byte("12.345 kg\r\n"), true); len(all) != 1 || all[0].torn {
		t.Errorf("got %+v", all)
	}
	f = framer{form: frameLine}
	f.feed([]byte("12."), false)
	if all := f.feed([]byte("345\r\n"), true); len(all) != 1 || !all[0].torn {
		t.Errorf("the end of one: %+v", all)
	}
}

// A cable that was out for a while: "12" of one value and "45" of another are not 1245.
func TestALineWithAPauseInItIsNotRead(t *testing.T) {
	for _, terminator := range []string{"", "\r\n", "\n"} {
		f := framer{form: frameLine, terminator: []byte(terminator)}
		f.feed([]byte("7\r\n12"), true)
		if all := f.feed([]byte("45\r\n8\r\n"), true); len(all) != 2 || !all[0].torn || all[1].torn {
			t.Errorf("%q: got %+v", terminator, all)
		}
	}
	f := framer{form: frameLine, terminator: []byte("\x03")}
	f.feed([]byte("\x0212.5\x03B"), true) // a checksum behind the terminator
	if all := f.feed([]byte("\x0213.5\x03C"), true); len(all) != 1 || all[0].torn {
		t.Errorf("got %+v", all)
	}
}

// Some devices send between their telegrams what belongs to none, for years. Each time it is told is an entry.
func TestLossesThatGoOnAreToldEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r report
		told, sum := 0, 0
		for range 30 * 24 * 360 { // of 10 s
			r.add(&lost{garbage: 1})
			if _, garbage := r.take(false); garbage > 0 {
				told++
				sum += garbage
			}
			time.Sleep(10 * time.Second)
		}
		_, rest := r.take(true)
		if told > 45 || sum+rest != 30*24*360 {
			t.Errorf("told %d times, %d bytes and %d", told, sum, rest)
		}
		time.Sleep(72 * time.Hour)
		r.add(&lost{cut: 2})
		if cut, _ := r.take(false); cut != 2 || time.Until(r.due()) > 0 {
			t.Errorf("after quiet days: %d", cut)
		}
		time.Sleep(time.Minute)
		r.add(&lost{cut: 1})
		if cut, _ := r.take(false); cut != 1 {
			t.Errorf("a minute later: %d", cut)
		}
	})
}

// Whatever comes, in whichever pieces: what is made of it is the same, no telegram is longer than it may be, or has in it what ends one,
// and no byte is in two.
func FuzzFramer(f *testing.F) {
	p1, err := os.ReadFile("../testdata/p1.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p1, byte(2), byte(7))
	f.Add([]byte("$A,1\r\n!B,2*00\n$C$D"), byte(1), byte(2))
	f.Add([]byte("ST,+12.3\r\n\r\nx"), byte(0), byte(3))
	f.Add([]byte("\x02a\x03\x02b\x03"), byte(3), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, form, size byte) {
		make := func() *framer {
			switch form % 4 {
			case 1:
				return &framer{form: frameNMEA}
			case 2:
				return &framer{form: frameP1}
			case 3:
				return &framer{form: frameLine, terminator: []byte("\x03")}
			}
			return &framer{form: frameLine}
		}
		whole, parted := make(), make()
		all := whole.feed(b, false)
		var pieces []telegram
		for piece := range slices.Chunk(b, int(size)+1) {
			pieces = append(pieces, parted.feed(piece, false)...)
		}
		if fmt.Sprint(all) != fmt.Sprint(pieces) || whole.lost != parted.lost {
			t.Fatalf("%v and %v, %v and %v", all, pieces, whole.lost, parted.lost)
		}
		rest := b
		for _, x := range all {
			at := bytes.Index(rest, x.bytes)
			if at < 0 || len(x.bytes) == 0 || len(x.bytes) > MaxTelegram {
				t.Fatalf("%q does not stand in %q", x.bytes, rest)
			}
			rest = rest[at+len(x.bytes):]
			begins, ends := "", ""
			switch form % 4 {
			case 0:
				ends = "\r\n"
			case 1:
				begins, ends = "$!", "$!\r\n"
			case 2:
				begins, ends = "/", "/"
			case 3:
				ends = "\x03"
			}
			if begins != "" && !strings.ContainsRune(begins, rune(x.bytes[0])) || bytes.ContainsAny(x.bytes[1:], ends) {
				t.Fatalf("%q is no telegram", x.bytes)
			}
		}
	})
}
