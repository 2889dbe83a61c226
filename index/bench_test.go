//go:build unix

package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/kv"
)

// benchFold is how many events a fold takes in the benchmarks.
const benchFold = 16384

// workload makes events of entities "player:<n>" of which a few have many events (the share of the n-th falls with its
// number), 100 scopes and 4 kinds.
type workload struct {
	r        *rand.Rand
	zipf     *rand.Zipf
	clocks   map[event.Stream]event.Clock
	seq      event.Seq
	entities int
}

func newWorkload(entities int) *workload {
	r := rand.New(rand.NewPCG(1, 2))
	return &workload{
		r: r, zipf: rand.NewZipf(r, 1.1, 100, uint64(entities-1)),
		clocks: make(map[event.Stream]event.Clock), entities: entities,
	}
}

func benchEntity(n uint64) string { return fmt.Sprintf("player:%08d", n) }
func benchScope(n uint64) string  { return fmt.Sprintf("room:%03d", n) }

func (w *workload) next() *Entry {
	w.seq++
	h := event.Header{
		Seq: w.seq, Time: event.Timestamp(w.seq) * 10,
		Entity: benchEntity(w.zipf.Uint64()), Scope: benchScope(w.r.Uint64N(100)), Kind: event.Kind(0x1000 + w.r.UintN(4)),
	}
	w.clocks[h.Stream()]++
	h.Clock = w.clocks[h.Stream()]
	h.ID = event.NewID(h.Time, h.Seq, 0)
	h.Correlation = h.ID
	e := &Entry{Header: h, Offset: uint32(w.seq % 100000 * 600), Length: 600}
	binary.LittleEndian.PutUint64(e.Hash[:], w.r.Uint64())
	return e
}

func openBench(b *testing.B) kv.DB {
	root, err := os.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	db, err := kv.OpenBolt(root, "index.bolt", kv.LargePages)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close(); root.Close() })
	return db
}

// cpuTime is the processor time that this process has used, garbage collection included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writtenBytes is how much this process has written to files.
func writtenBytes() (n int64) {
	io, _ := os.ReadFile("/proc/self/io")
	var rchar int64
	fmt.Sscanf(string(io), "rchar: %d\nwchar: %d", &rchar, &n)
	return n
}

// build folds n events into a new index and reports what they cost.
func build(b *testing.B, events, entities int, g merging) *Index {
	db := openBench(b)
	x, err := Open(db, testStore)
	if err != nil {
		b.Fatal(err)
	}
	x.merging = g
	w := newWorkload(entities)
	var appending, folding, busy, longest time.Duration
	written := writtenBytes()
	for w.seq < event.Seq(events) {
		batch := make([]*Entry, 0, benchFold)
		for len(batch) < benchFold && w.seq < event.Seq(events) {
			batch = append(batch, w.next())
		}
		start := time.Now()
		for _, e := range batch {
			x.Append(e, nil)
		}
		appending += time.Since(start)
		start, cpu := time.Now(), cpuTime()
		if err := x.Fold(Position{Seq: w.seq}); err != nil {
			b.Fatal(err)
		}
		d := time.Since(start)
		busy += cpuTime() - cpu
		folding += d
		longest = max(longest, d)
	}
	st, err := x.Stats()
	if err != nil {
		b.Fatal(err)
	}
	runs := int64(0)
	for _, r := range st.Runs {
		runs += r.SizeBytes
	}
	n := float64(events)
	b.ReportMetric(float64(folding.Nanoseconds())/n, "fold-ns/event")
	b.ReportMetric(float64(busy.Nanoseconds())/n, "fold-cpu-ns/event")
	b.ReportMetric(float64(appending.Nanoseconds())/n, "append-ns/event")
	b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
	b.ReportMetric(float64(st.SizeBytes)/n, "file-B/event")
	b.ReportMetric(float64(runs)/n, "runs-B/event")
	b.ReportMetric(float64(writtenBytes()-written)/n, "written-B/event")
	b.ReportMetric(float64(len(st.Runs)), "runs")
	return x
}

