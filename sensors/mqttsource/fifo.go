package mqttsource

// fifo is a queue that uses its room again.
type fifo[T any] struct {
	items []T
	from  int // the first of items that is still in it
}

func (f *fifo[T]) len() int { return len(f.items) - f.from }

// first returns the oldest element; there must be one.
func (f *fifo[T]) first() T { return f.items[f.from] }

func (f *fifo[T]) push(v T) {
	if len(f.items) == cap(f.items) && 2*f.from >= len(f.items) { // half of it is free
		n := copy(f.items, f.items[f.from:])
		clear(f.items[n:])
		f.items, f.from = f.items[:n], 0
	}
	f.items = append(f.items, v)
}

// pop removes the oldest element.
func (f *fifo[T]) pop() {
	var none T
	f.items[f.from] = none
	f.from++
	if f.from == len(f.items) {
		f.items, f.from = f.items[:0], 0
	}
}
