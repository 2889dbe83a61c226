package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/batpak/batpak"
)

// options are what the command line says.
type options struct {
	length   time.Duration
	seed     uint64
	dir      string
	callers  int
	interval time.Duration // between progress lines; 0 for none

	kills int // for tests: lives are short, and after so many kills the soak ends
}

// How long something may take before it has hung.
const (
	openTimeout  = 3 * time.Minute
	closeTimeout = 3 * time.Minute
	reachTimeout = 2 * time.Minute
)

// mostPoll bounds how long the reader waits before it looks again.
const mostPoll = 30 * time.Millisecond

// checkShare bounds the part of the time that full checks take: one in so many.
const checkShare = 10

// A soak is one run of the command.
type soak struct {
	options
	random  *rand.Rand // of the main goroutine only
	out     io.Writer
	begun   time.Time
	over    context.Context // done when the time is up
	failing context.Context // done when something was found
	fail    context.CancelCauseFunc

	mu      sync.Mutex // guards what follows, and the target's ledger
	figures figures
}

// run soaks one store after another until the time is up or something is found, and returns what was found.
func (s *soak) run(ctx context.Context) error {
	s.random, s.begun, s.figures = rand.New(rand.NewPCG(s.seed, 0)), time.Now(), newFigures()
	var cancel context.CancelFunc
	s.over, cancel = context.WithTimeout(ctx, s.length)
	defer cancel()
	s.failing, s.fail = context.WithCancelCause(context.Background())
	defer s.fail(nil)
	var progress sync.WaitGroup
	progress.Go(s.progress)
	for number := 1; !s.ending() && s.failing.Err() == nil; number++ {
		if err := s.soakStore(newTarget(s.dir, number, s.seed)); err != nil {
			s.fail(fmt.Errorf("store %d: %w", number, err))
		}
	}
	cancel()
	progress.Wait()
	s.figures.length = time.Since(s.begun)
	if err := s.figures.growth(); err != nil {
		s.fail(err)
	}
	return context.Cause(s.failing)
}

// ending reports whether it is time to come to an end.
func (s *soak) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over.Err() != nil || s.kills > 0 && s.figures.kills >= s.kills
}

// count changes the figures.
func (s *soak) count(change func(*figures)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.figures)
}

// progress prints a line now and then, until the time is up.
func (s *soak) progress() {
	if s.interval == 0 {
		return
	}
	t := time.NewTicker(s.interval)
	defer t.Stop()
	for {
		select {
		case <-s.over.Done():
			return
		case <-s.failing.Done():
			return
		case <-t.C:
		}
		s.mu.Lock()
		line := s.figures.line(time.Since(s.begun))
		s.mu.Unlock()
		fmt.Fprintln(s.out, line)
	}
}

// soakStore takes one store through its lives, until its log is long enough or the soak ends. Then it is checked as a whole,
// and removed.
func (s *soak) soakStore(t *target) (err error) {
	defer func() {
		if t.reader != nil {
			t.reader.kill()
			<-t.reader.done
		}
	}()
	s.count(func(f *figures) { f.stores++ })
	for last := false; !last; {
		last = s.ending() || t.logBytes() > t.limit
		if err := s.round(t, last); err != nil {
			return fmt.Errorf("life %d: %w", t.lives, err)
		}
	}
	return os.RemoveAll(t.dir)
}

// round is one life of the writer and what is done to the files after it. The last one of a store ends with a close, and
// everything is checked.
func (s *soak) round(t *target, last bool) error {
	l := s.plan(t, last)
	name := fmt.Sprintf("writer %d of store %d", t.lives, t.number)
	w, err := start(name, &l.job, func(kind byte, body []byte) error { return s.hearWriter(t, l, kind, body) })
	if err != nil {
		return err
	}
	if err := s.live(t, w, l); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.count(func(f *figures) { f.rounds++ })
	switch {
	case w.refusal != nil:
		return s.refused(t, w.refusal, last)
	case w.closed:
		return s.afterClose(t, l, last)
	case last: // it was killed because something was found
		return context.Cause(s.failing)
	default:
		return s.afterKill(t)
	}
}

