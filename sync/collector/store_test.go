package collector

import (
	"context"
	"sync"

	"edgechain.example/lightchain"
)

// memStore is an aggregator's store; states go through their encoding, as they would on disk.
type memStore struct {
	sync.Mutex
	states  map[lightchain.ChainID][]byte
	headers map[lightchain.ChainID]map[uint64]Held
	writes  int
}

func newMemStore() *memStore {
	return &memStore{states: map[lightchain.ChainID][]byte{}, headers: map[lightchain.ChainID]map[uint64]Held{}}
}

func (m *memStore) load(chain lightchain.ChainID) (*State, error) {
	b, ok := m.states[chain]
	if !ok {
		return nil, nil
	}
	return DecodeState(b)
}

func (m *memStore) Load(_ context.Context, chain lightchain.ChainID) (*State, error) {
	m.Lock()
	defer m.Unlock()
	return m.load(chain)
}

func (m *memStore) Update(_ context.Context, chain lightchain.ChainID, f func(*State, func(Held) error) error) error {
	m.Lock()
	s, err := m.load(chain)
	m.Unlock()
	if err != nil {
		return err
	}
	if s == nil {
		s = &State{Chain: chain}
	}
	var put []Held
	err = f(s, func(h Held) error { put = append(put, h); return nil })
	if err == ErrUnchanged {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := s.Encode()
	if err != nil {
		return err
	}
	m.Lock()
	defer m.Unlock()
	m.states[chain] = b
	m.writes++
	if m.headers[chain] == nil {
		m.headers[chain] = map[uint64]Held{}
	}
	for _, h := range put {
		m.headers[chain][h.Height] = h
	}
	return nil
}

func (m *memStore) Headers(_ context.Context, chain lightchain.ChainID, from, to uint64, visit func(Held) error) error {
	m.Lock()
	held := m.headers[chain]
	m.Unlock()
	for height := from; height <= to; height++ {
		if h, ok := held[height]; ok {
			if err := visit(h); err != nil {
				return err
			}
		}
	}
	return nil
}
