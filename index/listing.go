package index

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/batpak/batpak/event"
)

// What Terms can list.
const (
	Entities   = tagEntity
	Namespaces = tagNamespace
	Scopes     = tagScope
	Kinds      = tagKind
)

// A Term is a name that events have.
type Term struct {
	Name  string    // an entity, a namespace, a scope, or a kind as event.Kind.String writes it
	Count uint64    // of its events
	Last  event.Seq // the newest of them
}

// Terms lists at most limit names of one sort, of those that begin with prefix and come after after, ascending. To list
// all, continue after the last name received until there are fewer than limit. A limit below 1 is taken for 1, and another
// tag is an error that matches [event.ErrInvalid].
//
// It looks through the whole tail and, in each run, at the terms of the names that it returns.
func (x *Index) Terms(tag byte, prefix, after string, limit int) ([]Term, error) {
	if tag != Entities && tag != Namespaces && tag != Scopes && tag != Kinds {
		return nil, fmt.Errorf("index: terms of tag %q: %w", tag, event.ErrInvalid)
	}
	l := listing{tag: tag, prefix: prefix, after: after, limit: max(limit, 1)}
	s := x.tail.snap()
	err := x.view(func(v view) error {
		l.countTail(&s, max(s.first, v.meta.position.Seq+1))
		return l.merge(&v)
	})
	return l.out, err
}

// listing is one call of Terms.
type listing struct {
	tag           byte
	prefix, after string
	limit         int
	tail          []Term // ascending
	out           []Term
}

// wanted reports whether a name is asked for.
func (l *listing) wanted(name string) bool {
	return name > l.after && strings.HasPrefix(name, l.prefix)
}

// countTail sets tail to the terms of the events of s at or after first.
func (l *listing) countTail(s *snapshot, first event.Seq) {
	terms := make(map[string]Term)
	count := func(name string, seq event.Seq) {
		if l.wanted(name) {
			terms[name] = Term{name, terms[name].Count + 1, seq}
		}
	}
	for seq := first; seq <= s.last; seq++ {
		switch h := &s.entry(seq).Header; l.tag {
		case Entities:
			count(h.Entity, seq)
		case Namespaces:
			namespaces(h.Entity, func(n string) { count(n, seq) })
		case Scopes:
			count(h.Scope, seq)
		case Kinds:
			count(h.Kind.String(), seq)
		}
	}
	for _, t := range terms {
		l.tail = append(l.tail, t)
	}
	slices.SortFunc(l.tail, func(a, b Term) int { return strings.Compare(a.Name, b.Name) })
}

// merge sets out to the terms of the runs and of the tail.
func (l *listing) merge(v *view) error {
	var sources []termSource
	for i := range v.meta.runs {
		ref := &v.meta.runs[i]
		r, err := v.open(i)
		if err != nil {
			return err
		}
		s := termSource{listing: l, run: *r, ref: ref, i: r.search(l.start())}
		if err := s.advance(); err != nil {
			return err
		}
		sources = append(sources, s)
	}
	for len(l.out) < l.limit {
		t, err := l.next(sources)
		if t.Name == "" || err != nil {
			return err
		}
		l.out = append(l.out, t)
	}
	return nil
}

// start returns a term that none of those wanted is below.
func (l *listing) start() []byte {
	if l.tag == Kinds { // few, and with other names than their terms
		return []byte{l.tag}
	}
	return appendTextTerm(nil, l.tag, max(l.prefix, l.after))
}

// next takes the least name from the sources and the tail. The zero Term says that there is none.
func (l *listing) next(sources []termSource) (Term, error) {
	var t Term
	least := func(name string) {
		if name != "" && (t.Name == "" || name < t.Name) {
			t.Name = name
		}
	}
	for i := range sources {
		least(sources[i].term.Name)
	}
	if len(l.tail) > 0 {
		least(l.tail[0].Name)
	}
	for i := range sources {
		s := &sources[i]
		if s.term.Name != t.Name || t.Name == "" {
			continue
		}
		t = s.term.plus(t)
		if err := s.advance(); err != nil {
			return Term{}, err
		}
	}
	if len(l.tail) > 0 && l.tail[0].Name == t.Name {
		t = l.tail[0].plus(t)
		l.tail = l.tail[1:]
	}
	return t, nil
}

// plus returns t with the events of u added.
func (t Term) plus(u Term) Term { return Term{t.Name, t.Count + u.Count, max(t.Last, u.Last)} }

// termSource walks the names of one run.
type termSource struct {
	*listing
	run
	ref  *runRef
	i    int  // of the term after those in term
	term Term // the current one; zero at the end
}

// advance moves to the next name that is wanted. The lanes of an entity count together.
func (s *termSource) advance() error {
	s.term = Term{}
	for s.i < s.len() {
		name, ok, err := s.name()
		if err != nil {
			return s.ref.damaged(err)
		}
		if !ok || s.term.Name != "" && name != s.term.Name {
			return nil
		}
		if s.wanted(name) {
			if err := s.addTerm(name); err != nil {
				return s.ref.damaged(err)
			}
		}
		s.i++
	}
	return nil
}

// name returns the name in term i, and whether there can be more that are wanted.
func (s *termSource) name() (string, bool, error) {
	t := s.run.term(s.i)
	if len(t) == 0 {
		return "", false, errTerms
	}
	name := t[1:]
	switch {
	case t[0] != s.tag:
		return "", false, nil
	case s.tag == Kinds && len(name) == 2:
		return event.Kind(uint16(name[0])<<8 | uint16(name[1])).String(), true, nil
	case s.tag == Entities && len(name) > 5 && bytes.IndexByte(name, 0) == len(name)-5:
		name = name[:len(name)-5]
	case s.tag == Kinds || s.tag == Entities:
		return "", false, errTerms
	}
	return string(name), string(name) <= s.after || bytes.HasPrefix(name, []byte(s.prefix)), nil
}

// addTerm adds the events of term i to the current name.
func (s *termSource) addTerm(name string) error {
	l, err := s.list(s.i)
	if err != nil {
		return err
	}
	last, err := l.last()
	if err != nil {
		return err
	}
	s.term = Term{name, uint64(l.count), s.first + event.Seq(last)}.plus(s.term)
	return nil
}
