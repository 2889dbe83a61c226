package vfs

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"testing"
)

// TestMappedReads reads ranges of a mapped file, within what is mapped, across its end and beyond.
func TestMappedReads(t *testing.T) {
	f, _ := testFS(t)
	const mapped, size = 10_000, 12_345
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	file := must[File](t)(f.Create("a"))
	must[int](t)(file.WriteAt(want, 0))
	reader := must[File](t)(f.OpenRead("a"))
	defer reader.Close()
	reader.Map(mapped)
	for range 2000 {
		at, b := r.IntN(size+100), make([]byte, r.IntN(3000))
		reader.Expect(int64(at), int64(len(b)))
		n, err := reader.ReadAt(b, int64(at))
		left := want[min(at, size):]
		if short := len(left) < len(b); n != min(len(b), len(left)) || !bytes.Equal(b[:n], left[:n]) || short != (err == io.EOF) || !short && err != nil {
			t.Fatalf("%d bytes at %d: %d, %v", len(b), at, n, err)
		}
	}
	for _, of := range [][2]int64{{-1, 5}, {0, -5}, {mapped, 1}, {mapped - 1, 1}, {1 << 62, 1 << 62}, {math.MaxInt64, math.MaxInt64}} {
		reader.Expect(of[0], of[1])
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMappedFaults cuts a file off under one who reads it through memory: an error, not a signal.
func TestMappedFaults(t *testing.T) {
	f, _ := testFS(t)
	file := must[File](t)(f.Create("a"))
	defer file.Close()
	must[int](t)(file.WriteAt(make([]byte, 1<<20), 0))
	reader := must[File](t)(f.OpenRead("a"))
	defer reader.Close()
	reader.Map(1 << 20)
	b := make([]byte, 5)
	must[int](t)(reader.ReadAt(b, 8192))
	if err := file.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	reader.Expect(8192, 5)
	if n, err := reader.ReadAt(b, 8192); err != io.EOF {
		t.Errorf("read of a file that was cut off: %d bytes, %v", n, err)
	}
	if n, err := reader.ReadAt(b, 0); n != 5 || err != nil {
		t.Errorf("of what is left: %d bytes, %v", n, err)
	}
}

// TestMappedGrows reads a file that is mapped while others write to it and it grows beyond what is mapped: whatever was written by any
// means is what is read.
func TestMappedGrows(t *testing.T) {
	f, _ := testFS(t)
	const mapped, size = 50_000, 80_000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	file, want := must[File](t)(f.Create("a")), make([]byte, mapped)
	must[int](t)(file.WriteAt(want, 0))
	reader := must[File](t)(f.OpenRead("a"))
	defer reader.Close()
	reader.Map(mapped)
	for at := 0; at < size; {
		b := make([]byte, 1+r.IntN(3000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		write := file.WriteAt
		if at+len(b) <= mapped && r.IntN(2) == 0 {
			write = file.Store
		}
		must[int](t)(write(b, int64(at)))
		want = append(want[:at], append(b, want[min(at+len(b), len(want)):]...)...)
		at += len(b)
		for range 10 {
			from, got := r.IntN(len(want)), make([]byte, 1+r.IntN(3000))
			n, err := reader.ReadAt(got, int64(from))
			left := want[from:]
			if short := len(left) < len(got); n != min(len(got), len(left)) || !bytes.Equal(got[:n], left[:n]) || short != (err == io.EOF) || !short && err != nil {
				t.Fatalf("%d bytes at %d of %d: %d, %v", len(got), from, len(want), n, err)
			}
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStore writes ranges of a file through memory, among them some across the end of what is mapped at a time, and others in the ordinary
// way, and reads them back through another handle, at once and after closing.
func TestStore(t *testing.T) {
	f, _ := testFS(t)
	const size = 2*windowBytes + 5000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	file, want := must[File](t)(f.Create("a")), make([]byte, size)
	must[int](t)(file.WriteAt(want, 0))
	reader := must[File](t)(f.OpenRead("a"))
	defer reader.Close()
	stored := 0
	for i := range 3000 {
		b := make([]byte, 1+r.IntN(2000))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		at := int64(r.IntN(size - len(b)))
		if i%3 == 0 {
			at = windowBytes*int64(1+r.IntN(2)) - int64(r.IntN(len(b)+1))
		}
		write := file.Store
		if i%5 == 0 {
			write = file.WriteAt
		}
		if n, err := write(b, at); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
		copy(want[at:], b)
		if file.(*osFile).window.at > 0 {
			stored++
		}
		got := make([]byte, len(b))
		if _, err := reader.ReadAt(got, at); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes at %d come back as others, %v", len(b), at, err)
		}
	}
	if stored == 0 {
		t.Error("no other part was mapped")
	}
	if err := file.Sync(); err != nil {
		t.Error(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if got := must[[]byte](t)(ReadFile(f, "a", size)); !bytes.Equal(got, want) {
		t.Error("the closed file is another")
	}
}

// TestStoreFaults stores behind the end of a file, where memory is mapped and no file is: it is written in the ordinary way. A handle that
// may not be written says so.
func TestStoreFaults(t *testing.T) {
	f, _ := testFS(t)
	file := must[File](t)(f.Create("a"))
	defer file.Close()
	must[int](t)(file.Store([]byte("abc"), 0))
	must[int](t)(file.Store([]byte("def"), 3*4096))
	want := append(append([]byte("abc"), make([]byte, 3*4096-3)...), "def"...)
	if got := must[[]byte](t)(ReadFile(f, "a", 1<<20)); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	reader := must[File](t)(f.OpenRead("a"))
	defer reader.Close()
	for range 2 {
		if n, err := reader.Store([]byte("x"), 0); err == nil {
			t.Error("a file opened for reading takes", n)
		}
	}
}
