package batpak

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/log"
)

// A logWriter writes a log by itself, with every checksum, hash and link of a commit right: what someone can do who knows the
// format.
type logWriter struct {
	store StoreID
	log   *log.Log
	end   log.Position
	heads map[event.Stream]head
	root  *os.Root
}

// newLogWriter begins a store in dir.
func newLogWriter(t testing.TB, dir string) *logWriter {
	t.Helper()
	root, err := makeRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := vfs.OS(root)
	id, _, err := loadIdentity(f, true, 1_700_000_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	w := &logWriter{store: id.store, heads: map[event.Stream]head{}, root: root}
	w.end = log.Position{Link: chain.Origin(w.store)}
	w.log, _, err = log.Open(f, w.store, log.Options{Genesis: w.end.Link}, w.end, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// append appends an event at an entity, changed as change says after its place in its stream is known.
func (w *logWriter) append(t testing.TB, entity string, change func(*Event)) {
	t.Helper()
	e := Event{Payload: fmt.Append(nil, "event ", w.end.Seq+1)}
	e.Seq, e.Entity, e.Scope, e.Kind = w.end.Seq+1, entity, "s", 0xF001
	e.Time = 1_700_000_000_000_000 + Timestamp(e.Seq)
	at, ok := w.heads[e.Stream()]
	if !ok {
		at.hash = chain.Genesis(w.store, e.Stream())
	}
	e.Clock, e.Prev = at.clock+1, at.hash
	e.PayloadLength, e.Content = uint32(len(e.Payload)), chain.Content(e.Payload)
	if change != nil {
		change(&e)
	}
	e.ID = event.NewID(e.Time, e.Seq, 7)
	e.Correlation = e.ID
	header := event.AppendHeader(nil, &e.Header)
	hash := chain.Event(header)
	w.heads[e.Stream()] = head{e.Seq, e.Clock, hash, nil}
	c := log.Commit{First: e.Seq, Count: 1, Records: log.AppendRecord(nil, header, e.Payload)}
	c.Link = chain.Link(w.end.Link, c.First, c.Durable, hash[:])
	var err error
	if c.Segment, c.Offset, err = w.log.Append(&c); err != nil {
		t.Fatal(err)
	}
	w.end = c.End()
}

func (w *logWriter) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(w.log.Close(), w.root.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestForgedStream reads logs in which everything fits but one event in its stream. Reading the stream up to it, walking it and
// verifying find it, in a store, in a reader and without either; the other stream is whole.
func TestForgedStream(t *testing.T) {
	first := Hash{}
	for _, c := range []struct {
		name   string
		change func(*Event) // of event 5, the third of stream a
		walk   chain.End
	}{
		{"nothing", nil, chain.ReachedGenesis},
		{"the previous hash is another", func(e *Event) { e.Prev[7] ^= 1 }, chain.ReachedCorrupt},
		{"the previous hash is that of the event before that", func(e *Event) { e.Prev = first }, chain.ReachedCorrupt},
		{"a clock is left out", func(e *Event) { e.Clock = 4 }, chain.ReachedMissing},
		{"a clock comes twice", func(e *Event) { e.Clock = 2 }, chain.ReachedCorrupt},
		{"it begins the stream again", func(e *Event) { e.Clock = 1 }, chain.ReachedCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := memoryDir(t)
			w := newLogWriter(t, dir)
			w.append(t, "a", nil)
			first = w.heads[event.Stream{Entity: "a"}].hash
			w.append(t, "b", nil)
			w.append(t, "a", nil)
			w.append(t, "b", nil)
			w.append(t, "a", c.change)
			w.append(t, "b", nil)
			w.close(t)
			wrong := c.change != nil
			rep, err := VerifyDir(t.Context(), dir, nil)
			if err != nil || rep.OK() == wrong || wrong && rep.Findings[0].Seq != 5 {
				t.Errorf("verify dir: %v, %v", rep.Findings, err)
			}
			for _, open := range []func() (*opened, error){storeOpener(t, dir, nil), readerOpener(t, dir)} {
				o, err := open()
				if err != nil {
					t.Fatal(err)
				}
				if rep, err := o.verify(); err != nil || rep.OK() == wrong {
					t.Errorf("%s: verify: %v, %v", o.name, rep.Findings, err)
				}
				for _, q := range []Query{{Entity: "a"}, {Entity: "a", Reverse: true}, {Entity: "a", After: 4}} {
					es, err := gather(o.Query(q))
					if errors.Is(err, ErrCorrupt) != wrong {
						t.Errorf("%s: query %+v: %d events, %v", o.name, q, len(es), err)
					}
				}
				if es, err := gather(o.Query(Query{Entity: "b"})); err != nil || len(es) != 3 {
					t.Errorf("%s: the other stream: %d events, %v", o.name, len(es), err)
				}
				e, err := o.At(5)
				if err != nil {
					t.Fatal(err)
				}
				if walk, err := o.Walk(e.ID, 10); err != nil || walk.End != c.walk {
					t.Errorf("%s: walk of %d events to %s, %v", o.name, len(walk.Events), walk.End, err)
				}
				if err := o.close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestForgedOrder opens logs in which everything fits but the time of one event.
func TestForgedOrder(t *testing.T) {
	for back := Timestamp(0); back < 3; back++ {
		dir := memoryDir(t)
		w := newLogWriter(t, dir)
		w.append(t, "a", nil)
		w.append(t, "b", nil)
		w.append(t, "a", func(e *Event) { e.Time -= back })
		w.close(t)
		rep, err := VerifyDir(t.Context(), dir, nil)
		if err != nil || rep.OK() != (back == 0) {
			t.Errorf("time goes back by %d: verify dir: %v, %v", back, rep.Findings, err)
		}
		for _, open := range []func() (*opened, error){storeOpener(t, dir, nil), readerOpener(t, dir)} {
			o, err := open()
			if errors.Is(err, ErrCorrupt) != (back > 0) {
				t.Errorf("time goes back by %d: open: %v", back, err)
			}
			if err == nil {
				o.close()
			}
		}
	}
}
