package gates

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/batpak/batpak/event"
)

// An OutcomeError is the error of an [Outcome]. It matches the class of package event that its kind corresponds to:
// [event.ErrNotFound], [event.ErrConflict], [event.ErrInvalid] for Validation, and [event.ErrDenied] for PolicyRejection.
type OutcomeError struct {
	Kind         ErrorKind
	Message      string
	Compensation Compensation // what undoes the work half done; may be nil
}

// Error names the kind and the message.
func (e *OutcomeError) Error() string { return e.Kind.String() + ": " + e.Message }

// Is reports whether target is the class of the kind.
func (e *OutcomeError) Is(target error) bool {
	switch e.Kind {
	case ErrorNotFound:
		return target == event.ErrNotFound
	case ErrorConflict:
		return target == event.ErrConflict
	case ErrorValidation:
		return target == event.ErrInvalid
	case ErrorPolicyRejection:
		return target == event.ErrDenied
	}
	return false
}

// An ErrorKind says what sort of failure an [OutcomeError] is. [CustomError] makes further ones.
type ErrorKind uint32

// Error kinds. The first is the zero one.
const (
	ErrorInternal ErrorKind = iota
	ErrorNotFound
	ErrorConflict
	ErrorValidation
	ErrorPolicyRejection
	ErrorCancelled
	ErrorStorage
	ErrorTimeout
	ErrorPending
	ErrorSerialization
	ErrorBatchCollapse
	errorKinds

	errorCustom ErrorKind = 1 << 16
)

var errorKindNames = [errorKinds]string{
	"internal", "not_found", "conflict", "validation", "policy_rejection", "cancelled",
	"storage", "timeout", "pending", "serialization", "batch_collapse",
}

const customPrefix = "custom:"

// CustomError returns the caller's own kind with this number.
func CustomError(n uint16) ErrorKind { return errorCustom | ErrorKind(n) }

// Custom returns the number of a kind that [CustomError] made.
func (k ErrorKind) Custom() (uint16, bool) { return uint16(k), k>>16 == 1 }

// IsDomain reports whether the request is at fault: not found, conflict, validation, policy rejection or cancelled.
func (k ErrorKind) IsDomain() bool { return k >= ErrorNotFound && k <= ErrorCancelled }

// IsOperational reports whether the system is at fault. A custom kind is neither of the domain nor operational.
func (k ErrorKind) IsOperational() bool { return k < errorKinds && !k.IsDomain() }

// IsRetryable reports whether the same request may succeed later: storage and timeout.
func (k ErrorKind) IsRetryable() bool { return k == ErrorStorage || k == ErrorTimeout }

// String returns the name of the kind, "custom:7" for custom ones.
func (k ErrorKind) String() string {
	if k < errorKinds {
		return errorKindNames[k]
	}
	if n, ok := k.Custom(); ok {
		return customPrefix + strconv.Itoa(int(n))
	}
	return "unknown"
}

// MarshalText returns the same text as String. A kind that is none has no text.
func (k ErrorKind) MarshalText() ([]byte, error) {
	if _, custom := k.Custom(); !custom && k >= errorKinds {
		return nil, fmt.Errorf("error kind %d is unknown: %w", uint32(k), event.ErrInvalid)
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (k *ErrorKind) UnmarshalText(b []byte) error {
	for i, name := range errorKindNames {
		if name == string(b) {
			*k = ErrorKind(i)
			return nil
		}
	}
	digits, _ := strings.CutPrefix(string(b), customPrefix)
	n, err := strconv.ParseUint(digits, 10, 16)
	if kind := CustomError(uint16(n)); err == nil && kind.String() == string(b) {
		*k = kind
		return nil
	}
	return fmt.Errorf("error kind %.40q is unknown: %w", b, event.ErrInvalid)
}

var errUnset = &OutcomeError{Kind: ErrorInternal, Message: "outcome was never set"}

// A Compensation is what undoes work half done: a [Rollback], [Notify], [Release] or [CustomCompensation]. It is data;
// whoever receives the error acts on it.
type Compensation interface{ compensation() }

// Rollback undoes what these events did.
type Rollback struct {
	Events []event.ID `json:"events"`
}

// Notify tells someone.
type Notify struct {
	Target  string `json:"target"`
	Message string `json:"message"`
}

// Release gives back what was held.
type Release struct {
	Resources []string `json:"resources"`
}

// CustomCompensation is the caller's own.
type CustomCompensation struct {
	Type string `json:"type"`
	Data []byte `json:"data"`
}

func (Rollback) compensation()           {}
func (Notify) compensation()             {}
func (Release) compensation()            {}
func (CustomCompensation) compensation() {}
