package localhttp

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
)

// Peer is the user at the other end of a Unix socket, by the kernel's word. Whoever uses sudo is root.
type Peer struct {
	UID  uint32 `json:"uid"`
	User string `json:"user,omitempty"` // its name on this machine; "" if it has none
}

// String names it: "anna (uid 1000)". Of nil it is not known who that is.
func (p *Peer) String() string {
	switch {
	case p == nil:
		return "not known"
	case p.User == "":
		return fmt.Sprintf("uid %d", p.UID)
	}
	return fmt.Sprintf("%s (uid %d)", p.User, p.UID)
}

type peerKey struct{}

// withPeer remembers who is at the other end of a connection, where the kernel tells.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, ok := peerUID(unix)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// withSelf says that this process asks itself.
func withSelf(ctx context.Context) context.Context {
	uid := os.Getuid()
	if uid < 0 {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uint32(uid))
}

// PeerOf returns who has sent the request with this context; nil: it is not known.
func PeerOf(ctx context.Context) *Peer {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return nil
	}
	return peer(uid)
}

// Self returns whose process this is; nil: this system does not say.
func Self() *Peer {
	uid := os.Getuid()
	if uid < 0 {
		return nil
	}
	return peer(uint32(uid))
}

func peer(uid uint32) *Peer {
	p := &Peer{UID: uid}
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		p.User = u.Username
	}
	return p
}
