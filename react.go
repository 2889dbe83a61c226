package batpak

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/batpak/batpak/event"
)

// Defaults of a [Reaction].
const (
	DefaultRestarts      = 3
	DefaultRestartWithin = time.Minute

	reactionPage   = 64      // events between two savings of the position
	reactionPassed = 100_000 // or so many that are not selected
	reactionDomain = "batpak.reaction"
	maxRestarts    = 1000
)

// A Reaction answers events with events: for each one that Query selects and a handler is for, in order, it appends what
// the handler put into the batch, atomically, once: however often the process dies, and wherever. [Store.React] runs it.
type Reaction struct {
	// Name is that of its cursor, and part of the idempotency keys of what it appends. It is as an entity.
	Name string

	// Query selects the events to react to. A new reaction begins behind its After.
	Query Query

	// Handlers, one for each payload type. Events of other kinds are passed over.
	Handlers []event.Handler[*Batch]

	// Restarts is how many times in RestartWithin the reaction goes on, with the event that failed, after a handler returned
	// an error or panicked, or its batch was refused: a condition did not hold, say. 0 means DefaultRestarts, a negative number none;
	// RestartWithin 0 means DefaultRestartWithin. At most 1000 restarts.
	Restarts      int
	RestartWithin time.Duration
}

// A Batch is what a handler of a [Reaction] wants appended for one event. It is the handler's for the time of the call.
type Batch struct {
	trigger   *Event
	reaction  string
	proposals []Proposal
}

// Append adds an event with a typed payload. Its cause is the event reacted to, and its correlation is that event's.
func (b *Batch) Append(at Coordinate, payload Payload) {
	b.Propose(Proposal{At: at, Payload: payload})
}

// Propose adds a proposal. Its idempotency key is set by the batch; cause and correlation are, unless p has others. A cause
// by index counts from the first proposal of the batch.
func (b *Batch) Propose(p Proposal) {
	if p.Cause.IsZero() {
		p.Cause = CauseID(b.trigger.ID)
	}
	if p.Correlation.IsZero() {
		p.Correlation = b.trigger.Correlation
	}
	p.Key = b.key(len(b.proposals))
	b.proposals = append(b.proposals, p)
}

// key is the idempotency key of a proposal of the batch.
func (b *Batch) key(item int) string {
	return reactionDomain + "/" + event.IdempotencyKey(reactionDomain, b.reaction, b.trigger.ID.String(), strconv.Itoa(item))
}

// A ReactionError says that a reaction has stopped for good, and at which event: no position behind it is saved. Err is the
// error of the handler, a [*PanicError], that with which its batch was refused, or an [*event.DecodeError].
type ReactionError struct {
	Reaction string
	Seq      Seq
	Restarts int // before it stopped
	Err      error
}

// Error names the reaction and the event.
func (e *ReactionError) Error() string {
	return fmt.Sprintf("reaction %q: event %d, after %d restarts: %v", e.Reaction, e.Seq, e.Restarts, e.Err)
}

// Unwrap returns the reason.
func (e *ReactionError) Unwrap() error { return e.Err }

// A PanicError is a panic of a handler.
type PanicError struct {
	Value any
	Stack []byte
}

// Error says what the panic was.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// React runs a reaction until ctx is done, the store is closed or it fails, and returns [context.Cause] of ctx, [ErrClosed]
// or the failure, or nil past Query.Through; there is no other goroutine. It begins where the reaction of that name was when it last ran, opens its
// cursor as [Store.Cursor] does, and handles events as they become visible.
//
// If the log has lost events that were there when the position was saved, after a [Repair] say, answers may be among them. The
// reaction then begins again where it did when it was new, or where a repair cut the log before that; what is answered stays so.
// If another event is where it began and no repair says why, the error matches [ErrCorrupt]. The position of a [Store.Cursor]
// would be refused if the event at it is lost.
//
// The position is saved after the batches of some events were appended, so that after a crash handlers may be called again
// with events that they have had; what was appended for an event is found by its key, and neither the handler called nor
// anything appended for it again. A handler that does something outside the store must bear being called twice for an event.
//
// An event whose payload does not decode, and any failure of the store, stop the reaction at once.
func (s *Store) React(ctx context.Context, r Reaction) error {
	w, err := s.newWorker(r)
	if err != nil {
		return err
	}
	defer w.cursor.Close()
	for {
		err := w.run(ctx)
		switch {
		case errors.Is(err, ErrClosed) && s.closed.Load():
			return ErrClosed
		case ctx.Err() != nil && cancelled(err):
			if err := w.savePassed(1); err != nil {
				return err
			}
			return context.Cause(ctx)
		case !w.restart(err):
			return err
		}
	}
}

// errDone says that a worker stopped because its context is done.
var errDone = errors.New("context is done")

// cancelled reports whether err is what comes of a context being done: errDone, or what came of a handler which noticed.
func cancelled(err error) bool {
	_, handler := err.(*ReactionError)
	return handler || err == errDone
}

// A worker runs a reaction.
type worker struct {
	s      *Store
	r      Reaction
	cursor *Cursor
	router *event.Router[*Batch]

	restarts []time.Time // the last ones
	total    int
}

