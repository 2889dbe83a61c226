package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

func create(t *testing.T, f FS, name string, size int) File {
	t.Helper()
	file, err := f.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestMappedWrites writes pieces of all sizes at all places, within what is allocated, across its end and beyond, and compares
// what other handles read with a model.
func TestMappedWrites(t *testing.T) {
	const allocated, length = 3*mapWindow + 5, 4 * mapWindow
	f, _ := testFS(t)
	file := create(t, f, "a", allocated)
	defer file.Close()
	file.Allocated(allocated)
	model := make([]byte, length)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	end := allocated
	for range 2000 {
		b := make([]byte, 1+r.IntN(2*mapLargest))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		at := r.IntN(length - len(b))
		if r.IntN(4) == 0 { // around a border
			at = max(0, []int{mapWindow, 2 * mapWindow, allocated}[r.IntN(3)]-r.IntN(len(b)))
		}
		copy(model[at:], b)
		end = max(end, at+len(b))
		if n, err := file.WriteAt(b, int64(at)); n != len(b) || err != nil {
			t.Fatalf("%d bytes at %d: %d, %v", len(b), at, n, err)
		}
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(f, "a", length)
	if err != nil || !bytes.Equal(got, model[:end]) {
		t.Fatalf("%d bytes of %d, %v: not what was written", len(got), end, err)
	}
	if size, err := file.Size(); err != nil || size != int64(end) {
		t.Errorf("size %d, want %d, %v", size, end, err)
	}
}

// TestMappedFaults cuts a file off under those who write and read it through memory: errors, not signals.
func TestMappedFaults(t *testing.T) {
	f, _ := testFS(t)
	file := create(t, f, "a", 1<<20)
	defer file.Close()
	file.Allocated(1 << 20)
	if _, err := file.WriteAt([]byte("first"), 8192); err != nil {
		t.Fatal(err)
	}
	reader, err := f.OpenRead("a")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	reader.Allocated(1 << 20)
	b := make([]byte, 5)
	if _, err := reader.ReadAt(b, 8192); err != nil || string(b) != "first" {
		t.Fatalf("read %q, %v", b, err)
	}
	other, err := f.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if n, err := file.WriteAt([]byte("second"), 12288); err == nil {
		t.Errorf("write to a file that was cut off: %d bytes and no error", n)
	}
	if n, err := reader.ReadAt(b, 8192); err == nil {
		t.Errorf("read of a file that was cut off: %d bytes and no error", n)
	}
}

// TestMappedOrder ends writes at a page that is not there, as kill -9 does at one that must be fetched first: all before it is
// written, so that no commit is there without those before it.
func TestMappedOrder(t *testing.T) {
	const size, end = 16 * pageBytes, 8 * pageBytes
	f, _ := testFS(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 300 {
		name := fmt.Sprint(i)
		file := create(t, f, name, size)
		file.Allocated(size)
		other := must[File](t)(f.Open(name))
		if err := other.Truncate(end); err != nil {
			t.Fatal(err)
		}
		before := 1 + r.IntN(5000)
		b := bytes.Repeat([]byte{0xFF}, before+1+r.IntN(5000))
		if n, err := file.WriteAt(b, int64(end-before)); n > before || !errors.Is(err, errShrunk) {
			t.Fatalf("%d bytes from %d before the end: %d, %v", len(b), before, n, err)
		}
		got := make([]byte, before)
		if _, err := other.ReadAt(got, int64(end-before)); err != nil {
			t.Fatal(err)
		}
		if written := bytes.Count(got, b[:1]); written != before {
			t.Fatalf("%d bytes from %d before the end: of those only %d are written", len(b), before, written)
		}
		if err := errors.Join(file.Close(), other.Close(), f.Remove(name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMappedShrink cuts a file off within a page that is mapped, where writing to memory goes well: the next Sync says so.
func TestMappedShrink(t *testing.T) {
	f, _ := testFS(t)
	file := create(t, f, "a", 1<<20)
	defer file.Close()
	file.Allocated(1 << 20)
	other := must[File](t)(f.Open("a"))
	defer other.Close()
	if err := other.Truncate(8192 + 100); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("lost"), 8192+200); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); !errors.Is(err, errShrunk) {
		t.Errorf("sync: %v", err)
	}
}

// TestMappedTruncate checks that a handle which truncates its file forgets what was allocated.
func TestMappedTruncate(t *testing.T) {
	f, _ := testFS(t)
	file := create(t, f, "a", 1<<20)
	defer file.Close()
	file.Allocated(1 << 20)
	if _, err := file.WriteAt([]byte("first"), 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(100); err != nil {
		t.Fatal(err)
	}
	if n, err := file.WriteAt([]byte("second"), 5000); n != 6 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if got, err := ReadFile(f, "a", 1<<20); err != nil || len(got) != 5006 || string(got[5000:]) != "second" || string(got[:5]) != "first" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