// plan chooses the next life.
func (s *soak) plan(t *target, last bool) *life {
	l := newLife(s.random, !last, s.length/10)
	if s.kills > 0 {
		l = shortLife(s.random, !last)
	}
	t.lives++
	due := last || time.Since(t.checked) > checkShare*t.took
	l.Role, l.Dir, l.Seed, l.Life, l.Callers = roleWriter, t.dir, t.planner.seed, t.lives, s.callers
	l.Verify = due && !l.kill
	l.Abrupt = !last && s.random.IntN(2) == 0
	s.mu.Lock()
	defer s.mu.Unlock()
	l.After = t.ledger.follower(innerFollower).at
	for range min(len(t.keyed), s.random.IntN(8)) {
		l.Again = append(l.Again, t.keyed[s.random.IntN(len(t.keyed))])
	}
	s.figures.repeated += len(l.Again)
	t.begin(l)
	if t.pending != nil {
		t.tries++
	}
	return l
}

// live waits until the life ends as it should, or ends by itself.
func (s *soak) live(t *target, w *process, l *life) error {
	limit := time.NewTimer(openTimeout)
	defer limit.Stop()
	if l.atOnce {
		limit.Reset(l.length)
	}
	opened, isOpen, over := w.opened, false, s.over.Done()
	for {
		var readerDone chan struct{} // nil without a reader: then nothing is received from it
		if t.reader != nil && s.failing.Err() == nil {
			readerDone = t.reader.done
		}
		select {
		case <-opened:
			opened, isOpen = nil, true
			if !l.atOnce {
				limit.Reset(l.length)
			}
			if err := s.startReader(t); err != nil {
				s.fail(err)
			}
			continue
		case <-w.done:
			return w.err
		case <-readerDone:
			s.fail(fmt.Errorf("%s: %w", t.reader.name, orNone(t.reader.err)))
			continue
		case <-s.failing.Done():
			w.kill()
			<-w.done
			return errors.Join(context.Cause(s.failing), w.err)
		case <-over:
		case <-l.enough:
		case <-limit.C:
			if !isOpen && !l.atOnce {
				return w.hung(fmt.Sprintf("has not opened the store within %v", openTimeout))
			}
		}
		if l.kill {
			w.kill()
			<-w.done
			return w.err
		}
		return w.end(closeTimeout)
	}
}

// hearWriter handles what the writer says.
func (s *soak) hearWriter(t *target, l *life, kind byte, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case kindOpened:
		o, err := parse[opening](body)
		if err == nil {
			err = s.writerOpened(t, l, &o)
		}
		return err
	case kindAcknowledged:
		a, err := parseAcknowledgement(body)
		if err == nil {
			err = s.acknowledged(t, l, &a)
		}
		return err
	case kindSeen:
		return s.seen(t, innerFollower, body)
	case kindSample:
		if t.logBytes() > 2*t.limit {
			l.suffice()
		}
		return s.sampled(&s.figures.writer, body, writerBytes)
	case kindWarned:
		return s.warned(body)
	case kindClosed:
		return s.closing(body)
	}
	return nil
}

// writerOpened takes note of an opening.
func (s *soak) writerOpened(t *target, l *life, o *opening) error {
	how, damage := t.opening, t.pending
	lost, err := t.open(l, o)
	if err != nil {
		return err
	}
	f := &s.figures
	f.lost += lost
	if o.Report.TornFile != "" {
		f.torn++
		if damage == nil {
			f.tornByKill++
		}
	}
	if o.Report.IndexRebuilt != "" {
		how = openRebuilt
		f.rebuilt++
	}
	f.openings[how] = append(f.openings[how], o.Report.Took)
	return nil
}

