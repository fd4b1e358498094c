//go:build !linux

package store

// LockHolder says which process holds the lock of the store in dir, for people; "" where that cannot be told.
func LockHolder(string) string { return "" }
