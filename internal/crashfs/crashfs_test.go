package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/batpak/batpak/internal/vfs"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// durable returns a disk with a durable file "a" of four sectors of one byte each.
func durable(t *testing.T, b byte) (*Disk, vfs.File) {
	t.Helper()
	d := New()
	f := must[vfs.File](t)(d.Create("a"))
	must[int](t)(f.WriteAt(bytes.Repeat([]byte{b}, 4*SectorBytes), 0))
	ok(t, f.Sync(), d.SyncDir("."))
	return d, f
}

func content(t *testing.T, d *Disk, name string) []byte {
	t.Helper()
	return must[[]byte](t)(vfs.ReadFile(d, name, 1<<20))
}

// outcomes returns what "a" may be after power cuts: nil for a missing file.
func outcomes(t *testing.T, d *Disk, seeds int) map[string]int {
	t.Helper()
	found := map[string]int{}
	for seed := range seeds {
		after := d.Crash(Torn(uint64(seed)))
		b, err := vfs.ReadFile(after, "a", 1<<20)
		if errors.Is(err, fs.ErrNotExist) {
			found["none"]++
			continue
		}
		ok(t, err)
		found[shape(b)]++
		if again := d.Crash(Torn(uint64(seed))); shape(content(t, again, "a")) != shape(b) {
			t.Fatalf("seed %d gives two outcomes", seed)
		}
	}
	return found
}

// shape returns the first byte of each sector and the length.
func shape(b []byte) string {
	s := ""
	for c := range slices.Chunk(b, SectorBytes) {
		if !bytes.Equal(c, bytes.Repeat(c[:1], len(c))) {
			return "mixed sector"
		}
		s += string(c[0])
	}
	return fmt.Sprintf("%s %d", s, len(b))
}

func TestUnsyncedWrite(t *testing.T) {
	d, f := durable(t, 'o')
	must[int](t)(f.WriteAt(bytes.Repeat([]byte{'n'}, 4*SectorBytes), 0))
	if got := shape(content(t, d, "a")); got != "nnnn 2048" {
		t.Errorf("the process sees %s", got)
	}
	found := outcomes(t, d, 400)
	for _, want := range []string{"oooo 2048", "nnnn 2048", "nooo 2048", "nnno 2048", "ooon 2048", "onon 2048"} {
		if found[want] == 0 {
			t.Errorf("never %s", want)
		}
	}
	if found["mixed sector"] > 0 || found["none"] > 0 {
		t.Errorf("found %v", found)
	}
	if got := shape(content(t, d.Crash(Dropped()), "a")); got != "oooo 2048" {
		t.Errorf("dropped: %s", got)
	}
	ok(t, f.Sync())
	if found := outcomes(t, d, 50); found["nnnn 2048"] != 50 {
		t.Errorf("synced, and then %v", found)
	}
}

func TestUnsyncedLength(t *testing.T) {
	d, f := durable(t, 'o')
	ok(t, f.Truncate(SectorBytes))
	must[int](t)(f.WriteAt([]byte("n"), 2*SectorBytes))
	found := outcomes(t, d, 400)
	for _, want := range []string{"oooo 2048", "o 512", "o\x00n 1025"} {
		if found[want] == 0 {
			t.Errorf("never %q: %v", want, found)
		}
	}
	ok(t, f.Sync())
	if found := outcomes(t, d, 50); found["o\x00n 1025"] != 50 {
		t.Errorf("synced, and then %v", found)
	}
}

func TestUnsyncedNames(t *testing.T) {
	d := New()
	f := must[vfs.File](t)(d.Create("a"))
	must[int](t)(f.WriteAt([]byte("x"), 0))
	ok(t, f.Sync())
	if found := outcomes(t, d, 100); found["none"] == 0 || found["x 1"] == 0 {
		t.Errorf("created: %v", found)
	}
	ok(t, d.SyncDir("."), d.Remove("a"))
	if found := outcomes(t, d, 100); found["none"] == 0 || found["x 1"] == 0 {
		t.Errorf("removed: %v", found)
	}
	if names := must[[]string](t)(d.Crash(Dropped()).ReadDir(".")); !slices.Equal(names, []string{"a"}) {
		t.Errorf("removed and dropped: %q", names)
	}
	ok(t, d.SyncDir("."))
	if found := outcomes(t, d, 50); found["none"] != 50 {
		t.Errorf("removed and synced: %v", found)
	}
}

