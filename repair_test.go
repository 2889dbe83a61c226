package batpak

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/crashfs"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// A damagedStore is a store that Open refuses, and what Repair must make of it.
type damagedStore struct {
	name  string
	harm  func(t *testing.T, v *victim, f files) // damages f
	after Seq                                    // the newest event that stays
	index bool                                   // the index goes too
	id    bool                                   // STORE is written again
}

// lastOf returns the last segment and its parts.
func lastOf(f files) (string, []part) {
	names := f.segments()
	name := names[len(names)-1]
	return name, dissect(f[name])
}

// flip changes a bit of a file.
func flip(f files, name string, offset int) {
	f[name] = bytes.Clone(f[name])
	f[name][offset] ^= 0x10
}

var damagedStores = []damagedStore{
	{name: "a bit of the newest commit, and no index", after: 12, harm: func(_ *testing.T, _ *victim, f files) {
		name, parts := lastOf(f)
		p := parts[len(parts)-1]
		flip(f, name, p.offset+p.length-1)
		delete(f, "index.bolt")
	}},
	{name: "the newest commit cut off", after: 12, index: true, harm: func(_ *testing.T, _ *victim, f files) {
		name, parts := lastOf(f)
		f[name] = f[name][:parts[len(parts)-1].offset]
	}},
	{name: "half of the newest commit cut off", after: 12, index: true, harm: func(_ *testing.T, _ *victim, f files) {
		name, parts := lastOf(f)
		p := parts[len(parts)-1]
		f[name] = f[name][:p.offset+p.length/2]
	}},
	{name: "a bit of event 3, and no index", after: 2, harm: func(_ *testing.T, _ *victim, f files) {
		name := f.segments()[0]
		parts := dissect(f[name])
		flip(f, name, parts[3].offset+parts[3].length-1)
		delete(f, "index.bolt")
	}},
	{name: "the header of the newest segment", after: 11, index: true, harm: func(t *testing.T, _ *victim, f files) {
		name, parts := lastOf(f)
		flip(f, name, 20)
		if parts[1].first != 12 {
			t.Fatalf("the newest segment begins with event %d", parts[1].first)
		}
	}},
	{name: "the newest segment missing", after: 11, index: true, harm: func(_ *testing.T, _ *victim, f files) {
		name, _ := lastOf(f)
		delete(f, name)
	}},
	{name: "the first segment missing", after: 0, index: true, harm: func(_ *testing.T, _ *victim, f files) {
		delete(f, f.segments()[0])
		delete(f, "index.bolt")
	}},
	{name: "all segments missing", after: 0, index: true, harm: func(_ *testing.T, _ *victim, f files) {
		for _, name := range f.segments() {
			delete(f, name)
		}
	}},
	{name: "STORE damaged", after: 13, id: true, harm: func(_ *testing.T, _ *victim, f files) { flip(f, "STORE", 20) }},
	{name: "STORE missing", after: 13, id: true, harm: func(_ *testing.T, _ *victim, f files) { delete(f, "STORE") }},
	{name: "STORE of another store", after: 13, id: true, harm: func(_ *testing.T, _ *victim, f files) {
		id := identity{store: StoreID{1}, created: 1}
		f["STORE"] = id.encode()
	}},
	{name: "STORE damaged and the newest commit cut off", after: 12, index: true, id: true, harm: func(_ *testing.T, _ *victim, f files) {
		flip(f, "STORE", 3)
		name, parts := lastOf(f)
		f[name] = f[name][:parts[len(parts)-1].offset]
	}},
	{name: "the index of another log", after: 13, index: true, harm: func(t *testing.T, _ *victim, f files) {
		g := takeApart(f)
		rewriteEvent(t, 13)(g)
		clear(f)
		maps.Copy(f, g.putTogether())
	}},
}

// TestRepair checks that a diagnosis changes nothing, that Repair does nothing unless it is told to, and that then the store
// opens with exactly the provable events, what went is copied, and an event says so.
func TestRepair(t *testing.T) {
	v := newVictim(t)
	for _, c := range damagedStores {
		t.Run(c.name, func(t *testing.T) {
			f := maps.Clone(v.files)
			c.harm(t, v, f)
			dir := filepath.Join(memoryDir(t), "store")
			f.write(t, dir)
			if s, err := Open(dir, nil); err == nil {
				closeTest(t, s)
				t.Fatal("the store opens")
			}
			c.diagnose(t, dir)
			c.refuse(t, dir)
			c.repair(t, dir, f, v)
		})
	}
}