// unmerged leaves runs as they are folded, to compare with.
var unmerged = merging{fanIn: 1 << 30}

// BenchmarkFold builds an index over bbolt once an iteration, by durable folds of 16384 events.
func BenchmarkFold(b *testing.B) {
	for _, c := range []struct {
		name             string
		events, entities int
		merging          merging
	}{
		{"events=1M/entities=10k", 1e6, 1e4, defaultMerging},
		{"events=5M/entities=10k", 5e6, 1e4, defaultMerging},
		{"events=1M/entities=200k", 1e6, 2e5, defaultMerging},
		{"events=5M/entities=200k", 5e6, 2e5, defaultMerging},
		{"events=1M/entities=10k/unmerged", 1e6, 1e4, unmerged},
		{"events=5M/entities=10k/unmerged", 5e6, 1e4, unmerged},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				build(b, c.events, c.entities, c.merging)
			}
		})
	}
}

// BenchmarkRead reads from an index over bbolt whose pages are in memory.
func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name             string
		events, entities int
		merging          merging
	}{
		{"events=1M/entities=10k", 1e6, 1e4, defaultMerging},
		{"events=5M/entities=10k", 5e6, 1e4, defaultMerging},
		{"events=5M/entities=200k", 5e6, 2e5, defaultMerging},
		{"events=5M/entities=10k/unmerged", 5e6, 1e4, unmerged},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchReads(b, build(b, c.events, c.entities, c.merging), c.events, c.entities)
		})
	}
}

func benchReads(b *testing.B, x *Index, events, entities int) {
	r := rand.New(rand.NewPCG(3, 4))
	if _, _, err := x.Head(event.Stream{Entity: "none"}, event.MaxSeq); err != nil { // compares the checksums
		b.Fatal(err)
	}
	run := func(name string, one func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			rows := 0
			for b.Loop() {
				n, err := one()
				if err != nil {
					b.Fatal(err)
				}
				rows += n
			}
			if rows > 0 {
				b.ReportMetric(float64(rows)/float64(b.N), "rows/op")
			}
		})
	}
	page := func(q event.Query, limit int) (int, error) {
		rows, _, _, err := x.Page(&q, limit, nil)
		return len(rows), err
	}
	run("row", func() (int, error) {
		_, err := x.Row(1 + event.Seq(r.IntN(events)))
		return 0, err
	})
	run("head-known", func() (int, error) {
		_, _, err := x.Head(event.Stream{Entity: benchEntity(r.Uint64N(uint64(entities)))}, event.MaxSeq)
		return 0, err
	})
	run("head-unknown", func() (int, error) {
		_, _, err := x.Head(event.Stream{Entity: benchEntity(r.Uint64N(uint64(entities))) + "x"}, event.MaxSeq)
		return 0, err
	})
	run("key-unknown", func() (int, error) {
		_, _, err := x.Key(benchEntity(r.Uint64N(uint64(entities))))
		return 0, err
	})
	run("stream-seq", func() (int, error) {
		_, _, err := x.Clock(event.Stream{Entity: benchEntity(r.Uint64N(uint64(entities)))}, 3)
		return 0, err
	})
	run("entity-page-100", func() (int, error) {
		return page(event.Query{Entity: benchEntity(r.Uint64N(uint64(entities)))}, 100)
	})
	run("stream-page-100", func() (int, error) {
		return page(event.Query{Entity: benchEntity(r.Uint64N(uint64(entities))), Lane: new(event.Lane(0))}, 100)
	})
	run("entity-newest-10", func() (int, error) {
		return page(event.Query{Entity: benchEntity(r.Uint64N(uint64(entities))), Reverse: true}, 10)
	})
	run("scope-page-100", func() (int, error) {
		return page(event.Query{Scope: benchScope(r.Uint64N(100)), After: event.Seq(r.IntN(events))}, 100)
	})
	run("scope-and-kind-page-100", func() (int, error) {
		return page(event.Query{Scope: benchScope(r.Uint64N(100)), Kind: 0x1001, After: event.Seq(r.IntN(events / 2))}, 100)
	})
	run("scan-page-1000", func() (int, error) {
		return page(event.Query{After: event.Seq(r.IntN(events - 1000))}, 1000)
	})
	run("seek", func() (int, error) {
		_, err := x.Seek(event.Timestamp(r.IntN(events * 10)))
		return 0, err
	})
}

