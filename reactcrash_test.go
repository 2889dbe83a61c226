package batpak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/batpak/batpak/internal/crashfs"
)

// orders appends orders with these numbers.
func (l *life) orders(from, count int) error {
	for n := from; n < from+count; n++ {
		if _, err := l.s.Append(At(fmt.Sprint("order:", n%2), "shop"), ordered{n}); err != nil {
			return err
		}
	}
	return nil
}

// answer answers all orders, while the handler appends more of its own.
func (l *life) answer() error {
	return answerAll(l.s, func(e *Event, p ordered) error {
		if p.Number%3 != 0 || p.Number >= 1000 {
			return nil
		}
		_, err := l.s.Append(At("order:more", "shop"), ordered{1000 + p.Number})
		return err
	})
}

// reactions is the workload: orders are answered in several runs, over segments, a fold and a reopening.
func (l *life) reactions() error {
	for _, step := range []func() error{
		l.openStore, func() error { return l.orders(0, 4) }, l.answer, func() error { return l.orders(10, 3) }, l.answer, l.fold,
		func() error { return l.orders(20, 3) }, l.answer, l.closeStore, l.openStore, l.answer, func() error { return l.orders(30, 2) }, l.answer,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// answered checks what a crash left: a position in the log, all up to it answered, once, and after some more work all.
func (l *life) answered() error {
	if err := l.openStore(); err != nil {
		return l.unexpected("open", err)
	}
	if err := l.checkPosition(); err != nil {
		return l.unexpected("position", err)
	}
	if err := l.orders(40, 3); err != nil {
		return l.unexpected("append", err)
	}
	for range 2 { // the first leaves those that its handler has appended
		if err := l.answer(); err != nil {
			return l.unexpected("reaction", err)
		}
	}
	answered, orders, err := checkAnswers(l.s)
	if err == nil && answered < len(orders) {
		err = violated("%d of %d orders are answered", answered, len(orders))
	}
	if err != nil {
		return l.unexpected("check", err)
	}
	return l.checkPosition()
}

// checkPosition opens the cursor and checks that what is at or below its position has been answered.
func (l *life) checkPosition() error {
	c, err := l.s.Cursor("shipping", Query{})
	if err != nil {
		return err
	}
	defer c.Close()
	answered, orders, err := checkAnswers(l.s)
	if err != nil {
		return err
	}
	if at := c.Position(); answered < len(orders) && orders[answered].Seq <= at || at > l.s.Visible() {
		return violated("the position is %d of %d; %d of %d orders are answered", at, l.s.Visible(), answered, len(orders))
	}
	return nil
}

// A reactSweep crashes at every operation of a reaction.
type reactSweep struct {
	opts  Options
	seeds int // torn power cuts at each operation

	points, second atomic.Int64
}

func (w *reactSweep) at(n int) (done bool, err error) {
	l := newLife(w.opts)
	l.stopAt(n)
	err = l.reactions()
	done = !l.disk.Stopped()
	l.end()
	if err != nil {
		err = l.unexpected("workload", err)
	}
	if isViolation(err) {
		return done, fmt.Errorf("operation %d: %w\n%s", n, err, l.disk.Trace())
	}
	w.points.Add(1)
	cuts := []crashfs.Cut{crashfs.Killed(), crashfs.Dropped()}
	for seed := range w.seeds {
		cuts = append(cuts, crashfs.Torn(uint64(n*1000+seed)))
	}
	for i, cut := range cuts {
		if err := w.recovered(l, cut, uint64(n*1000+i)); err != nil {
			return done, fmt.Errorf("crash at operation %d: %s: %w\n%s", n, cut, err, l.disk.Trace())
		}
	}
	return done, nil
}

// recovered goes on after a crash, and crashes there too.
func (w *reactSweep) recovered(l *life, cut crashfs.Cut, seed uint64) error {
	again := l.crash(cut)
	random := rand.New(rand.NewPCG(seed, 2))
	again.stopAt(1 + random.IntN(60))
	err := again.answered()
	stopped := again.disk.Stopped()
	again.end()
	if isViolation(err) {
		return fmt.Errorf("recovery: %w\n%s", err, again.disk.Trace())
	}
	if stopped {
		w.second.Add(1)
	}
	last := again.crash([]crashfs.Cut{cut, crashfs.Torn(seed)}[random.IntN(2)])
	err = last.answered()
	last.end()
	if err != nil {
		return fmt.Errorf("second recovery: %w\nfirst:\n%s\nsecond:\n%s", err, again.disk.Trace(), last.disk.Trace())
	}
	return nil
}

// TestReactCrash ends the process at every operation while orders are answered, kills it only or cuts the power, goes on, and
// crashes there again. The position is never ahead of the log nor of the answers; in the end each order has its answer, once.
func TestReactCrash(t *testing.T) {
	for _, d := range []Durability{Durable, Written} {
		t.Run(d.String(), func(t *testing.T) {
			w := reactSweep{opts: crashOptions(d), seeds: rounds(1, 6)}
			w.opts.SegmentBytes = 3000
			err := everywhere(w.at)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d crash points, %d second ones", w.points.Load(), w.second.Load())
			if err == nil && (w.points.Load() < 60 || w.second.Load() < 60) {
				t.Error("that is too few to mean anything")
			}
		})
	}
}

// TestReactStateFails makes each writing of state.bolt fail. The reaction ends with that error, without a restart, and goes on
// after a reopening.
func TestReactStateFails(t *testing.T) {
	failed := 0
	for n := 1; ; n++ {
		l := newLife(crashOptions(Durable))
		puts := 0
		l.setFault(func(_ *life, op crashfs.Op) (f crashfs.Fault) {
			if strings.HasPrefix(op.Name, stateFile) {
				if puts++; puts >= n {
					f = crashfs.Fault{Effect: crashfs.None, Err: syscall.EIO}
				}
			}
			return f
		})
		err := l.reactions()
		var stopped *ReactionError
		if puts >= n && (!errors.Is(err, syscall.EIO) || errors.As(err, &stopped)) {
			t.Fatalf("writing %d: %v", n, err)
		}
		l.end()
		if puts < n {
			break
		}
		failed++
		l.setFault(nil)
		again := l.crash(crashfs.Killed())
		if err := again.answered(); err != nil {
			t.Fatalf("writing %d: %v", n, err)
		}
		again.end()
	}
	if failed < 5 {
		t.Errorf("only %d writings", failed)
	}
}
