package main

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"

	"edgechain.example/lightchain"
)

// The entries of a bundle are known to be its gateway's when its end was read, and not before. They are kept until then, as
// many as there is room for: a bundle may be larger than the memory.

// bundleRoom is how many bytes of a bundle's entries are kept.
const bundleRoom = 8 << 20

// shownReadings is how many readings of a bundle are shown unless all are asked for.
const shownReadings = 20

// bundleEntries are the first entries of a bundle.
type bundleEntries struct {
	all            []bundleEntry
	room           int
	left           uint64 // entries that there was no room for
	number, height uint64 // of the next one

	losses, notes told // entries that tell of what is not here, and what people say: of all entries, kept or not
}

type bundleEntry struct {
	number, height uint64
	encoded        []byte
	again          reread
}

// add takes an item that the verifier has taken.
func (k *bundleEntries) add(item []byte) {
	const around = 128 // bytes that keeping one takes beside its own
	header, entry := lightchain.BundleContent(item)
	if header != nil {
		if h, err := lightchain.DecodeHeader(header); err == nil {
			k.number, k.height = h.First, h.Height
		}
	}
	if entry == nil {
		return
	}
	k.look(k.number, entry)
	if k.room -= len(entry) + around; k.room < 0 || k.left > 0 {
		k.left++
	} else {
		k.all = append(k.all, bundleEntry{number: k.number, height: k.height, encoded: bytes.Clone(entry)})
	}
	k.number++
}

// each calls do with each entry that is kept, decoded.
func (k *bundleEntries) each(do func(bundleEntry, *lightchain.Entry) error) error {
	for _, one := range k.all {
		e, err := lightchain.DecodeEntry(one.encoded)
		if err != nil {
			return err
		}
		if err := do(one, &e); err != nil {
			return err
		}
	}
	return nil
}

// readAgain has the payloads read again: before a word is written, for one may show a fault of this program.
func (k *bundleEntries) readAgain() error {
	at := 0
	return k.each(func(_ bundleEntry, e *lightchain.Entry) error {
		k.all[at].again, _ = readAgain(e)
		at++
		return nil
	})
}

// readingLines shows the readings of a bundle, and says of which payloads they are not.
func (k *bundleEntries) readingLines(b *strings.Builder, w io.Writer, all bool) error {
	shown, more, none := 0, 0, 0
	var differ, topic []uint64
	err := k.each(func(at bundleEntry, e *lightchain.Entry) error {
		if len(e.Readings) == 0 {
			none++
		}
		if at.again == differs {
			differ = append(differ, at.number)
		} else if at.again == withTopic {
			topic = append(topic, at.number)
		}
		for i := range e.Readings {
			if !all && shown == shownReadings {
				more++
				continue
			}
			shown++
			fmt.Fprintf(b, "  reading   entry %d: %s\n", at.number, reading(&e.Readings[i]))
			if err := passOn(b, w); err != nil {
				return err
			}
		}
		return nil
	})
	if more > 0 {
		fmt.Fprintf(b, "  note      %s more; --readings shows them all\n", plural(more, "reading"))
	}
	if none > 0 {
		fmt.Fprintf(b, "  note      %s without readings; --output json has what arrived\n", entries(none))
	}
	if k.left > 0 {
		fmt.Fprintf(b, "  note      of %s more the readings are not shown: there is no room for so many. A bundle of fewer blocks shows them\n", entries(int(k.left)))
	}
	if shown > 0 {
		b.WriteString("  note      readings are the gateway's interpretation of the payloads; the payloads are what arrived\n")
	}
	if len(topic) > 0 {
		fmt.Fprintf(b, "  note      of %s, the first is entry %d, some readings are not in the payload, but levels of the topic; a proof of one names them\n", entries(len(topic)), topic[0])
	}
	if len(differ) > 0 {
		fmt.Fprintf(b, "  note      READ AGAIN by this program, the payloads of %s, the first is entry %d, do not give these readings. Unless the gateway's configuration, which is not here, explains it, they are not what arrived\n",
			entries(len(differ)), differ[0])
	}
	return err
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

// writeJSON writes a report with the entries as its last member, one after the other: together they may not fit into memory.
func (k *bundleEntries) writeJSON(w io.Writer, report reportJSON) error {
	report.Bundle.EntriesLeftOut = k.left
	s := newJSONStream(w)
	s.w.WriteByte('{')
	s.members(reflect.ValueOf(report))
	s.w.WriteString(`,"entries":`)
	before := byte('[')
	err := k.each(func(at bundleEntry, e *lightchain.Entry) error {
		s.w.WriteByte(before)
		s.value(reflect.ValueOf(bundleEntryJSON{at.number, at.height, newEntryJSON(e, at.again)}))
		before = ','
		return nil
	})
	if err != nil {
		return err
	}
	if before == '[' {
		s.w.WriteByte(before)
	}
	return s.end("]}\n")
}
