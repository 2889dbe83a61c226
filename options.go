package batpak

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/gates"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// Defaults and bounds of [Options].
const (
	DefaultSegmentBytes = log.DefaultSegmentBytes
	DefaultMaxPayload   = 16 << 20
	DefaultSyncInterval = 100 * time.Millisecond

	// MaxBatch is the most proposals that one Commit takes.
	MaxBatch = 10_000
	// MaxCommitBytes is the most that the events of one Commit take in the log.
	MaxCommitBytes = log.MaxCommitBytes
)

// Options of [Open]. Nil and the zero value mean the defaults. None of them is stored: a store may be opened with other
// options each time.
type Options struct {
	// Durability is what appends wait for unless a proposal asks for another, and what readers wait for: with Durable,
	// the default, an event is seen once it is durable, with Written once it is written.
	Durability Durability

	// SyncInterval bounds the time between write and sync of what nobody waits for. 0 means DefaultSyncInterval.
	SyncInterval time.Duration

	// SegmentBytes is the length at which a segment is sealed, at most 2 GiB. 0 means DefaultSegmentBytes.
	SegmentBytes int64

	// MaxPayload bounds the payload of one event, in bytes. 0 means DefaultMaxPayload.
	MaxPayload int

	// Types, if not nil, are all payload types that are appended: a payload of another type or version is refused, and so
	// are bytes without a type of a kind that one of them has; see [event.Registry.Check].
	Types *Registry

	// Gates judge every proposal, on every path, before it is decided about; a proposal whose idempotency key is known
	// appends nothing and is not judged. They are called in the goroutine of the append.
	Gates *gates.Set[struct{}]

	// CommitGates judge every proposal at the commit point, after its conditions, with the head of the stream that it is about
	// to extend: nothing can come between. Every append waits for them, so they must be quick, and they must not call the
	// store, which is [ErrInGate], nor have another goroutine do so and wait for it; what iter.Pull runs is one.
	CommitGates *gates.Set[gates.Head]

	// RecordDenials appends an event for each proposal that a gate of the store denies; see [DenialRecord].
	RecordDenials bool

	// MemoryIndex keeps the whole index in memory and rebuilds it from the log at each opening, in time and space
	// proportional to the log. It is there for comparison, and for stores on file systems that cannot map files.
	MemoryIndex bool

	// Clock returns the time of day. Nil means time.Now.
	Clock func() time.Time

	// Logger is told of openings, recoveries and rebuilt indexes. Nil means silence.
	Logger *slog.Logger

	foldEvents int           // tail events that make a fold due; 0 means defaultFoldEvents; for tests
	maxHeads   int           // in their cache; 0 means maxHeads; for tests
	random     func() uint32 // the last 4 bytes of ids; for tests

	// A simulated disk, for tests: the file system instead of the directory, and what opens the two files of kv on it.
	fs        vfs.FS
	openIndex func() (kv.DB, error)
	openState func() (kv.DB, error)
}

// withDefaults returns a checked copy.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	setDefault(&c.Durability, Durable)
	setDefault(&c.SyncInterval, DefaultSyncInterval)
	setDefault(&c.SegmentBytes, DefaultSegmentBytes)
	setDefault(&c.MaxPayload, DefaultMaxPayload)
	setDefault(&c.foldEvents, defaultFoldEvents)
	setDefault(&c.maxHeads, maxHeads)
	if c.random == nil {
		c.random = rand.Uint32
	}
	if c.fs != nil && c.openState == nil {
		c.openState = func() (kv.DB, error) { return kv.NewMemory(), nil }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Durability != Durable && c.Durability != Written:
		return c, fmt.Errorf("options: Durability %d: %w", c.Durability, event.ErrInvalid)
	case c.SyncInterval < 0:
		return c, fmt.Errorf("options: SyncInterval %v is negative: %w", c.SyncInterval, event.ErrInvalid)
	case c.SegmentBytes < 0 || c.SegmentBytes > log.MaxSegmentBytes:
		return c, fmt.Errorf("options: SegmentBytes %d is not in 0 to %d: %w", c.SegmentBytes, int64(log.MaxSegmentBytes), event.ErrInvalid)
	case c.MaxPayload < 0 || c.MaxPayload > MaxCommitBytes/2:
		return c, fmt.Errorf("options: MaxPayload %d is not in 0 to %d: %w", c.MaxPayload, MaxCommitBytes/2, event.ErrInvalid)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
