package log

import (
	"testing"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// A growing directory gets more files while it is listed once, and the listing has only the last of them, as the calls
// behind ReadDir may do.
type growing struct {
	vfs.FS
	grow func() // nil: not now
}

func (g *growing) ReadDir(name string) ([]string, error) {
	names, err := g.FS.ReadDir(name)
	if g.grow == nil || err != nil {
		return names, err
	}
	g.grow()
	g.grow = nil
	after, err := g.FS.ReadDir(name)
	return append(names, after[len(after)-1]), err
}

// TestListWhileRolling rolls twice while a reader lists the segments, so that it sees the newest and not the one before.
// The reader must not take that for a missing segment.
func TestListWhileRolling(t *testing.T) {
	f, _ := testDir(t)
	l, _, _ := open(t, f, testOptions())
	defer l.Close()
	appendOne(t, l, 1)
	g := &growing{FS: f}
	s, err := OpenSegments(g, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var seen event.Seq
	visit := func(c *Commit) error {
		seen = c.Last()
		return nil
	}
	at, err := s.Scan(Position{Link: testOptions().Genesis}, visit)
	if err != nil || seen != 1 {
		t.Fatalf("%d events, %v", seen, err)
	}
	g.grow = func() {
		for segments := len(l.Firsts()); len(l.Firsts()) < segments+2; {
			appendOne(t, l, 10)
		}
	}
	for range 2 { // the first scan may end before what came while it listed
		if at, err = s.Scan(at, visit); err != nil {
			t.Fatal(err)
		}
	}
	if seen != l.Durable() || len(s.Firsts()) != len(l.Firsts()) {
		t.Errorf("the reader saw %d events in %d segments, of %d in %d", seen, len(s.Firsts()), l.Durable(), len(l.Firsts()))
	}
}
