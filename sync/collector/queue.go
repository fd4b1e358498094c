package collector

import (
	"container/heap"
	"time"
)

// queue orders followers by when to look at them again.
type queue []*follower

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	f := x.(*follower)
	f.index = len(*q)
	*q = append(*q, f)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	f := (*q)[last]
	(*q)[last] = nil
	*q, f.index = (*q)[:last], -1
	return f
}

// put sets when to look at f, in place of the time that was set; zero: never.
func (q *queue) put(f *follower, at time.Time) {
	f.at = at
	switch {
	case at.IsZero():
		q.remove(f)
	case f.index < 0:
		heap.Push(q, f)
	default:
		heap.Fix(q, f.index)
	}
}

func (q *queue) remove(f *follower) {
	if f.index >= 0 {
		heap.Remove(q, f.index)
	}
}