// diagnose checks the plan, and that the directory is as it was.
func (c *damagedStore) diagnose(t *testing.T, dir string) {
	t.Helper()
	before := readFiles(t, dir)
	d, err := Diagnose(context.Background(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(before, readFiles(t, dir), bytes.Equal) {
		t.Fatal("Diagnose changed the directory")
	}
	if d.OK() || d.Refused == "" {
		t.Fatalf("nothing is wrong: %+v", d)
	}
	p := &d.Repair
	if p.Identity != c.id || p.Cut && p.After != c.after || !p.Cut && c.after != 13 {
		t.Fatalf("plan %+v", p)
	}
}

// refuse checks that a repair that is not approved changes nothing but the name of who holds the lock.
func (c *damagedStore) refuse(t *testing.T, dir string) {
	t.Helper()
	before := readFiles(t, dir)
	r, err := Repair(context.Background(), dir, func(*Diagnosis) bool { return false }, nil)
	if err != nil || r.Done || r.Copies != "" || len(r.Recorded) > 0 {
		t.Fatalf("not approved: %+v, %v", r, err)
	}
	after := readFiles(t, dir)
	delete(before, "LOCK")
	delete(after, "LOCK")
	if !maps.EqualFunc(before, after, bytes.Equal) {
		t.Fatal("changed without approval")
	}
}

func (c *damagedStore) repair(t *testing.T, dir string, f files, v *victim) {
	t.Helper()
	r, err := Repair(context.Background(), dir, func(*Diagnosis) bool { return true }, nil)
	if err != nil || !r.Done || len(r.Recorded) != 1 {
		t.Fatalf("repair: %+v, %v", r, err)
	}
	s := openTest(t, dir, nil)
	defer closeTest(t, s)
	es, err := gather(s.Query(Query{}))
	if err != nil || len(es) != int(c.after)+1 {
		t.Fatalf("%d events where %d should be left and one added: %v", len(es), c.after, err)
	}
	for i := range es[:c.after] {
		if c.name != "the index of another log" && es[i].Hash != v.events[i].Hash {
			t.Errorf("event %d is another one", i+1)
		}
	}
	record, err := Decode[RepairRecord](es[c.after])
	if err != nil || record.Identity != c.id || record.Index != c.index && f["index.bolt"] != nil || record.Reason == "" {
		t.Errorf("record %+v, %v", record, err)
	}
	if record.Cut && record.After != c.after {
		t.Errorf("record of a cut after %d", record.After)
	}
	c.copies(t, dir, f, &record)
	if rep, err := verifyStore(s); err != nil || !rep.OK() {
		t.Errorf("verify: %v, %v", rep.Findings, err)
	}
	mustCommit(t, s, raw("a", "next"))
	if st, err := s.Stats(); err != nil || c.id && !st.Created.Time().Equal(v.events[0].Time.Time()) {
		t.Errorf("created %v, %v", st.Created, err)
	}
}

// copies checks that everything that was in the log and is not now lies in the copies.
func (c *damagedStore) copies(t *testing.T, dir string, f files, record *RepairRecord) {
	t.Helper()
	now := readFiles(t, dir)
	for _, p := range record.Removed {
		b, err := os.ReadFile(filepath.Join(dir, p.Copy))
		if err != nil || int64(len(b)) != p.Bytes || sha256.Sum256(b) != p.SHA256 || !bytes.Equal(b, f[p.File][p.Offset:p.Offset+p.Bytes]) {
			t.Errorf("copy %+v: %d bytes, %v", p, len(b), err)
		}
	}
	for _, name := range f.segments() {
		kept := len(f[name])
		for _, p := range record.Removed {
			if p.File == name {
				kept = int(p.Offset)
			}
		}
		if !bytes.HasPrefix(now[name], f[name][:kept]) {
			t.Errorf("%s has lost bytes that were not copied", name)
		}
	}
}

// TestRepairTwice repairs, and then finds nothing to do; and a good store is let alone.
func TestRepairTwice(t *testing.T) {
	v := newVictim(t)
	f := maps.Clone(v.files)
	damagedStores[1].harm(t, v, f)
	dir := filepath.Join(memoryDir(t), "store")
	f.write(t, dir)
	yes := func(*Diagnosis) bool { return true }
	if r, err := Repair(context.Background(), dir, yes, nil); err != nil || !r.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	before := readFiles(t, dir)
	ask := func(d *Diagnosis) bool { t.Errorf("asked about %+v", d.Repair); return true }
	r, err := Repair(context.Background(), dir, ask, nil)
	if err != nil || r.Done || len(r.Recorded) > 0 || !r.Diagnosis.OK() {
		t.Fatalf("%+v, %v", r, err)
	}
	after := readFiles(t, dir)
	for _, name := range f.segments() {
		if !bytes.Equal(before[name], after[name]) {
			t.Errorf("%s has changed", name)
		}
	}
}

// TestRepairLeavesTheOpenAlone checks that Repair removes nothing from a store that opens, although an event is damaged, and
// that the diagnosis tells what is provable around it.
func TestRepairLeavesTheOpenAlone(t *testing.T) {
	v := newVictim(t)
	f := maps.Clone(v.files)
	name := f.segments()[0]
	parts := dissect(f[name])
	flip(f, name, parts[2].offset+parts[2].length-1) // the payload of event 2
	dir := filepath.Join(memoryDir(t), "store")
	f.write(t, dir)
	r, err := Repair(context.Background(), dir, func(*Diagnosis) bool { t.Error("asked"); return true }, nil)
	if err != nil || r.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	d := r.Diagnosis
	if d.OK() || d.Refused != "" || !slices.Equal(d.Log.Provable, []Range{{1, 1}, {3, 13}}) {
		t.Fatalf("refused %q, provable %v, findings %v", d.Refused, d.Log.Provable, d.Log.Findings)
	}
	if got := readFiles(t, dir); !bytes.Equal(got[name], f[name]) {
		t.Error("the segment has changed")
	}
}

// TestRepairOfManyParts repairs a log with more segments behind the damage than a record can list, beside a file that somebody
// put between the copies: all are copied, and the event says how many.
func TestRepairOfManyParts(t *testing.T) {
	v := newVictim(t)
	f := maps.Clone(v.files)
	name, parts := lastOf(f)
	flip(f, name, parts[len(parts)-1].offset+parts[len(parts)-1].length-1)
	for i := range maxRemoved + 10 {
		f[log.SegmentName(Seq(1000+i))] = []byte("no segment")
	}
	dir := filepath.Join(memoryDir(t), "store")
	f.write(t, dir)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, removedDir), 0o700), os.WriteFile(filepath.Join(dir, removedDir, "notes.txt"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	yes := func(*Diagnosis) bool { return true }
	r, err := Repair(context.Background(), dir, yes, nil)
	if err != nil || !r.Done || len(r.Recorded) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	s := openTest(t, dir, nil)
	defer closeTest(t, s)
	e, err := s.Get(r.Recorded[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	record, err := Decode[RepairRecord](e)
	if err != nil || len(record.Removed) != maxRemoved || record.More != 11 {
		t.Fatalf("%d parts and %d more, %v", len(record.Removed), record.More, err)
	}
	copies, err := os.ReadDir(filepath.Join(dir, r.Copies))
	if err != nil || len(copies) < maxRemoved+11 {
		t.Errorf("%d copies, %v", len(copies), err)
	}
}

// TestRepairOfNoStore checks that Repair leaves nothing where there is no store.
func TestRepairOfNoStore(t *testing.T) {
	dir := t.TempDir()
	if _, err := Repair(context.Background(), dir, func(*Diagnosis) bool { return true }, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("it has %d files now, %v", len(names), err)
	}
}

// TestDiagnoseInUse diagnoses a store that is open for writing: of its index it says that it did not look, and that the log
// is whole.
func TestDiagnoseInUse(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	defer closeTest(t, s)
	mustCommit(t, s, raw("a", "first"))
	d, err := Diagnose(context.Background(), dir, nil)
	if err != nil || !d.OK() || d.Log.Events != 1 || !strings.Contains(d.Index, "open elsewhere") {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestRepairLocked checks that a store in use is not repaired.
func TestRepairLocked(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	defer closeTest(t, s)
	if _, err := Repair(context.Background(), dir, func(*Diagnosis) bool { return true }, nil); !isLocked(err) {
		t.Errorf("a store in use: %v", err)
	}
}

func isLocked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "is locked by pid")
}

// TestRepairCrash ends a repair at each operation on the disk, with a power cut or without, and checks that another repair
// does the rest: nothing that was not copied is gone, and there is one record of the cut, or more, all true.
func TestRepairCrash(t *testing.T) {
	base := newLife(crashOptions(Durable))
	if err := base.do("o dd D ddd D dd dd c"); err != nil {
		t.Fatal(err)
	}
	whole := base.disk.Crash(crashfs.Killed())
	harmed := harmDisk(t, whole)
	tried := 0
	for _, cut := range []crashfs.Cut{crashfs.Killed(), crashfs.Dropped(), crashfs.Torn(1), crashfs.Torn(2)} {
		for n := 1; ; n++ {
			disk := harmed.Crash(crashfs.Killed())
			disk.StopAt(n)
			err := repairDisk(disk, base)
			if !disk.Stopped() {
				if err != nil {
					t.Fatalf("repair without a crash: %v", err)
				}
				break
			}
			tried++
			next := disk.Crash(cut)
			if err := repairDisk(next, base); err != nil {
				t.Fatalf("%v at operation %d, repaired again: %v\n%s", cut, n, err, disk.Trace())
			}
			checkRepaired(t, next, base)
		}
	}
	t.Logf("%d crash points", tried)
	if tried < 100 {
		t.Errorf("only %d crash points", tried)
	}
}

// harmDisk returns the disk with a bit changed in the third event, and without an index.
func harmDisk(t *testing.T, disk *crashfs.Disk) *crashfs.Disk {
	t.Helper()
	const name = "log/00000000000000000001.seg"
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	p := dissect(b)[3]
	b[p.offset+p.length-1] ^= 4
	if err := disk.Put(name, b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(disk.Remove(indexFile), disk.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	return disk.Crash(crashfs.Killed())
}

// repairDisk repairs the store on a disk.
func repairDisk(disk *crashfs.Disk, l *life) error {
	o := l.opts
	saved := &savedIndexes{}
	o.fs, o.openIndex = disk, func() (kv.DB, error) { return openDiskDB(disk, saved) }
	r := repairer{dir: "disk", approve: func(*Diagnosis) bool { return true }, clock: o.Clock, doctor: doctor{fs: disk, openIndex: o.openIndex}}
	r.open = func() (*Store, error) { return Open("disk", &o) }
	return r.run(context.Background(), nil)
}

// checkRepaired checks that the store has the events before the damage, and then only records of the cut.
func checkRepaired(t *testing.T, disk *crashfs.Disk, l *life) {
	t.Helper()
	next := &life{disk: disk, saved: &savedIndexes{}, opts: l.opts}
	if err := next.openStore(); err != nil {
		t.Fatal(err)
	}
	defer next.end()
	es, err := gather(next.s.Query(Query{}))
	if err != nil || len(es) < 3 {
		t.Fatalf("%d events, %v", len(es), err)
	}
	cut := 0
	for i, e := range es {
		if i < 2 {
			if e.Kind != 0xF001 || e.Hash != l.made[i].hashes[0] {
				t.Errorf("event %d is another one", i+1)
			}
			continue
		}
		record, err := Decode[RepairRecord](e)
		if err != nil || e.Kind != event.KindRepair || !record.Cut || record.After != 2 {
			t.Errorf("event %d: %+v, %v", i+1, record, err)
		}
		for _, p := range record.Removed {
			if b, err := vfs.ReadFile(disk, p.Copy, 1<<20); err != nil || sha256.Sum256(b) != p.SHA256 {
				t.Errorf("copy %s: %d bytes of %d, %v", p.Copy, len(b), p.Bytes, err)
			}
		}
		cut++
	}
	if cut == 0 {
		t.Error("no record of the cut")
	}
}
