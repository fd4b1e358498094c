package localhttp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Whoever may open a Unix socket was let in by the file system. A TCP port on a loopback address is open to every user of
// the machine, and to every web page in a browser there: a page sends requests without asking (a POST without a body
// needs no preflight), and can give its own name the address 127.0.0.1 (DNS rebinding) to read the answers. So over the
// network nothing is changed, and nothing answered that a page of another host has asked for.

// Access says who may do what over the listeners of [Serve].
type Access struct {
	HostsKey    string   // of the configuration, which names them; "": api.hosts
	Hosts       []string // names under which the interface may be asked for over TCP, beside loopback's
	GroupWrites bool     // whoever may open the Unix socket may change things, not only its owner and root
	Adds        []string // paths that add, and change nothing: open to whoever may open the socket
}

// guarded lets a handler be reached in a way that no stranger can abuse. Over a Unix socket whoever the file system lets in
// may read; over the network, whoever is no foreign web page.
func guarded(handler http.Handler, access Access) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
			if !reads && !slices.Contains(access.Adds, r.URL.Path) && !access.writes(PeerOf(r.Context())) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusForbidden)
				_ = json.NewEncoder(w).Encode(struct { // as both interfaces tell of errors
					Error string `json:"error"`
				}{fmt.Sprintf("only root and the program's own user may do that, and this is %s: use sudo, or set api.group_writes = true", PeerOf(r.Context()))})
				return
			}
			handler.ServeHTTP(w, r)
			return
		}
		switch {
		case !reads:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "over TCP this interface is for reading; changes go through its Unix socket", http.StatusMethodNotAllowed)
		case !known(r.Host, access.Hosts):
			http.Error(w, fmt.Sprintf("this interface is not called %q: ask for it by a loopback address, or add the name to %s", r.Host, cmp.Or(access.HostsKey, "api.hosts")), http.StatusMisdirectedRequest)
		case foreign(r):
			http.Error(w, "a web page of another origin may not ask here", http.StatusForbidden)
		default:
			handler.ServeHTTP(w, r)
		}
	})
}

// writes reports whether somebody at the socket may change things. Where the system does not say who that is, the file
// system has decided.
func (a *Access) writes(who *Peer) bool {
	return a.GroupWrites || who == nil || who.UID == 0 || int(who.UID) == os.Geteuid()
}

// known reports whether a Host header names this machine's loopback interface, or one of the names given.
func known(host string, hosts []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if ip, err := netip.ParseAddr(name); err == nil && ip.IsLoopback() {
		return true
	}
	return strings.EqualFold(name, "localhost") || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// foreign reports whether a browser says that a page of another origin has asked.
func foreign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	from, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(from.Host, r.Host)
}

// CheckHosts refuses what cannot be the name of a host.
func CheckHosts(hosts []string) error {
	for _, h := range hosts {
		if u, err := url.Parse("http://" + h + "/"); err != nil || h == "" || u.Hostname() != h {
			return fmt.Errorf("%q: expected the name of a host, without scheme, port or path", h)
		}
	}
	return nil
}