func TestUnsyncedRename(t *testing.T) {
	d, f := durable(t, 'o')
	b := must[vfs.File](t)(d.Create("b"))
	must[int](t)(b.WriteAt(bytes.Repeat([]byte{'n'}, SectorBytes), 0))
	ok(t, b.Sync(), d.SyncDir("."), d.Rename("b", "a"))
	seen := map[string]int{}
	for seed := range uint64(100) {
		after := d.Crash(Torn(seed))
		names := must[[]string](t)(after.ReadDir("."))
		seen[fmt.Sprint(names, shape(content(t, after, "a")))]++
	}
	if len(seen) != 2 || seen["[a b]oooo 2048"] == 0 || seen["[a]n 512"] == 0 {
		t.Errorf("renamed: %v", seen)
	}
	ok(t, d.SyncDir("."))
	if got := shape(content(t, d.Crash(Dropped()), "a")); got != "n 512" {
		t.Errorf("synced: %s", got)
	}
	must[int](t)(f.WriteAt([]byte("z"), 0)) // the replaced file is still open
	if got := shape(content(t, d, "a")); got != "n 512" {
		t.Errorf("written through the old file: %s", got)
	}
}

func TestUnsyncedDirectory(t *testing.T) {
	d := New()
	ok(t, d.Mkdir("d"), d.Mkdir("d"))
	f := must[vfs.File](t)(d.Create("d/a"))
	ok(t, f.Sync(), d.SyncDir("d"))
	if _, err := d.Crash(Dropped()).ReadDir("d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory not synced in its parent: %v", err)
	}
	ok(t, d.SyncDir("."))
	if names := must[[]string](t)(d.Crash(Dropped()).ReadDir("d")); !slices.Equal(names, []string{"a"}) {
		t.Errorf("synced: %q", names)
	}
}

// TestKilled checks that the end of the process keeps everything, and that what was not durable still is not.
func TestKilled(t *testing.T) {
	d, f := durable(t, 'o')
	must[int](t)(f.WriteAt(bytes.Repeat([]byte{'n'}, SectorBytes), 0))
	must[vfs.File](t)(d.Create("b"))
	after := d.Crash(Killed())
	if got := shape(content(t, after, "a")); got != "nooo 2048" {
		t.Errorf("killed: %s", got)
	}
	if names := must[[]string](t)(after.ReadDir(".")); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("killed: %q", names)
	}
	cut := after.Crash(Dropped())
	if got := shape(content(t, cut, "a")); got != "oooo 2048" {
		t.Errorf("then the power was cut: %s", got)
	}
	if names := must[[]string](t)(cut.ReadDir(".")); !slices.Equal(names, []string{"a"}) {
		t.Errorf("then the power was cut: %q", names)
	}
	ok(t, must[vfs.File](t)(after.Open("a")).Sync())
	if got := shape(content(t, after.Crash(Dropped()), "a")); got != "nooo 2048" {
		t.Errorf("synced by the next process: %s", got)
	}
	if got := shape(content(t, d.Crash(Dropped()), "a")); got != "oooo 2048" {
		t.Errorf("that changed the first disk: %s", got)
	}
}

func TestStop(t *testing.T) {
	for n := 1; n <= 5; n++ {
		d := New()
		d.StopAt(n)
		f, err := d.Create("a")
		if err == nil {
			_, err = f.WriteAt([]byte("x"), 0)
		}
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = d.SyncDir(".")
		}
		if stopped := n <= 4; stopped != d.Stopped() || stopped != errors.Is(err, ErrStopped) {
			t.Fatalf("stop at %d: stopped %v, %v\n%s", n, d.Stopped(), err, d.Trace())
		}
		if n == 5 {
			break
		}
		if ops := d.Ops(); len(ops) != n || !errors.Is(ops[n-1].Err, ErrStopped) {
			t.Errorf("stop at %d: %v", n, ops)
		}
		if _, err := d.ReadDir("."); !errors.Is(err, ErrStopped) {
			t.Errorf("stop at %d: then ReadDir: %v", n, err)
		}
		if f != nil {
			if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrStopped) {
				t.Errorf("stop at %d: then ReadAt: %v", n, err)
			}
		}
		if names := must[[]string](t)(d.Crash(Killed()).ReadDir(".")); len(names) != min(1, n-1) {
			t.Errorf("stop at %d: %q", n, names)
		}
	}
}

