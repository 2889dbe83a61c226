package crashfs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// A Cut is a way to crash.
type Cut struct {
	kind cutKind
	seed uint64
}

type cutKind uint8

const (
	killed cutKind = iota
	dropped
	torn
)

// Killed ends the process only: the next one sees everything, and what was not durable still is not.
func Killed() Cut { return Cut{kind: killed} }

// Dropped cuts the power and takes everything that was not durable.
func Dropped() Cut { return Cut{kind: dropped} }

// Torn cuts the power and takes some of what was not durable, as the seed has it: of each file all, nothing, everything
// from some moment on, or some sectors; its length as of some moment; and any of the changes of names.
func Torn(seed uint64) Cut { return Cut{kind: torn, seed: seed} }

// String names the cut, with its seed.
func (c Cut) String() string {
	switch c.kind {
	case killed:
		return "killed"
	case dropped:
		return "dropped"
	}
	return fmt.Sprintf("torn %d", c.seed)
}

// Crash returns the disk that the next process finds after a crash at this moment. d itself stays as it is and can crash
// again: the same cut gives the same disk. Locks are released; faults, capacity and stop are not taken along, and
// operations are counted anew.
func (d *Disk) Crash(c Cut) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := crash{cut: c, r: rand.New(rand.NewPCG(c.seed, 0)), done: map[node]node{}}
	return &Disk{root: k.dir(d.root)}
}

// A crash is one under way.
type crash struct {
	cut  Cut
	r    *rand.Rand
	done map[node]node // what became of each
}

func (k *crash) node(n node) node {
	if n == nil {
		return nil
	}
	if done, ok := k.done[n]; ok {
		return done
	}
	var after node
	switch n := n.(type) {
	case *dir:
		after = k.dir(n)
	case *inode:
		after = k.inode(n)
	}
	k.done[n] = after
	return after
}

// nodes returns what became of each, in the order of their names so that the same seed does the same.
func (k *crash) nodes(names map[string]node) map[string]node {
	after := map[string]node{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		after[name] = k.node(names[name])
	}
	return after
}

func (k *crash) dir(d *dir) *dir {
	if k.cut.kind == killed {
		after := &dir{names: k.nodes(d.names), durable: k.nodes(d.durable)}
		for _, e := range d.pending {
			after.pending = append(after.pending, entry{e.name, k.node(e.node), e.from})
		}
		return after
	}
	left := maps.Clone(d.durable)
	likely := k.likely()
	for _, e := range d.pending {
		if k.r.Float64() < likely {
			e.apply(left)
		}
	}
	left = k.nodes(left)
	for name, n := range left {
		if n, ok := n.(*inode); ok {
			n.name = pathIn(n.name, name)
		}
	}
	return &dir{names: left, durable: maps.Clone(left)}
}

// pathIn returns path with its last element replaced by name.
func pathIn(path, name string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1] + name
		}
	}
	return name
}

// likely returns how probable it is for each change in a place to have survived.
func (k *crash) likely() float64 {
	if k.cut.kind == dropped {
		return 0
	}
	return []float64{0, 0.1, 0.5, 0.9, 1}[k.r.IntN(5)]
}

func (k *crash) inode(n *inode) *inode {
	if k.cut.kind == killed {
		return &inode{name: n.name, data: slices.Clone(n.data), durable: slices.Clone(n.durable), pending: slices.Clone(n.pending), lengths: slices.Clone(n.lengths)}
	}
	data := slices.Clone(n.durable)
	if k.cut.kind == torn {
		data = k.tear(n, data)
	}
	return &inode{name: n.name, data: data, durable: slices.Clone(data)}
}

// tear puts some of what is pending into data, which is what is durable.
func (k *crash) tear(n *inode, data []byte) []byte {
	lengths := append([]int64{int64(len(data))}, n.lengths...)
	length := lengths[len(lengths)-1]
	if k.r.IntN(2) == 0 {
		length = lengths[k.r.IntN(len(lengths))]
	}
	data = resize(data, slices.Max(lengths))
	if k.r.IntN(3) == 0 { // in order, up to some moment
		for _, v := range n.pending[:k.r.IntN(len(n.pending)+1)] {
			v.apply(data)
		}
		return resize(data, length)
	}
	likely := k.likely()
	bySector := map[int64][]version{}
	for _, v := range n.pending {
		bySector[v.sector] = append(bySector[v.sector], v)
	}
	for _, s := range slices.Sorted(maps.Keys(bySector)) {
		versions := bySector[s]
		switch {
		case k.r.Float64() < likely:
			versions[len(versions)-1].apply(data)
		case len(versions) > 1 && k.r.IntN(2) == 0:
			versions[k.r.IntN(len(versions)-1)].apply(data)
		}
	}
	return resize(data, length)
}
