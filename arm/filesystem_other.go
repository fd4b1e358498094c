//go:build !linux

package arm

import "errors"

func statfs(string) (space, error) { return space{}, errors.ErrUnsupported }
