package serial

import (
	"bytes"
	"fmt"
	"time"

	"edgechain.example/sensors/poll"
)

// MaxTelegram is the most bytes that a telegram may have. What has more does not end where the configuration says, or comes at another
// rate.
const MaxTelegram = 64 << 10

// The ways in which telegrams begin and end.
const (
	frameLine = "line" // ends at a terminator
	frameNMEA = "nmea" // "$" or "!" to the line's end
	frameP1   = "p1"   // "/" to "!", and the checksum behind it
)

// telegram is what came, without what ends it.
type telegram struct {
	bytes []byte
	torn  bool // its beginning may be missing
}

// lost counts what became no telegram.
type lost struct {
	cut     int // telegrams that a new one broke off, or that did not end
	garbage int // bytes between telegrams
}

// framer parts bytes into telegrams. Its zero value, with a form, is that of a line that was just opened.
type framer struct {
	form       string
	terminator []byte // of lines; none: CR, LF, or both

	buf    []byte
	whole  bool // of lines: what is in buf began behind a terminator, or after silence, and nothing is missing in it
	synced bool // of others: a beginning was seen
	over   bool // of lines: the one that comes is too long
	ended  int  // of P1: where "!" stands, counted from 1
	lost   lost // since somebody looked
}

// feed takes what came, after silence or not, and returns the telegrams that it made whole.
func (f *framer) feed(b []byte, quiet bool) (all []telegram) {
	switch {
	case quiet && len(f.buf) == 0:
		f.whole = true
	case quiet && f.nothingBehind(): // something may be missing: "12" and, once the cable is in again, "45" are not 1245
		f.whole = false
	}
	for _, c := range b {
		var whole bool
		switch f.form {
		case frameNMEA:
			whole = f.nmea(c)
		case frameP1:
			whole = f.p1(c)
		default:
			whole = f.line(c)
		}
		if whole {
			all = append(all, telegram{bytes.Clone(f.buf), f.form == frameLine && !f.whole})
			f.buf, f.whole, f.ended = f.buf[:0], true, 0
		}
		if f.form == frameP1 && c == '/' { // also behind one that it ended
			f.buf = append(f.buf[:0], c)
		}
		if len(f.buf) > MaxTelegram {
			f.tooLong()
		}
	}
	return all
}

// nothingBehind reports whether a line ends with its terminator. Behind another one than a line's end a device may send more, such as a
// checksum, which then waits for the next line.
func (f *framer) nothingBehind() bool {
	return len(f.terminator) == 0 || bytes.ContainsRune([]byte("\r\n"), rune(f.terminator[len(f.terminator)-1]))
}

// tooLong gives up what does not end. Of a line the rest is passed over, too; of others it is between telegrams.
func (f *framer) tooLong() {
	if !f.over {
		f.lost.cut++
	}
	f.over, f.buf, f.ended = f.form == frameLine, f.buf[:0], 0
}

// line takes a byte of a line, and reports whether buf is one.
func (f *framer) line(c byte) bool {
	if len(f.terminator) == 0 {
		if c != '\r' && c != '\n' {
			f.buf = append(f.buf, c)
			return false
		}
	} else {
		f.buf = append(f.buf, c)
		if !bytes.HasSuffix(f.buf, f.terminator) {
			return false
		}
		f.buf = f.buf[:len(f.buf)-len(f.terminator)]
	}
	if f.over {
		f.buf, f.over, f.whole = f.buf[:0], false, true
		return false
	}
	if len(f.buf) == 0 { // the second half of CR LF, an empty line
		f.whole = true
		return false
	}
	return true
}

// nmea takes a byte of sentences, and reports whether buf is one.
func (f *framer) nmea(c byte) bool {
	switch {
	case c == '$' || c == '!':
		f.begin(c)
	case c == '\r' || c == '\n':
		return len(f.buf) > 0
	default:
		f.within(c)
	}
	return false
}

// p1 takes a byte of telegrams, and reports whether buf is one. By IEC 62056-21 neither "/" nor "!" stands within one.
func (f *framer) p1(c byte) bool {
	const sum = 4 // digits
	switch {
	case c == '/':
		if f.ended > 0 {
			return true
		}
		f.begin(c)
	case f.ended > 0 && !isHex(c):
		if c != '\r' && c != '\n' {
			f.lost.garbage++
		}
		return true
	case c == '!' && len(f.buf) > 0:
		f.buf = append(f.buf, c)
		f.ended = len(f.buf)
	case c != '\r' && c != '\n' || len(f.buf) > 0:
		f.within(c)
		return f.ended > 0 && len(f.buf) == f.ended+sum
	}
	return false
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f' }

// begin begins a telegram.
func (f *framer) begin(c byte) {
	if len(f.buf) > 0 {
		f.lost.cut++
	}
	f.buf, f.synced = append(f.buf[:0], c), true
}

// within takes a byte of the telegram that was begun, or of what stands between telegrams.
func (f *framer) within(c byte) {
	switch {
	case len(f.buf) > 0:
		f.buf = append(f.buf, c)
	case f.synced:
		f.lost.garbage++
	}
}

// report gathers what was lost until it is time to tell it: some devices send between their telegrams what belongs to none, for years.
type report struct {
	lost
	rarely poll.Rarely
}

func (r *report) add(l *lost) {
	r.cut += l.cut
	r.garbage += l.garbage
	*l = lost{}
}

// due is when something waits to be told; zero: nothing does.
func (r *report) due() time.Time {
	if r.cut+r.garbage == 0 {
		return time.Time{}
	}
	return r.rarely.Due()
}

// take returns what is to be told now.
func (r *report) take(last bool) (cut, garbage int) {
	if r.cut+r.garbage == 0 || !r.rarely.Tell() && !last {
		return 0, 0
	}
	cut, garbage, r.lost = r.cut, r.garbage, lost{}
	return cut, garbage
}

func lossText(cut, garbage int) string {
	const hint = "; is the baud rate what the device sends, and frame?"
	switch {
	case garbage == 0:
		return "telegrams were broken off by others, or did not end" + hint
	case cut == 0:
		return fmt.Sprintf("%d bytes came between telegrams and are of none", garbage) + hint
	}
	return fmt.Sprintf("telegrams were broken off by others, or did not end, and %d bytes came between telegrams and are of none", garbage) + hint
}
