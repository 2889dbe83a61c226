package crashfs

import (
	"maps"
	"slices"
)

// A node is an *inode or a *dir.
type node interface{ bytes() int64 }

// A dir is a directory: the names that the process sees, those that are durable, and the changes between the two.
type dir struct {
	names   map[string]node
	durable map[string]node
	pending []entry
}

// An entry is a change of names: name is node from now on, or free if node is nil; from, if it is set, is free.
type entry struct {
	name string
	node node
	from string
}

func newDir() *dir { return &dir{names: map[string]node{}, durable: map[string]node{}} }

// apply makes the change in names. A rename frees the old name only if that still is the same file.
func (e entry) apply(names map[string]node) {
	if e.node == nil {
		delete(names, e.name)
		return
	}
	names[e.name] = e.node
	if e.from != "" && e.from != e.name && names[e.from] == e.node {
		delete(names, e.from)
	}
}

// change makes a change that is not durable yet.
func (d *dir) change(e entry) {
	e.apply(d.names)
	d.pending = append(d.pending, e)
}

// put makes a change that is durable at once.
func (d *dir) put(name string, n node) {
	d.names[name], d.durable[name] = n, n
	d.pending = slices.DeleteFunc(d.pending, func(e entry) bool { return e.name == name })
}

func (d *dir) sync() {
	d.durable, d.pending = maps.Clone(d.names), nil
}

func (d *dir) list() []string { return slices.Sorted(maps.Keys(d.names)) }

func (d *dir) bytes() (sum int64) {
	for _, n := range d.names {
		sum += n.bytes()
	}
	return sum
}
