package index

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func encodeList(values []uint32) []byte {
	w := newListWriter(nil, len(values))
	for _, v := range values {
		w.add(v)
	}
	return w.dst
}

func TestListSeek(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 127, 128, 129, 256, 257, 1000}).Draw(t, "count")
		step := rapid.SampledFrom([]int{1, 3, 100, 1 << 16}).Draw(t, "step")
		values := make([]uint32, n)
		v := rapid.Uint32Range(0, 1<<20).Draw(t, "first")
		for i := range values {
			values[i] = v
			v += 1 + uint32((i*7919)%step)
		}
		l, err := parseList(encodeList(values), values[n-1])
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range values {
			if got, err := l.at(i); err != nil || got != want {
				t.Fatalf("posting %d of %d: %d %v, want %d", i, n, got, err, want)
			}
		}
		targets := rapid.SliceOfN(rapid.Uint32Range(0, values[n-1]+5), 1, 30).Draw(t, "targets")
		slices.Sort(targets)
		up := &listCursor{list: l}
		for _, target := range targets {
			i, _ := slices.BinarySearch(values, target)
			got, ok, err := up.seek(target)
			if err != nil || ok != (i < n) || ok && got != values[i] {
				t.Fatalf("at or above %d: %d %v %v in %d", target, got, ok, err, values)
			}
		}
		down := &listCursor{list: l, reverse: true}
		for _, target := range slices.Backward(targets) {
			i, _ := slices.BinarySearch(values, target+1)
			got, ok, err := down.seek(target)
			if err != nil || ok != (i > 0) || ok && got != values[i-1] {
				t.Fatalf("at or below %d: %d %v %v in %d", target, got, ok, err, values)
			}
		}
	})
}

// readList decodes all of a list.
func readList(l *list) (values []uint32, err error) {
	var buf [blockLen]uint32
	for k := range l.blocks() {
		b, err := l.block(k, buf[:])
		if err != nil {
			return nil, err
		}
		values = append(values, b...)
	}
	return values, nil
}

func FuzzList(f *testing.F) {
	for _, n := range []int{1, 5, 128, 129, 300} {
		values := make([]uint32, n)
		for i := range values {
			values[i] = uint32(i * i)
		}
		f.Add(encodeList(values), uint32(1000))
	}
	f.Fuzz(func(t *testing.T, b []byte, target uint32) {
		l, err := parseList(b, 1<<20)
		if err != nil {
			return
		}
		if l.count > len(b) {
			t.Fatalf("%d postings in %d bytes", l.count, len(b))
		}
		for _, reverse := range []bool{false, true} {
			c := listCursor{list: l, reverse: reverse}
			v, ok, err := c.seek(target)
			if err == nil && ok && (!reverse && v < target || reverse && v > target) {
				t.Fatalf("seek %d, reverse %v: %d", target, reverse, v)
			}
		}
		if values, err := readList(&l); err == nil && !bytes.Equal(encodeList(values), b) {
			t.Fatalf("%x has another spelling: %x", b, encodeList(values))
		}
	})
}