func (s *Store) newWorker(r Reaction) (*worker, error) {
	router, err := event.NewRouter(r.Handlers...)
	if err != nil {
		return nil, fmt.Errorf("reaction %q: %w", r.Name, err)
	}
	if len(r.Handlers) == 0 {
		return nil, fmt.Errorf("reaction %q has no handlers: %w", r.Name, ErrInvalid)
	}
	if r.RestartWithin < 0 || r.Restarts > maxRestarts {
		return nil, fmt.Errorf("reaction %q: RestartWithin %v or Restarts %d out of bounds: %w", r.Name, r.RestartWithin, r.Restarts, ErrInvalid)
	}
	setDefault(&r.Restarts, DefaultRestarts)
	setDefault(&r.RestartWithin, DefaultRestartWithin)
	c, err := s.openCursor(r.Name, r.Query)
	if err != nil {
		return nil, err
	}
	if c.cut != nil {
		s.opts.Logger.Warn("reaction begins again: events that were there when its position was saved are lost, perhaps answers", "reaction", r.Name, "position", c.Position())
		if err := c.rewind(); err != nil {
			c.release()
			return nil, err
		}
	}
	return &worker{s: s, r: r, cursor: c, router: router}, nil
}

// run handles events until something stops it. What was handled before is saved also if something fails.
func (w *worker) run(ctx context.Context) error {
	for {
		next, more, err := w.page(ctx)
		if err != nil {
			return err
		}
		w.cursor.pass(next)
		if end := w.cursor.query.Through; end > 0 && next >= end {
			return w.savePassed(1)
		}
		if err := w.savePassed(reactionPassed); err != nil {
			return err
		}
		if more {
			continue
		}
		if err := w.s.Wait(ctx, WatermarkVisible, next+1); ctx.Err() != nil && w.s.ready() == nil && w.s.log.Err() == nil {
			return errDone
		} else if err != nil {
			return err
		}
	}
}

// page handles some events, one after the other as they are read, and saves how far it came. It returns where to go on, and
// whether there was more.
func (w *worker) page(ctx context.Context) (next Seq, more bool, err error) {
	q := w.cursor.rest()
	q.Limit = reactionPage
	scan, err := w.s.scan(q)
	if err != nil {
		return 0, false, err
	}
	done := Seq(0)
	for more = true; more && err == nil; {
		var failed error
		more, failed = scan.next(func(e Event, _ error) bool {
			if err = errDone; ctx.Err() == nil {
				err = w.react(&e)
			}
			if err == nil {
				done = e.Seq
			}
			return err == nil
		})
		if err == nil {
			err = w.s.unlessClosed(failed)
		}
	}
	if saved := w.save(done); saved != nil {
		if err == errDone {
			err = nil
		}
		err = errors.Join(err, saved)
	}
	return scan.position(), !scan.exhausted, err
}

// savePassed saves the position if it is at least so far ahead of what was saved, with nothing between to be handled.
func (w *worker) savePassed(most Seq) error {
	if w.cursor.unsaved() < most {
		return nil
	}
	return w.cursor.Save(w.cursor.Position())
}

func (w *worker) save(seq Seq) error {
	if seq == 0 {
		return nil
	}
	return w.cursor.Save(seq)
}

// react appends what the handler of the event wants, unless that was done before.
func (w *worker) react(e *Event) error {
	b := &Batch{trigger: e, reaction: w.r.Name}
	done, _, err := w.s.keyed(b.key(0))
	if done != nil || err != nil {
		return w.s.unlessClosed(err)
	}
	if err := w.route(b); err != nil {
		return &ReactionError{w.r.Name, e.Seq, w.total, err}
	}
	if len(b.proposals) == 0 {
		return nil
	}
	_, err = w.s.propose(b.proposals, true)
	if refusedBatch(err) {
		return &ReactionError{w.r.Name, e.Seq, w.total, err}
	}
	return err
}

// refusedBatch reports whether a batch was refused for what it is, rather than because of the store.
func refusedBatch(err error) bool {
	is := func(class error) bool { return errors.Is(err, class) }
	return !is(ErrCorrupt) && slices.ContainsFunc([]error{ErrConflict, ErrDenied, ErrInvalid, ErrTooLarge, ErrIdempotencyMismatch, ErrIdempotencyPartial}, is)
}

// route calls the handler. A panic is an error.
func (w *worker) route(b *Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	_, err = w.router.Route(b, *b.trigger)
	return err
}

// restart reports whether the reaction goes on after err, which must be that of one event and nothing else.
func (w *worker) restart(err error) bool {
	failed, ok := err.(*ReactionError)
	var undecoded *event.DecodeError
	if !ok || errors.As(err, &undecoded) && undecoded.Seq == failed.Seq || w.s.log.Err() != nil {
		return false
	}
	now := w.s.Now()
	w.restarts = slices.DeleteFunc(w.restarts, func(t time.Time) bool { return now.Sub(t) >= w.r.RestartWithin })
	if len(w.restarts) >= w.r.Restarts {
		return false
	}
	w.restarts = append(w.restarts, now)
	w.total++
	w.s.opts.Logger.Warn("reaction restarted", "reaction", w.r.Name, "event", failed.Seq, "cause", failed.Err)
	return true
}