func TestFaults(t *testing.T) {
	next := Fault{}
	d, f := durable(t, 'o')
	d.Inject(func(op Op) Fault { return next })
	write := func(c byte) (int, error) { return f.WriteAt(bytes.Repeat([]byte{c}, 2*SectorBytes), 0) }

	next = Fault{Effect: Some, Part: SectorBytes, Err: syscall.ENOSPC}
	if n, err := write('n'); n != SectorBytes || !errors.Is(err, syscall.ENOSPC) || shape(content(t, d, "a")) != "nooo 2048" {
		t.Errorf("half a write: %d, %v, %s", n, err, shape(content(t, d, "a")))
	}
	next = Fault{Err: syscall.EIO}
	if _, err := write('m'); !errors.Is(err, syscall.EIO) || shape(content(t, d, "a")) != "mmoo 2048" {
		t.Errorf("failed after it took effect: %v, %s", err, shape(content(t, d, "a")))
	}
	next = Fault{Effect: None, Err: syscall.EIO}
	if n, err := write('x'); n != 0 || !errors.Is(err, syscall.EIO) || shape(content(t, d, "a")) != "mmoo 2048" {
		t.Errorf("failed before: %d, %v, %s", n, err, shape(content(t, d, "a")))
	}
	next = Fault{Effect: None}
	ok(t, f.Sync())
	if got := shape(content(t, d.Crash(Dropped()), "a")); got != "oooo 2048" {
		t.Errorf("a sync that lied: %s", got)
	}
	next = Fault{Effect: Lost, Err: syscall.EIO}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	next = Fault{}
	ok(t, f.Sync())
	if got := shape(content(t, d, "a")); got != "mmoo 2048" {
		t.Errorf("lost by a failed sync, still seen: %s", got)
	}
	if found := outcomes(t, d, 50); found["oooo 2048"] != 50 {
		t.Errorf("lost by a failed sync, and a later one went well: %v", found)
	}
	must[int](t)(f.WriteAt([]byte("m"), 1)) // brings the whole sector along
	ok(t, f.Sync())
	if found := outcomes(t, d, 50); found["mooo 2048"] != 50 {
		t.Errorf("written again and synced: %v", found)
	}
	if ops := d.Ops(); ops[len(ops)-1].String() != "sync a" || ops[4].String() != "write a 0+1024: no space left on device" {
		t.Errorf("trace:\n%s", d.Trace())
	}
}

// TestLossIsTold checks that of lost writes every file that was open is told once.
func TestLossIsTold(t *testing.T) {
	d, f := durable(t, 'o')
	other := must[vfs.File](t)(d.Open("a"))
	must[int](t)(f.WriteAt([]byte("n"), 0))
	d.Inject(func(Op) Fault { return Fault{Effect: Lost, Err: syscall.EIO} })
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	d.Inject(nil)
	ok(t, f.Sync(), must[vfs.File](t)(d.Open("a")).Sync())
	if err := other.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the other file: %v", err)
	}
	ok(t, other.Sync())
	if found := outcomes(t, d, 50); found["oooo 2048"] != 50 {
		t.Errorf("lost, and then %v", found)
	}
}

func TestCapacity(t *testing.T) {
	d, f := durable(t, 'o')
	d.SetCapacity(d.Used() + 10)
	if n, err := f.WriteAt(make([]byte, 30), 4*SectorBytes-10); n != 20 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d, %v", n, err)
	}
	if _, err := f.WriteAt(make([]byte, 30), 0); err != nil {
		t.Errorf("overwriting takes no room: %v", err)
	}
	if err := f.Truncate(1 << 20); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := d.Put("b", make([]byte, 1)); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	ok(t, f.Truncate(SectorBytes), d.Put("b", make([]byte, 100)))
	d.SetCapacity(-1)
	ok(t, f.Truncate(1<<20))
}

func TestPut(t *testing.T) {
	d, _ := durable(t, 'o')
	ok(t, d.Put("a", []byte("n")))
	if found := outcomes(t, d, 50); found["n 1"] != 50 {
		t.Errorf("put: %v", found)
	}
	ok(t, d.Rename("a", "b"), d.Put("a", []byte("m")))
	if found := outcomes(t, d, 50); found["m 1"] != 50 {
		t.Errorf("renamed and put: %v", found)
	}
}

func TestLock(t *testing.T) {
	d := New()
	held := must[vfs.File](t)(d.Lock("LOCK"))
	must[int](t)(held.WriteAt([]byte("me"), 0))
	other, err := d.Lock("LOCK")
	if !errors.Is(err, vfs.ErrLocked) || other == nil {
		t.Fatalf("second Lock: %v, %v", other, err)
	}
	b := make([]byte, 2)
	if _, err := other.ReadAt(b, 0); err != nil || string(b) != "me" {
		t.Errorf("holder reads %q, %v", b, err)
	}
	ok(t, other.Close())
	if _, err := d.Lock("LOCK"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("after the refused one was closed: %v", err)
	}
	must[vfs.File](t)(d.Crash(Killed()).Lock("LOCK"))
	must[vfs.File](t)(d.Crash(Dropped()).Lock("LOCK"))
	ok(t, held.Close())
	must[vfs.File](t)(d.Lock("LOCK"))
	d.Stop()
	if f, err := d.Lock("x"); f != nil || !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v, %v", f, err)
	}
}