// BenchmarkKeyPerEvent is what the layout is compared with: a key for each event and index, in four buckets.
func BenchmarkKeyPerEvent(b *testing.B) {
	const events, entities = 1e6, 1e4
	db := openBench(b)
	b.Run("events=1M/entities=10k/fold", func(b *testing.B) {
		for b.Loop() {
			buildKeys(b, db, events, entities)
		}
	})
	r := rand.New(rand.NewPCG(3, 4))
	read := func(name string, one func(kv.Tx)) {
		b.Run("events=1M/entities=10k/"+name, func(b *testing.B) {
			for b.Loop() {
				if err := db.View(func(tx kv.Tx) error { one(tx); return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	row := func(tx kv.Tx, seq uint64) { tx.Get("rows", binary.BigEndian.AppendUint64(nil, seq)) }
	stream := func() []byte {
		return appendStreamTerm(nil, event.Stream{Entity: benchEntity(r.Uint64N(entities))})[1:]
	}
	read("row", func(tx kv.Tx) { row(tx, 1+r.Uint64N(events)) })
	read("head-known", func(tx kv.Tx) {
		for range tx.ScanReverse(string(tagEntity), binary.BigEndian.AppendUint64(stream(), 1<<63)) {
			break
		}
	})
	read("stream-page-100", func(tx kv.Tx) {
		s, n := stream(), 0
		for k := range tx.Scan(string(tagEntity), s) {
			if !bytes.HasPrefix(k, s) || n == 100 {
				break
			}
			row(tx, binary.BigEndian.Uint64(k[len(s):]))
			n++
		}
	})
}

func buildKeys(b *testing.B, db kv.DB, events, entities int) {
	w := newWorkload(entities)
	var folding time.Duration
	written := writtenBytes()
	for w.seq < event.Seq(events) {
		batch := make([]*Entry, 0, benchFold)
		for len(batch) < benchFold && w.seq < event.Seq(events) {
			batch = append(batch, w.next())
		}
		start := time.Now()
		if err := db.Update(func(tx kv.Tx) error { return putKeys(tx, batch) }); err != nil {
			b.Fatal(err)
		}
		folding += time.Since(start)
	}
	size, err := db.SizeBytes()
	if err != nil {
		b.Fatal(err)
	}
	n := float64(events)
	b.ReportMetric(float64(folding.Nanoseconds())/n, "fold-ns/event")
	b.ReportMetric(float64(size)/n, "file-B/event")
	b.ReportMetric(float64(writtenBytes()-written)/n, "written-B/event")
}

func putKeys(tx kv.Tx, batch []*Entry) error {
	put := func(bucket string, name []byte, e *Entry, value []byte) error {
		return tx.Put(bucket, binary.BigEndian.AppendUint64(name, uint64(e.Header.Seq)), value)
	}
	for _, e := range batch {
		h := &e.Header
		row := binary.LittleEndian.AppendUint32(nil, e.Offset)
		row = append(binary.LittleEndian.AppendUint32(row, e.Length), e.Hash[:8]...)
		if err := put("rows", nil, e, row); err != nil {
			return err
		}
		for _, t := range [][]byte{
			appendStreamTerm(nil, h.Stream()), appendTextTerm(nil, tagScope, h.Scope), appendKindTerm(nil, h.Kind),
		} {
			if err := put(string(t[0]), t[1:], e, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
