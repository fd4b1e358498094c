package localhttp

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Whoever may open a Unix socket was let in by the file system. A TCP port on a loopback address is open to every user of
// the machine, and to every web page in a browser there: a page sends requests without asking (a POST without a body
// needs no preflight), and can give its own name the address 127.0.0.1 (DNS rebinding) to read the answers. So over the
// network nothing is changed, and nothing answered that a page of another host has asked for.

// guarded lets a handler be reached over the network in a way that no stranger can abuse; over a Unix socket it is as it
// is. hosts are names under which the interface may be asked for, beside this machine's own.
func guarded(handler http.Handler, hosts []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
			handler.ServeHTTP(w, r)
			return
		}
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "over TCP this interface is for reading; changes go through its Unix socket", http.StatusMethodNotAllowed)
		case !known(r.Host, hosts):
			http.Error(w, fmt.Sprintf("this interface is not called %q: ask for it by a loopback address, or add the name to api.hosts", r.Host), http.StatusMisdirectedRequest)
		case foreign(r):
			http.Error(w, "a web page of another origin may not ask here", http.StatusForbidden)
		default:
			handler.ServeHTTP(w, r)
		}
	})
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
