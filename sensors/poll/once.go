package poll

import (
	"context"
	"errors"
	"slices"

	"edgechain.example/sensors"
)

// Answer is what one read of a group gave.
type Answer struct {
	Group   string
	Read    string
	Message *sensors.Message // nil: it failed
	Err     error
}

// ask is a question of Once.
type ask struct {
	ctx    context.Context
	group  string
	answer chan []Answer // capacity 1; nil: there is no such group
}

// Errors of [Source.Once].
var (
	ErrNoGroup = errors.New("there is no such group")
	ErrEnded   = errors.New("the source has ended")
)

// Once asks a group once, or all where the name is empty, and returns what they answer. While Run runs, it does so between two
// polls; nothing is recorded by it, and the state of no read changes.
func (s *Source) Once(ctx context.Context, name string) ([]Answer, error) {
	s.mu.Lock()
	known := name == "" || slices.ContainsFunc(s.groups, func(g *group) bool { return g.Name == name })
	if s.next != nil { // which come into force before the question is put
		known = name == "" || slices.ContainsFunc(s.next, func(g Group) bool { return g.Name == name })
	}
	s.mu.Unlock()
	if !known {
		return nil, ErrNoGroup
	}
	a := ask{ctx, name, make(chan []Answer, 1)}
	select {
	case s.asks <- a:
	case <-s.ended:
		return nil, ErrEnded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answers := <-a.answer
	if answers == nil { // it was taken away meanwhile
		return nil, ErrNoGroup
	}
	return answers, ctx.Err()
}

// Ask is Once for groups that nobody polls.
func Ask(ctx context.Context, groups []Group) (answers []Answer) {
	for i := range groups {
		answers = append(answers, newGroup(groups[i]).ask(ctx)...)
	}
	return answers
}

func (s *Source) askAll(running context.Context, a ask) (answers []Answer) {
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	defer context.AfterFunc(running, cancel)()
	for _, g := range s.groups {
		if a.group == "" || g.Name == a.group {
			answers = append(answers, g.ask(ctx)...)
		}
	}
	s.rest(running)
	return answers
}

// ask asks for everything, also after silence: who asks wants to know of each.
func (g *group) ask(ctx context.Context) (answers []Answer) {
	for _, r := range g.Reads {
		m, err := r.Ask(ctx)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		answers = append(answers, Answer{g.Name, r.Name, m, err})
	}
	return answers
}
