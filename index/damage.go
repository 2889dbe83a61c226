package index

import (
	"errors"
	"fmt"

	"github.com/batpak/batpak/kv"
)

// ErrDamaged is the class of a damaged index. Delete it and build it again from the log.
var ErrDamaged = errors.New("index is damaged")

// A DamagedError says what of an index is not as it was written. It matches [ErrDamaged].
type DamagedError struct {
	What string // "meta record", "run 1 to 8192", "database"
	Err  error  // what is wrong with it
}

// Error names the part and what is wrong with it.
func (e *DamagedError) Error() string { return fmt.Sprintf("index: %s: %v", e.What, e.Err) }

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// Is reports whether target is [ErrDamaged].
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// damage makes damage of db damage of the index. It leaves other errors alone.
func damage(err error) error {
	if errors.Is(err, kv.ErrDamaged) && !errors.Is(err, ErrDamaged) {
		return &DamagedError{"database", err}
	}
	return err
}
