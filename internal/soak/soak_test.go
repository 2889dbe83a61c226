package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

func TestMain(m *testing.M) {
	runChild()
	os.Exit(m.Run())
}

// newSoak returns a soak that ends after some kills.
func newSoak(t *testing.T, kills int) *soak {
	o := options{length: 10 * time.Minute, seed: rand.Uint64(), dir: t.TempDir(), callers: 3, kills: kills}
	t.Logf("seed %d", o.seed)
	return &soak{options: o, out: t.Output()}
}

// TestSoak soaks a store through three kills.
func TestSoak(t *testing.T) {
	s := newSoak(t, 3)
	found := s.run(t.Context())
	s.figures.print(t.Output(), s.seed, found)
	f := &s.figures
	if found != nil {
		t.Fatal(found)
	}
	if f.kills < 3 || f.closes < 1 || f.checks < 1 || f.acknowledged < 100 || f.verified+f.lost != f.acknowledged {
		t.Errorf("%d kills, %d closes, %d checks; %d events acknowledged, %d verified, %d lost",
			f.kills, f.closes, f.checks, f.acknowledged, f.verified, f.lost)
	}
	if f.followed[innerFollower] < f.verified || f.followed[readerProcess] < f.verified {
		t.Errorf("%d events verified, and seen by followers: %v", f.verified, f.followed)
	}
}

