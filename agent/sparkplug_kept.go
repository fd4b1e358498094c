package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
	"edgechain.example/sensors/sparkplug"
)

// What a birth says is needed for as long as its node lives, which may be years, and the entry that holds it may be deleted before:
// so the births in force are also in files of the data folder, each under the hash of its payload, and a file beside them says whose
// they are. Both are as old as the last time they were written; the chain has what came since, and a start reads that again.
const (
	sparkplugFolder = "sparkplug"
	sparkplugFile   = "nodes.json"
	birthSuffix     = ".birth"

	sparkplugWrite = 10 * time.Minute // between two writes where no birth came
	sparkplugSoon  = time.Minute      // and where one did
	mostRecalled   = 200000           // newest entries that a start reads again
)

// sparkplugMemory is the file.
type sparkplugMemory struct {
	Next    uint64                       `json:"next"` // the number of the first entry that is not counted in
	Sources map[string]sparkplug.Memory  `json:"sources"`
	Servers map[string][]mqttconn.Server `json:"servers,omitempty"` // of each source that is at a broker elsewhere
}

// keep writes down what is known, when it is time to, or last.
func (s *sparkplugs) keep(chain *store.Reader, last bool) {
	hosts := s.all()
	var seen uint64
	nodes, unsaved := 0, false
	for _, h := range hosts {
		stats := h.Stats()
		seen += stats.Messages
		nodes += stats.Nodes
		unsaved = unsaved || h.Unsaved()
	}
	news, next, since := seen != s.seen || unsaved, chain.Next(), time.Since(s.written)
	switch {
	case last && (news || nodes > 0): // the next start has nothing to read again then
	case nodes > 0 && next-s.next >= mostRecalled/2: // others' entries alone: a start would not get through them
	case news && (unsaved && (s.written.IsZero() || since >= sparkplugSoon) || since >= sparkplugWrite):
	default:
		return
	}
	s.written, s.seen, s.next = time.Now(), seen, next
	if err := s.write(next, hosts); err != nil {
		s.log.Warn("failed to write the aliases of Sparkplug nodes; after a start they may have to be born again", "err", err)
	}
}

// write writes what is known of all nodes. It is not synced: a payload that a power cut tears has another hash, and is not read.
func (s *sparkplugs) write(next uint64, hosts map[string]plant) error {
	if info, err := os.Lstat(s.folder); err == nil && !info.IsDir() {
		return errors.New(s.folder + " is no folder")
	}
	if err := os.MkdirAll(s.folder, 0o750); err != nil {
		return err
	}
	memory := sparkplugMemory{Next: next, Sources: map[string]sparkplug.Memory{}, Servers: map[string][]mqttconn.Server{}}
	wanted := map[string]bool{}
	saved := map[string]map[lightchain.Hash][]byte{}
	for name, h := range hosts {
		m, unsaved := h.Memory()
		if len(m.Nodes) == 0 {
			continue
		}
		memory.Sources[name], memory.Servers[name], saved[name] = m, h.servers, unsaved
		for hash, payload := range unsaved {
			if err := replaceSmall(filepath.Join(s.folder, hash.String()+birthSuffix), payload, 0o640, false, s.log); err != nil {
				return err
			}
		}
		for _, n := range m.Nodes {
			for _, b := range n.Births {
				wanted[b.Hash+birthSuffix] = true
			}
		}
	}
	text, err := json.Marshal(memory)
	if err != nil {
		return err
	}
	if err := replaceSmall(filepath.Join(s.folder, sparkplugFile), append(text, '\n'), 0o640, false, s.log); err != nil {
		return err
	}
	for name, payloads := range saved {
		hosts[name].Saved(payloads)
	}
	entries, err := os.ReadDir(s.folder)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), birthSuffix) && !wanted[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(s.folder, e.Name())))
		}
	}
	return err
}

// recall takes what is written down, and then what the chain has that is newer, as if it came again.
func (s *sparkplugs) recall(ctx context.Context, chain *store.Reader) {
	text, err := readSmall(filepath.Join(s.folder, sparkplugFile))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var memory sparkplugMemory
	if err == nil {
		err = json.Unmarshal(text, &memory)
	}
	if err != nil {
		s.log.Warn("failed to read the aliases of Sparkplug nodes: the newest entries of the chain are searched for births", "err", err)
		memory = sparkplugMemory{}
	}
	s.written, s.next = time.Now(), memory.Next
	hosts := s.all()
	for source, m := range memory.Sources {
		host, is := hosts[source]
		if servers, noted := memory.Servers[source]; is && noted && !host.isAt(servers) {
			s.log.Info("the source is at another broker than before: no birth is known there", "source", source)
			delete(hosts, source)
			continue
		}
		if !is {
			continue
		}
		host.Remember(m, func(hash string) []byte {
			if _, err := lightchain.ParseHash(hash); err != nil {
				return nil
			}
			b, err := readSmall(filepath.Join(s.folder, hash+birthSuffix))
			if err != nil {
				s.log.Warn("failed to read a birth of a Sparkplug node: its aliases are not known before the next one", "source", source, "hash", hash, "err", err)
				return nil
			}
			return b
		})
	}
	next := chain.Next()
	from := memory.Next
	if from > next || next-from > mostRecalled {
		from = max(next, mostRecalled) - mostRecalled
		for _, h := range s.all() {
			h.UnseenAll()
		}
	}
	for rec, err := range chain.Entries(from, next) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // what is gone is told elsewhere
		}
		recallEntry(hosts, &rec.Entry)
	}
}

// recallEntry takes an entry, if it is one that a Host has read.
func recallEntry(hosts map[string]plant, e *lightchain.Entry) {
	if !strings.HasPrefix(e.Decoder, "sparkplug/") && !(e.Flags&lightchain.NotUnderstood != 0 && strings.Contains(e.Source, sensors.SparkplugNamespace)) {
		return
	}
	kind, rest, _ := strings.Cut(e.Source, ":")
	name, topic, ok := strings.Cut(rest, ":")
	switch {
	case !ok:
		return
	case kind == "mqtt":
		kind += ":" + name
	case kind != "broker":
		return
	}
	if host, is := hosts[kind]; is {
		host.Recall(topic, e.Flags, e.Payload, time.Unix(0, e.Received))
	}
}
