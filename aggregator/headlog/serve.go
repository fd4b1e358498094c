package headlog

import (
	"encoding/binary"
	"errors"
	"net/http"

	"edgechain.example/lightchain"
)

// How long others may keep what they got.
const (
	cacheForever = "public, max-age=31536000, immutable" // what has a size in its name never changes
	cacheNever   = "no-cache"
)

// Handler serves the log as tiles: /checkpoint, /tile/LEVEL/NUMBER and, where entries says so, /tile/entries/NUMBER. Nothing is
// served but what the newest checkpoint covers.
func (v *View) Handler(entries bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkpoint", func(w http.ResponseWriter, r *http.Request) {
		head, err := v.Newest(r.Context())
		if err != nil {
			unserved(w, err)
			return
		}
		serve(w, "text/plain; charset=utf-8", cacheNever, head.Checkpoint)
	})
	mux.HandleFunc("GET /tile/{path...}", func(w http.ResponseWriter, r *http.Request) {
		t, leaves, ok := parseTile(r.PathValue("path"))
		switch {
		case !ok:
			missing(w, "there is no such tile: expected /tile/LEVEL/NUMBER as tlog-tiles has it, such as /tile/0/x001/234 or /tile/0/000.p/7")
			return
		case leaves && !entries:
			missing(w, "this log shows the hashes of headers alone; whoever has a header can look its hash up in /tile/0/")
			return
		}
		head, err := v.Newest(r.Context())
		if err != nil {
			unserved(w, err)
			return
		}
		if !t.in(head.Size) {
			missing(w, "the tree of the newest checkpoint has no such tile, or not so wide a one")
			return
		}
		v.serveTile(w, r, t, leaves)
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		missing(w, "a log of heads has /checkpoint and /tile/")
	})
	return mux
}

func (v *View) serveTile(w http.ResponseWriter, r *http.Request, t tile, leaves bool) {
	var body []byte
	var err error
	if leaves {
		body, err = v.bundle(r, t)
	} else {
		var hashes []lightchain.Hash
		hashes, err = v.tile(r.Context(), t)
		for _, h := range hashes {
			body = append(body, h[:]...)
		}
	}
	if err != nil {
		unserved(w, err)
		return
	}
	serve(w, "application/octet-stream", cacheForever, body)
}

// bundle returns the leaves of a tile, each behind its length.
func (v *View) bundle(r *http.Request, t tile) (b []byte, err error) {
	leaves, err := v.entries(r.Context(), t)
	for _, l := range leaves {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(l.Header))), l.Header...) // at most lightchain.MaxHeader
	}
	return b, err
}

func serve(w http.ResponseWriter, kind, cache string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", cache)
	_, _ = w.Write(body) // who asked is gone if this fails
}

func missing(w http.ResponseWriter, why string) {
	w.Header().Set("Cache-Control", cacheNever) // what is not there may come
	http.Error(w, why, http.StatusNotFound)
}

func unserved(w http.ResponseWriter, err error) {
	w.Header().Set("Cache-Control", cacheNever)
	code := http.StatusInternalServerError
	if errors.Is(err, ErrEmpty) {
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}