func TestRefused(t *testing.T) {
	d, f := durable(t, 'o')
	read := must[vfs.File](t)(d.OpenRead("a"))
	_, createErr := d.Create("a")
	_, openErr := d.Open("none")
	_, writeErr := read.WriteAt([]byte("x"), 0)
	_, parentErr := d.Create("none/a")
	_, outsideErr := d.Create("../a")
	ok(t, d.Mkdir("d"))
	before := len(d.Ops())
	for _, c := range []struct{ got, want error }{
		{createErr, fs.ErrExist}, {openErr, fs.ErrNotExist}, {writeErr, fs.ErrPermission}, {parentErr, fs.ErrNotExist}, {outsideErr, fs.ErrInvalid},
		{d.Mkdir("a"), fs.ErrExist}, {d.Remove("none"), fs.ErrNotExist}, {d.Rename("none", "b"), fs.ErrNotExist},
		{d.Rename("a", "d/a"), errors.ErrUnsupported}, {d.SyncDir("none"), fs.ErrNotExist},
	} {
		var path *fs.PathError
		if !errors.Is(c.got, c.want) || !errors.As(c.got, &path) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	if len(d.Ops()) != before {
		t.Errorf("refused calls are operations:\n%s", d.Trace())
	}
	b := make([]byte, 5*SectorBytes)
	if n, err := f.ReadAt(b, 0); n != 4*SectorBytes || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	ok(t, f.Close())
	if err := f.Sync(); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
}

// TestAgainstSlice holds random writes, truncates and syncs against a slice, and every crash against what can be: each
// sector as it was at some moment since the last sync.
func TestAgainstSlice(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		d := New()
		f := must[vfs.File](t)(d.Create("a"))
		ok(t, d.SyncDir("."))
		var model []byte
		history := [][]byte{nil} // since the last sync
		for range 30 {
			switch k := r.IntN(8); {
			case k < 5:
				b := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, 1+r.IntN(1500))
				at := r.IntN(3000)
				model = resize(model, int64(max(len(model), at+len(b))))
				copy(model[at:], b)
				must[int](t)(f.WriteAt(b, int64(at)))
			case k < 7:
				size := r.IntN(4000)
				model = resize(model, int64(size))
				ok(t, f.Truncate(int64(size)))
			default:
				ok(t, f.Sync())
				history = nil
			}
			history = append(history, bytes.Clone(model))
			if !bytes.Equal(content(t, d, "a"), model) {
				t.Fatalf("seed %d: the process sees something else\n%s", seed, d.Trace())
			}
			if got := content(t, d.Crash(Dropped()), "a"); !bytes.Equal(got, history[0]) {
				t.Fatalf("seed %d: dropped leaves something else than the last sync\n%s", seed, d.Trace())
			}
			possible(t, content(t, d.Crash(Torn(r.Uint64())), "a"), history)
		}
	}
}

// possible checks that each sector of b, and its length, is that of some moment.
func possible(t *testing.T, b []byte, history [][]byte) {
	t.Helper()
	if !slices.ContainsFunc(history, func(h []byte) bool { return len(h) == len(b) }) {
		t.Fatalf("length %d was never", len(b))
	}
	for at := 0; at < len(b); at += SectorBytes {
		s := b[at:min(len(b), at+SectorBytes)]
		if !slices.ContainsFunc(history, func(h []byte) bool {
			was := make([]byte, len(s))
			if at < len(h) {
				copy(was, h[at:])
			}
			return bytes.Equal(was, s)
		}) {
			t.Fatalf("sector at %d never was like that", at)
		}
	}
}

func TestConcurrent(t *testing.T) {
	d := New()
	d.StopAt(300)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			name := fmt.Sprint("f", g)
			f, err := d.Create(name)
			for i := int64(0); err == nil; i++ {
				if _, err = f.WriteAt([]byte("x"), i); err == nil {
					err = errors.Join(f.Sync(), d.SyncDir("."))
				}
				d.Crash(Torn(uint64(i)))
			}
			if !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(d.Ops()); n != 300 {
		t.Errorf("%d operations", n)
	}
}
