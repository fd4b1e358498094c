//go:build !linux

package arm

import (
	"errors"
	"time"
)

func readTimex() (timex, error) { return timex{}, errors.ErrUnsupported }

func uptime() (time.Duration, error) { return 0, errors.ErrUnsupported }
