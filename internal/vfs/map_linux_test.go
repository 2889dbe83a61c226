package vfs

import (
	"bytes"
	"io"
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
		n, err := reader.ReadAt(b, int64(at))
		left := want[min(at, size):]
		if short := len(left) < len(b); n != min(len(b), len(left)) || !bytes.Equal(b[:n], left[:n]) || short != (err == io.EOF) || !short && err != nil {
			t.Fatalf("%d bytes at %d: %d, %v", len(b), at, n, err)
		}
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
	if n, err := reader.ReadAt(b, 8192); err != io.EOF {
		t.Errorf("read of a file that was cut off: %d bytes, %v", n, err)
	}
	if n, err := reader.ReadAt(b, 0); n != 5 || err != nil {
		t.Errorf("of what is left: %d bytes, %v", n, err)
	}
}