// acknowledged takes the receipts of a commit.
func (s *soak) acknowledged(t *target, l *life, a *acknowledgement) error {
	for i := range a.marks {
		if err := t.ledger.acknowledge(&a.marks[i]); err != nil {
			return err
		}
	}
	s.figures.acknowledged += len(a.marks)
	if a.keyed {
		t.remember(commitName{l.Life, a.caller, a.commit}, a.marks)
	}
	l.count(len(a.marks))
	return nil
}

// seen takes the events that a follower yielded.
func (s *soak) seen(t *target, follower string, body []byte) error {
	marks, err := parseMarks(body)
	for i := range marks {
		if err == nil {
			err = t.ledger.see(follower, &marks[i], t.shown)
		}
	}
	s.figures.followed[follower] += len(marks)
	return err
}

// What a process may have at any moment. The store keeps at most 256 segments open, and a tail of at most 64 MiB.
const (
	mostFiles      = 256 + 64
	mostGoroutines = 20        // besides the callers
	writerBytes    = 512 << 20 // of memory, without mapped files
)

// sampled takes a measurement; bytes bounds the memory, 0 means no bound.
func (s *soak) sampled(to *[]sample, body []byte, bytes int64) error {
	m, err := parse[sample](body)
	m.At = time.Since(s.begun)
	*to = append(*to, m)
	if err == nil && (m.Files > mostFiles || m.Goroutines > s.callers+mostGoroutines || bytes > 0 && m.Anonymous > bytes) {
		err = fmt.Errorf("uses too much: %+v", m)
	}
	return err
}

// warned takes what the store logs. A rebuilt index is to be expected after damage; an error is not.
func (s *soak) warned(body []byte) error {
	w, err := parse[warning](body)
	if err == nil && w.Error {
		err = errors.New("the store logs an error: " + w.Text)
	}
	s.figures.warned++
	return err
}

// closing compares what a process has after closing with what it had before opening.
func (s *soak) closing(body []byte) error {
	c, err := parse[closing](body)
	if err == nil && c.more() {
		err = fmt.Errorf("after closing there are %+v, before opening there were %+v\n%s", c.After, c.Before, c.Leftovers)
	}
	return err
}

// startReader starts the reader if there is none.
func (s *soak) startReader(t *target) error {
	if t.reader != nil {
		return nil
	}
	t.readers++
	s.mu.Lock()
	s.figures.readerStarts++
	j := job{Role: roleReader, Dir: t.dir, After: t.ledger.follower(readerProcess).at}
	s.mu.Unlock()
	j.Poll = time.Millisecond + time.Duration(s.random.Int64N(int64(mostPoll)))
	var err error
	t.reader, err = start(fmt.Sprintf("reader %d of store %d", t.readers, t.number), &j, func(kind byte, body []byte) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch kind {
		case kindSeen:
			return s.seen(t, readerProcess, body)
		case kindSample:
			return s.sampled(&s.figures.reader, body, 0)
		case kindClosed:
			return s.closing(body)
		}
		return nil
	})
	return err
}

// killReader ends the reader, if there is one, with kill -9.
func (s *soak) killReader(t *target) {
	if t.reader == nil {
		return
	}
	t.reader.kill()
	<-t.reader.done
	if t.reader.err != nil {
		s.fail(fmt.Errorf("%s: %w", t.reader.name, t.reader.err))
	}
	t.reader = nil
	s.count(func(f *figures) { f.readerKills++ })
}

