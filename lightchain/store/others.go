package store

import (
	"log/slog"
	"slices"
)

// The database with the highest number counts. One may stand above the chain's own that is none of it: a copy that was made
// while the agent ran, what is left of one, a folder of somebody's. It shows where such a database is damaged, or ends below the
// head mark: then one of a lower number that reaches the mark counts, and the other is put aside. What a rebuild has left
// behind never reaches the mark of what was recorded since.

// betterThan returns the path of a database below the n-th that reaches the head mark, "" if there is none.
func (s *Store) betterThan(n int) string {
	m := s.found.newest()
	names, err := s.options.FS.List(s.dir)
	if m == nil || err != nil {
		return ""
	}
	var below []int
	for _, name := range names {
		if i, ok := databaseNumber(name); ok && i < n && holdsAnything(s.options.FS, s.options.FS.PathJoin(s.dir, name)) {
			below = append(below, i)
		}
	}
	slices.Sort(below)
	for _, i := range slices.Backward(below) {
		if path := s.options.FS.PathJoin(s.dir, dataName(i)); s.reaches(path, m) {
			return path
		}
	}
	return ""
}

// reaches tells whether the database in path, which nobody has open, ends at the head mark or above it. Nothing of it changes.
func (s *Store) reaches(path string, m *headMark) bool {
	o := s.options
	o.Logger, o.reading = slog.New(slog.DiscardHandler), nil // whatever is found, it is said when it counts
	db, err := openPebbleReadOnly(path, o, s.durable)
	if err != nil {
		return false
	}
	defer db.Close()
	r := &Reader{db: db, from: db, fs: o.FS, path: path}
	tip, _, err := r.findTip()
	return err == nil && tip.Chain == m.chain() && tip.Height >= m.head.Height
}

// takeBetter puts the database in path, the n-th, which is not open, aside where another one is better, and opens that.
func (s *Store) takeBetter(path string, n int, failed error) (took bool, err error) {
	better := s.betterThan(n)
	if better == "" {
		return false, nil
	}
	s.options.Logger.Error("failed to use the database with the highest number, which is put aside: another one holds what the head mark tells of", "folder", path, "goes_on", better, "err", failed)
	if err := s.putAside(path); err != nil {
		return true, err
	}
	s.info.Recovered = Recovered{} // what was found of the other one
	if s.found.bad() != nil {
		s.sound = soundLogs(better, s.options, s.durable)
	}
	return true, s.openDatabase()
}
