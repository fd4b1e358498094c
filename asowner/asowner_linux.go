package asowner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Become has the process, if root runs it, act as the owner of folder from here on: all that it opens, makes and removes.
// Where the folder is not there, or is root's, nothing changes, and a second call changes nothing either.
func Become(folder string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	uid, gid := int(owner.Uid), int(owner.Gid)
	if err := take(uid, gid); err != nil {
		return fmt.Errorf("%s belongs to user %d, and root could not become that user: %w; run this as that user: sudo -u '#%d' …", folder, uid, err, uid)
	}
	// The way to it is the operator's: an image that was mounted where root alone may go.
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("user %d, to whom it belongs, does not reach the folder that root asks for: %w; give it a name that everybody may reach (mount --bind %s %s), and name that with --data",
			uid, err, folder, filepath.Join("/mnt", filepath.Base(folder)))
	}
	return nil
}

// ownerOf returns the owner of a folder, where that is known.
func ownerOf(folder string) (uid int, ok bool) {
	info, err := os.Stat(folder)
	if err != nil {
		return 0, false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(owner.Uid), true
}

// take changes the effective user and groups of all threads, the groups first, while root may. The real ones stay.
func take(uid, gid int) error {
	if err := syscall.Setgroups(groupsOf(uid, gid)); err != nil {
		return err
	}
	if err := syscall.Setresgid(-1, gid, -1); err != nil {
		return err
	}
	return syscall.Setresuid(-1, uid, -1)
}

// groupsOf returns the groups of a user, who need not have an account.
func groupsOf(uid, gid int) []int {
	groups := []int{gid}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return groups
	}
	names, err := u.GroupIds()
	if err != nil {
		return groups
	}
	for _, name := range names {
		if g, err := strconv.Atoi(name); err == nil && g != gid {
			groups = append(groups, g)
		}
	}
	return groups
}

// AsCaller runs f with the rights to files of who started the process. It is for what that person has named: nothing in the
// folder of [Become] may be opened by f but through [AsOwner].
func AsCaller(f func() error) error { return as(os.Getuid(), os.Getgid(), f) }

// AsOwner runs f with the rights of the owner that the process has become, within what [AsCaller] runs, too.
func AsOwner(f func() error) error { return as(os.Geteuid(), os.Getegid(), f) }

// as runs f on a thread with another user's rights to files. The kernel keeps these for each thread, and the runtime starts
// none from one that is locked.
func as(uid, gid int, f func() error) error {
	if os.Getuid() == os.Geteuid() {
		return f() // the process is one user
	}
	runtime.LockOSThread()
	wasUID, wasGID := now()
	if err := set(uid, gid); err != nil {
		return errors.Join(err, back(wasUID, wasGID))
	}
	err := f()
	return errors.Join(err, back(wasUID, wasGID))
}

// back gives a thread its former user. One that does not get it stays locked, and ends with its goroutine.
func back(uid, gid int) error {
	err := set(uid, gid)
	if err == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// now returns the user and group for files of this thread; nobody has the user -1, so asking changes nothing.
func now() (uid, gid int) {
	uid, _ = unix.SetfsuidRetUid(-1)
	gid, _ = unix.SetfsgidRetGid(-1)
	return uid, gid
}

// set changes them. The calls tell of no failure, so it looks.
func set(uid, gid int) error {
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		return err
	}
	if _, err := unix.SetfsgidRetGid(gid); err != nil {
		return err
	}
	if u, g := now(); u != uid || g != gid {
		return fmt.Errorf("this thread opens files as user %d of group %d, and not as %d of %d", u, g, uid, gid)
	}
	return nil
}