// endReader lets the reader close the store.
func (s *soak) endReader(t *target) error {
	r := t.reader
	t.reader = nil
	err := r.end(closeTimeout)
	if err == nil && r.refusal != nil {
		err = errors.New(r.refusal.Text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return nil
}

// afterKill may kill the reader too, and damages the files.
func (s *soak) afterKill(t *target) error {
	s.count(func(f *figures) { f.kills++ })
	if t.pending == nil && t.store != (batpak.StoreID{}) {
		t.opening = openKilled
	}
	if err := s.shown(t); err != nil {
		return err
	}
	if s.random.IntN(15) == 0 {
		s.killReader(t)
	}
	if t.pending != nil || t.store == (batpak.StoreID{}) {
		return s.failed() // the last damage has not been dealt with, or there is no store yet
	}
	d := s.damager(t)
	if s.random.IntN(5) == 0 {
		if err := d.keepIndex(); err != nil {
			return err
		}
	}
	if s.random.IntN(4) == 0 {
		return s.failed()
	}
	done, err := d.any()
	if err != nil {
		return fmt.Errorf("damage: %w", err)
	}
	if done != nil {
		s.count(func(f *figures) { f.damages[done.kind]++ })
		t.pending, t.tries, t.opening = done, 0, done.opening()
	}
	return s.failed()
}

// shown checks that LOCK says of all that was durable, to a caller or a follower, that it was: by that readers in other
// processes know what they may show, and recovery knows what must be there. Half the time it lets the reader look first.
func (s *soak) shown(t *target) error {
	if t.reader != nil && s.random.IntN(2) == 0 {
		pause := time.NewTimer(2 * mostPoll)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-s.failing.Done():
		}
	}
	d := s.damager(t)
	durable := d.durable()
	if w, ok := d.watermarks(); ok && durable > min(w.visible, w.durable) {
		return fmt.Errorf("event %d was durable or shown as such, but LOCK says %+v", durable, w)
	}
	return nil
}

// failed returns what was found, if anything was.
func (s *soak) failed() error {
	if s.failing.Err() != nil {
		return context.Cause(s.failing)
	}
	return nil
}

func (s *soak) damager(t *target) *damager {
	return &damager{
		dir: t.dir, older: filepath.Join(s.dir, fmt.Sprintf("index-of-store-%d", t.number)), store: t.store, random: s.random,
		durable: func() batpak.Seq {
			s.mu.Lock()
			defer s.mu.Unlock()
			return t.ledger.durable
		},
		powerCut: func() { s.killReader(t) },
	}
}

// refused deals with a store that could not be opened, which may only be after some damages: undone, they leave it as it was.
func (s *soak) refused(t *target, f *failure, last bool) error {
	if t.pending == nil || !t.pending.mayRefuse || !f.Corrupt {
		return fmt.Errorf("open: %s", f.Text)
	}
	undo := t.pending.undo
	t.pending = nil
	s.count(func(f *figures) { f.refused++ })
	if err := undo(); err != nil || !last {
		return err
	}
	return s.round(t, last)
}

// afterClose checks the store, if that is due, and may end the reader.
func (s *soak) afterClose(t *target, l *life, last bool) error {
	s.count(func(f *figures) { f.closes++ })
	t.opening = openClosed
	if last {
		if err := s.reach(t); err != nil {
			return err
		}
	}
	if l.Verify {
		if err := s.check(t); err != nil {
			return err
		}
	}
	if t.reader != nil && (last || s.random.IntN(15) == 0) {
		return s.endReader(t)
	}
	return s.failed()
}

// reach waits until the followers have seen everything.
func (s *soak) reach(t *target) error {
	if err := s.startReader(t); err != nil {
		return err
	}
	s.mu.Lock()
	newest := batpak.Seq(len(t.ledger.known))
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.failing, reachTimeout)
	defer cancel()
	for _, follower := range []string{innerFollower, readerProcess} {
		if at, err := t.ledger.follower(follower).wait(ctx, newest); err != nil {
			return fmt.Errorf("%s stays at %d of %d: %w", follower, at, newest, err)
		}
	}
	return nil
}

// check checks the whole store from outside, while the reader follows it.
func (s *soak) check(t *target) error {
	begin := time.Now()
	s.mu.Lock()
	c := newChecker(t.ledger.clone(), t.planner)
	s.mu.Unlock()
	if err := c.check(context.Background(), t.dir); err != nil {
		return err
	}
	t.checked, t.took = time.Now(), time.Since(begin)
	s.count(func(f *figures) {
		f.checks++
		f.read += int(c.last)
		f.verified += c.acknowledged - t.verified
	})
	t.verified = c.acknowledged
	return nil
}
