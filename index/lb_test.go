package index
import ("testing")
func BenchmarkCopyList(b *testing.B) {
	for _, c := range []struct{name string; n, step int}{{"5x100",5,100},{"100x30",100,30},{"10000x90",10000,90},{"10000x300",10000,300}} {
	w := newListWriter(nil, c.n)
	for i := range c.n { w.add(uint32(i*c.step)) }
	l, _ := parseList(w.dst, 1<<30)
	dst := make([]byte, 0, 1<<20)
	b.Run(c.name, func(b *testing.B) {
		for b.Loop() {
			out := newListWriter(dst[:0], c.n)
			if err := copyList(&out, &l, 100); err != nil { b.Fatal(err) }
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.n), "ns/posting")
	})
	}
}