// TestSoakFinds lets a soak meet a store that cannot be opened.
func TestSoakFinds(t *testing.T) {
	s := newSoak(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // at once the last round
	if err := os.MkdirAll(filepath.Join(s.dir, "store-1", "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "store-1", "STORE"), []byte("no store"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := s.run(ctx); found != nil || s.figures.stores > 0 {
		t.Fatalf("a soak that is over before it begins: %v, %d stores", found, s.figures.stores)
	}
	if found := s.run(t.Context()); found == nil || s.figures.acknowledged > 0 {
		t.Errorf("a store that cannot be opened: found %v, %d events acknowledged", found, s.figures.acknowledged)
	}
}

// TestProcess checks what a parent says of children that end in other ways than they were asked to.
func TestProcess(t *testing.T) {
	ignore := func(byte, []byte) error { return nil }
	t.Run("refused", func(t *testing.T) {
		p, err := start("reader", &job{Role: roleReader, Dir: filepath.Join(t.TempDir(), "nothing")}, ignore)
		if err != nil {
			t.Fatal(err)
		}
		if <-p.done; p.refusal == nil || p.closed {
			t.Errorf("refusal %v, closed %v", p.refusal, p.closed)
		}
	})
	t.Run("handler", func(t *testing.T) {
		j := &job{Role: roleWriter, Dir: t.TempDir(), Callers: 1, Life: 1}
		p, err := start("writer", j, func(kind byte, _ []byte) error {
			if kind == kindAcknowledged {
				return errNone
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if <-p.done; p.err != errNone {
			t.Errorf("an error of the handler became %v", p.err)
		}
	})
	t.Run("by itself", func(t *testing.T) {
		j := &job{Role: roleWriter, Dir: t.TempDir(), Callers: 1, Life: 1, SegmentBytes: 1 << 20}
		p, err := start("writer", j, ignore)
		if err != nil {
			t.Fatal(err)
		}
		<-p.opened
		if err := p.cmd.Process.Kill(); err != nil { // which the parent does not know
			t.Fatal(err)
		}
		if <-p.done; p.err == nil {
			t.Error("that a child ended by itself is no error")
		}
	})
}

// TestMessages sends messages and reads them again, whole and cut off.
func TestMessages(t *testing.T) {
	a := acknowledgement{caller: 3, commit: 70_000, keyed: true}
	a.marks = []mark{testMark(7, batpak.Durable), testMark(8, batpak.Written)}
	var b bytes.Buffer
	out := sender{w: bufio.NewWriter(&b)}
	out.send(kindAcknowledged, a.encode(), false)
	out.say(kindFailed, failure{Text: "x", Corrupt: true})
	whole := b.Len()
	out.say(kindFailed, failure{Text: "cut off"})
	r := bufio.NewReader(bytes.NewReader(b.Bytes()[:whole+9]))
	kind, body, err := readMessage(r)
	got, parseErr := parseAcknowledgement(body)
	if err != nil || parseErr != nil || kind != kindAcknowledged || !reflect.DeepEqual(got, a) {
		t.Errorf("%c %+v, %v, %v", kind, got, err, parseErr)
	}
	kind, body, err = readMessage(r)
	f, parseErr := parse[failure](body)
	if err != nil || parseErr != nil || kind != kindFailed || f != (failure{Text: "x", Corrupt: true}) {
		t.Errorf("%c %+v, %v, %v", kind, f, err, parseErr)
	}
	if _, _, err := readMessage(r); err != io.EOF {
		t.Errorf("a message that is cut off gives %v", err)
	}
}

func testMark(seq batpak.Seq, d batpak.Durability) mark {
	return mark{Seq: seq, Hash: batpak.Hash{byte(seq), 1}, ID: batpak.ID{byte(seq), 2}, Durability: d}
}

// TestLedger tells a ledger what happened to a store of four durable events and a written one, and then something that must
// not have happened.
func TestLedger(t *testing.T) {
	other := testMark(3, batpak.Durable)
	other.Hash[5]++
	renamed := testMark(3, batpak.Durable)
	renamed.ID[5]++
	see := func(l *ledger, seq batpak.Seq) error {
		m := testMark(seq, 0)
		return l.see(readerProcess, &m, batpak.Durable)
	}
	open := func(l *ledger, visible batpak.Seq, mayLose bool) error {
		_, err := l.open(visible, mayLose)
		return err
	}
	for _, tt := range []struct {
		name string
		do   func(l *ledger) error
		fine bool
	}{
		{"the next event is seen", func(l *ledger) error { return see(l, 3) }, true},
		{"all are there", func(l *ledger) error { return open(l, 5, false) }, true},
		{"unknown ones too", func(l *ledger) error { return open(l, 6, false) }, true},
		{"the written one is lost", func(l *ledger) error { return open(l, 4, true) }, true},
		{"and another takes its place", func(l *ledger) error {
			m := testMark(5, batpak.Durable)
			m.Hash[7]++
			err := open(l, 4, true)
			if err == nil {
				err = l.acknowledge(&m)
			}
			return err
		}, true},
		{"the written one is lost and must not be", func(l *ledger) error { return open(l, 4, false) }, false},
		{"an acknowledged one is lost", func(l *ledger) error { return open(l, 3, true) }, false},
		{"one that was recovered is lost", func(l *ledger) error {
			if err := open(l, 5, false); err != nil {
				return nil
			}
			return open(l, 4, true)
		}, false},
		{"one that was seen is lost", func(l *ledger) error {
			for seq := batpak.Seq(3); seq <= 6; seq++ {
				if see(l, seq) != nil {
					return nil
				}
			}
			return open(l, 5, true)
		}, false},
		{"an event is seen again", func(l *ledger) error { return see(l, 2) }, false},
		{"an event is left out", func(l *ledger) error { return see(l, 4) }, false},
		{"an event is seen with another hash", func(l *ledger) error { return l.see(readerProcess, &other, batpak.Durable) }, false},
		{"an event is seen with another id", func(l *ledger) error { return l.see(readerProcess, &renamed, batpak.Durable) }, false},
		{"a receipt has another hash", func(l *ledger) error { return l.acknowledge(&other) }, false},
		{"a receipt is of an event that was acknowledged", func(l *ledger) error {
			m := testMark(3, batpak.Durable)
			return l.acknowledge(&m)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger()
			for seq := batpak.Seq(1); seq <= 5; seq++ {
				m := testMark(seq, batpak.Durable)
				if seq == 5 {
					m.Durability = batpak.Written
				}
				if err := l.acknowledge(&m); err != nil {
					t.Fatal(err)
				}
			}
			for seq := batpak.Seq(1); seq <= 2; seq++ {
				if err := see(l, seq); err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.do(l); (err == nil) != tt.fine {
				t.Error(err)
			}
		})
	}
}

// made is an open store with what a caller has planned, and what is known of it.
type made struct {
	dir     string
	store   *batpak.Store
	planner planner
	ledger  *ledger
	events  []batpak.Event
}

// makeStore makes the first commits of one caller, all of them durable.
func makeStore(t *testing.T, shown batpak.Durability) *made {
	t.Helper()
	m := &made{dir: filepath.Join(t.TempDir(), "store"), planner: planner{rand.Uint64()}, ledger: newLedger()}
	t.Logf("seed %d", m.planner.seed)
	var err error
	m.store, err = batpak.Open(m.dir, &batpak.Options{Durability: shown, SyncInterval: time.Hour, SegmentBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.store.Close() }) // nobody needs it
	for n := range 60 {
		m.commit(t, commitName{1, 0, n})
	}
	if err := m.store.Sync(); err != nil {
		t.Fatal(err)
	}
	for e, err := range m.store.Query(batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		m.events = append(m.events, e)
	}
	m.ledger.durable = batpak.Seq(len(m.events))
	return m
}

// commit makes a commit without conditions.
func (m *made) commit(t *testing.T, name commitName) []mark {
	t.Helper()
	p := m.planner.plan(name)
	var clock batpak.Clock
	if p.style == expecting || p.style == excluding || p.style == contested {
		if err := m.store.Sync(); err != nil { // so that the head is visible
			t.Fatal(err)
		}
		a := caller{s: m.store}
		_, clock, _ = a.head(p.proposals[0].At.Entity) // an error makes the commit fail
		clock++
	}
	marks, err := commit(m.store, &p, clock)
	for i := range marks {
		if err == nil {
			err = m.ledger.acknowledge(&marks[i])
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return marks
}

type events = []batpak.Event

// TestChecker compares a store with its ledger and its plans: as it is, and with something changed.
func TestChecker(t *testing.T) {
	m := makeStore(t, batpak.Durable)
	many := slices.IndexFunc(m.events, func(e batpak.Event) bool { return decode(t, &e).Size > 2 })
	conditional := slices.IndexFunc(m.events, func(e batpak.Event) bool { return decode(t, &e).Clock > 0 })
	if many < 0 || conditional < 0 {
		t.Fatal("60 plans have no batch or no condition")
	}
	edit := func(e *batpak.Event, change func(*entry)) {
		p := decode(t, e)
		change(&p)
		e.Payload = encode(t, p)
	}
	last := len(m.events) - 1
	for name, change := range map[string]func(es events) events{
		"acknowledged event missing":        func(es events) events { return slices.Delete(es, many+1, many+2) },
		"acknowledged event missing at end": func(es events) events { return es[:last] },
		"no event at all":                   func(es events) events { return nil },
		"event twice":                       func(es events) events { return slices.Insert(es, 3, es[3]) },
		"events swapped":                    func(es events) events { es[4], es[5] = es[5], es[4]; return es },
		"hash":                              func(es events) events { es[6].Hash[31]++; return es },
		"id":                                func(es events) events { es[6].ID[15]++; return es },
		"clock":                             func(es events) events { es[6].Clock++; return es },
		"entity":                            func(es events) events { es[6].Entity, es[6].Clock = "other", 1; return es },
		"scope":                             func(es events) events { es[6].Scope += "x"; return es },
		"key":                               func(es events) events { es[6].Key += "x"; return es },
		"cause":                             func(es events) events { es[6].Causation[0]++; return es },
		"extension": func(es events) events {
			es[6].Extensions = map[string][]byte{"soak.other": nil}
			return es
		},
		"payload": func(es events) events {
			edit(&es[6], func(p *entry) { p.Fill = append(p.Fill, 1) })
			return es
		},
		"payload that is none": func(es events) events { es[6].Payload = []byte{0xFF}; return es },
		"another seed's commit": func(es events) events {
			edit(&es[many], func(p *entry) { p.Commit += 1000 })
			return es
		},
		"clock of a condition": func(es events) events {
			edit(&es[conditional], func(p *entry) { p.Clock++ })
			return es
		},
		"batch in halves": func(es events) events { return m.again(t, es, many+1) },
		"commit twice":    func(es events) events { return m.again(t, es, many) },
	} {
		t.Run(name, func(t *testing.T) {
			if m.judge(change(slices.Clone(m.events))) == nil {
				t.Error("not found")
			}
		})
	}
	if err := m.judge(m.events); err != nil {
		t.Error(err)
	}
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newChecker(m.ledger, m.planner).check(t.Context(), m.dir); err != nil {
		t.Error(err)
	}
}

// judge checks events that a store is to have.
func (m *made) judge(events []batpak.Event) error {
	c := newChecker(m.ledger, m.planner)
	for i := range events {
		if err := c.event(&events[i]); err != nil {
			return err
		}
	}
	return c.finish()
}

// again appends the commit that events[from] is of once more, from that event on.
func (m *made) again(t *testing.T, events []batpak.Event, from int) []batpak.Event {
	first := decode(t, &events[from])
	for i := from; i < from+first.Size-first.Index; i++ {
		e := events[i]
		e.Seq = batpak.Seq(len(events)) + 1
		for _, other := range events {
			if other.Stream() == e.Stream() {
				e.Clock = other.Clock + 1
			}
		}
		events = append(events, e)
	}
	return events
}

func decode(t *testing.T, e *batpak.Event) entry {
	t.Helper()
	p, err := batpak.Decode[entry](*e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func encode(t *testing.T, p entry) []byte {
	t.Helper()
	b, err := event.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDamages does each damage to a copy of a store taken while three commits were only written, as a kill leaves it: opening
// it must bear it as it should, and nothing durable may be gone.
func TestDamages(t *testing.T) {
	for _, shown := range []batpak.Durability{batpak.Durable, batpak.Written} {
		t.Run(shown.String(), func(t *testing.T) {
			m := makeStore(t, shown)
			for n := range 3 {
				p := batpak.Proposal{At: batpak.At("tail", "soak"), Durability: batpak.Written}
				p.Payload = entry{Commit: n, Fill: make([]byte, 1000)}
				rs, err := m.store.Commit(p)
				if err == nil {
					err = m.ledger.acknowledge(&mark{rs[0].Seq, rs[0].Hash, rs[0].ID, rs[0].Durability})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			kinds := map[string]int{}
			for _, do := range damages {
				for range 2 {
					kinds[m.damage(t, do, shown)]++
				}
			}
			t.Log(kinds)
		})
	}
}

// damage damages a copy, opens it and returns what was done.
func (m *made) damage(t *testing.T, do func(*damager) (*damage, error), shown batpak.Durability) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(m.dir)); err != nil {
		t.Fatal(err)
	}
	cuts := 0
	d := damager{
		dir: dir, older: filepath.Join(t.TempDir(), "older"), store: m.store.StoreID(), random: rand.New(rand.NewPCG(rand.Uint64(), 0)),
		durable: func() batpak.Seq { return m.ledger.durable }, powerCut: func() { cuts++ },
	}
	if tail, err := d.tail(); err != nil || tail == nil || len(tail.commits) != 3 || tail.to-tail.from < 3000 {
		t.Fatalf("the tail is %+v, %v", tail, err)
	}
	if err := d.keepIndex(); err != nil {
		t.Fatal(err)
	}
	damage, err := do(&d)
	if err != nil || damage == nil {
		t.Fatalf("damage %v, %v", damage, err)
	}
	if cut := damage.mayLose && shown == batpak.Written; (cuts > 0) != cut {
		t.Errorf("%s: %d power cuts", damage.kind, cuts)
	}
	l := m.ledger.clone()
	l.durable = m.ledger.durable
	if err := reopen(dir, damage, l); err != nil {
		t.Errorf("%s: %v", damage.kind, err)
	}
	return damage.kind
}

// reopen opens a damaged store, undoes the damage if it is rightly refused, and compares what is there with the ledger.
func reopen(dir string, d *damage, l *ledger) error {
	s, err := batpak.Open(dir, nil)
	if err != nil && d.mayRefuse && errors.Is(err, batpak.ErrCorrupt) {
		if err = d.undo(); err == nil {
			s, err = batpak.Open(dir, nil)
		}
	}
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := s.Stats()
	if err != nil {
		return err
	}
	target := target{ledger: l, pending: d, tries: 1}
	if _, err := target.open(&life{}, &opening{Store: st.Store, Visible: s.Visible(), Report: st.Opened}); err != nil {
		return err
	}
	for e, err := range s.Query(batpak.Query{}) {
		if err != nil {
			return err
		}
		if _, err := l.learn("a query", &mark{Seq: e.Seq, Hash: e.Hash, ID: e.ID}); err != nil {
			return err
		}
	}
	return nil
}

// TestWhatIsShownIsAsDurable lets a reader see an event that was only written, while a life that begins after that is to show
// nothing but durable events: before it has opened the store LOCK speaks of the one before.
func TestWhatIsShownIsAsDurable(t *testing.T) {
	target := target{ledger: newLedger(), shown: batpak.Durable}
	see := func(seq batpak.Seq) {
		t.Helper()
		m := testMark(seq, 0)
		if err := target.ledger.see(readerProcess, &m, target.shown); err != nil {
			t.Fatal(err)
		}
	}
	written, durable := &life{job: job{Durability: batpak.Written}}, &life{job: job{Durability: batpak.Durable}}
	target.begin(durable)
	see(1)
	target.begin(written)
	see(2)
	target.begin(durable)
	see(3)
	if target.ledger.durable != 1 {
		t.Fatalf("before a life that shows durable events has opened the store, those up to %d count as durable, not 1", target.ledger.durable)
	}
	if _, err := target.open(durable, &opening{Visible: 3}); err != nil {
		t.Fatal(err)
	}
	see(4)
	if target.ledger.durable != 4 {
		t.Fatalf("after it the events up to %d count as durable, not 4", target.ledger.durable)
	}
}

// TestSamples checks the figures made of measurements.
func TestSamples(t *testing.T) {
	f := newFigures()
	f.length = 100 * time.Minute
	for minute := range 100 {
		grown := int64(100+minute) << 20
		f.reader = append(f.reader, sample{At: time.Duration(minute) * time.Minute, Age: time.Second, RSS: 1, Anonymous: 1 << 40})
		f.writer = append(f.writer, sample{At: time.Duration(minute) * time.Minute, Age: 3 * time.Second, RSS: 1, Anonymous: grown})
	}
	if got := f.medians(f.writer, anonymous, mebibytes); got != "medians 108.0 MiB, 150.0 MiB, 192.0 MiB" {
		t.Error(got)
	}
	if got := f.medians(f.reader, anonymous, mebibytes); got != "medians –, –, –" {
		t.Error("young processes count: ", got)
	}
	if err := f.growth(); err != nil {
		t.Error(err)
	}
	for i := range f.writer {
		f.writer[i].Anonymous *= int64(1 + i/50)
	}
	if f.growth() == nil {
		t.Error("growth is not found")
	}
	own := takeSample()
	_, err := os.Stat("/proc/self/status")
	if err == nil && (own.RSS <= 0 || own.Anonymous <= 0 || own.Peak < own.RSS || own.Files < 3) || own.Goroutines < 2 {
		t.Errorf("this process: %+v", own)
	}
}
