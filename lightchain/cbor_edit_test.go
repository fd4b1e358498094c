package lightchain

import (
	"bytes"
	"testing"
)

// Test vectors are good files with one thing wrong. What is wrong is put into the encoded bytes, at a place that is named by
// steps from the outside: an index into an array, a key of a map, and inside for the content of a byte string. The counts
// and lengths around it follow.

const inside = -1

type editor struct{ t testing.TB }

// replace puts an item into the place of another.
func (e editor) replace(b, item []byte, steps ...int) []byte {
	return e.at(b, steps, func([]byte) []byte { return item })
}

// add puts another element at an array's end.
func (e editor) add(b, item []byte, steps ...int) []byte {
	return e.at(b, steps, func(array []byte) []byte {
		elements := e.elements(array, majorArray)
		return join(majorArray, len(elements)+1, append(elements, item))
	})
}

// drop takes an element out of an array, or a key and its value out of a map: the last step.
func (e editor) drop(b []byte, steps ...int) []byte {
	last := len(steps) - 1
	return e.at(b, steps[:last], func(of []byte) []byte {
		major := of[0] & 0xe0
		elements := e.elements(of, major)
		at, width := steps[last], 1
		if major == majorMap {
			at, width = e.find(elements, steps[last]), 2
		}
		elements = append(elements[:at:at], elements[at+width:]...)
		return join(major, len(elements)/width, elements)
	})
}

// put puts a key with its value into a map, which must not have it, in its place.
func (e editor) put(b, key, value []byte, steps ...int) []byte {
	return e.at(b, steps, func(of []byte) []byte {
		elements := e.elements(of, majorMap)
		at := 0
		for at < len(elements) && bytes.Compare(elements[at], key) < 0 {
			at += 2
		}
		rest := append([][]byte{key, value}, elements[at:]...)
		return join(majorMap, len(elements)/2+1, append(elements[:at:at], rest...))
	})
}

// swap exchanges two elements of an array.
func (e editor) swap(b []byte, i, j int, steps ...int) []byte {
	return e.at(b, steps, func(of []byte) []byte {
		elements := e.elements(of, majorArray)
		elements[i], elements[j] = elements[j], elements[i]
		return join(majorArray, len(elements), elements)
	})
}

// item returns the item at a place.
func (e editor) item(b []byte, steps ...int) (found []byte) {
	e.at(b, steps, func(item []byte) []byte {
		found = item
		return item
	})
	return found
}

func (e editor) at(b []byte, steps []int, change func([]byte) []byte) []byte {
	e.t.Helper()
	if b[0]&0xe0 == 6<<5 { // a tag of one byte belongs to what it stands before
		return append([]byte{b[0]}, e.at(b[1:], steps, change)...)
	}
	if len(steps) == 0 {
		return change(b)
	}
	switch major := b[0] & 0xe0; major {
	case majorBytes:
		if steps[0] != inside {
			e.t.Fatalf("step %d into a byte string", steps[0])
		}
		_, head := itemHead(b)
		return appendBytes(nil, e.at(b[head:], steps[1:], change))
	case majorArray, majorMap:
		elements := e.elements(b, major)
		at, width := steps[0], 1
		if major == majorMap {
			at, width = e.find(elements, steps[0])+1, 2
		}
		elements[at] = e.at(elements[at], steps[1:], change)
		return join(major, len(elements)/width, elements)
	}
	e.t.Fatalf("step %d into an item that begins with %#x", steps[0], b[0])
	return nil
}

// find returns where a key stands among a map's elements.
func (e editor) find(elements [][]byte, key int) int {
	e.t.Helper()
	for i := 0; i < len(elements); i += 2 {
		if bytes.Equal(elements[i], appendInt(nil, int64(key))) {
			return i
		}
	}
	e.t.Fatalf("no key %d", key)
	return 0
}

// elements returns the elements of an array, or keys and values of a map.
func (e editor) elements(b []byte, major byte) (all [][]byte) {
	e.t.Helper()
	n, head := itemHead(b)
	if b[0]&0xe0 != major {
		e.t.Fatalf("an item of the kind %#x begins with %#x", major, b[0])
	}
	if major == majorMap {
		n *= 2
	}
	for b = b[head:]; n > 0; n-- {
		size := itemSize(b)
		all, b = append(all, b[:size]), b[size:]
	}
	return all
}

func join(major byte, n int, elements [][]byte) []byte {
	return append(appendHead(nil, major, uint64(n)), bytes.Join(elements, nil)...)
}

// itemHead returns the argument of an item's head, and how many bytes the head has.
func itemHead(b []byte) (n uint64, size int) {
	r := reader{b: b}
	_, n = r.head()
	return n, len(b) - len(r.b)
}

// itemSize returns how many bytes an item has.
func itemSize(b []byte) int {
	if b[0] >= 0xf9 { // a float is all head, and has no shortest one
		return 1 + 1<<(b[0]-0xf8)
	}
	n, size := itemHead(b)
	switch b[0] & 0xe0 {
	case majorBytes, majorText:
		return size + int(n)
	case majorMap:
		n *= 2
	case majorArray:
	case 6 << 5:
		n = 1
	default:
		return size
	}
	for ; n > 0; n-- {
		size += itemSize(b[size:])
	}
	return size
}
