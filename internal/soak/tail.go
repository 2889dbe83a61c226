package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/index"
	"github.com/batpak/batpak/internal/vfs"
	"github.com/batpak/batpak/kv"
	"github.com/batpak/batpak/log"
)

// A tail is the end of the newest segment: what was written and nothing says that it was durable. Only of that may a power
// cut leave anything but what was written, and so may a damage.
type tail struct {
	path    string
	from    int64  // where the last durable commit ends
	to      int64  // where the last whole commit ends
	commits []span // in between
}

// A span is where a commit lies.
type span struct{ from, to int64 }

// noBound is the watermark of a store that lets readers see what is only written; see docs/FORMAT.md.
const noBound = batpak.Seq(1<<64 - 1)

// loseTail is tail for those who change what readers may have seen: it ends them first.
func (d *damager) loseTail() (*tail, error) {
	if w, _ := d.watermarks(); w.visible == noBound {
		d.powerCut()
	}
	return d.tail()
}

// tail finds the tail. The result is nil if it cannot be told what is durable, or if less is there than was durable: opening
// the store will say so.
func (d *damager) tail() (*tail, error) {
	w, ok := d.watermarks()
	if !ok {
		return nil, nil
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return d.tailBehind(root, max(w.durable, d.durable(), d.indexed(root)))
}

// watermarks are those in LOCK.
type watermarks struct{ visible, durable batpak.Seq }

// watermarks returns those in LOCK, if they are there.
func (d *damager) watermarks() (w watermarks, ok bool) {
	b, err := os.ReadFile(filepath.Join(d.dir, "LOCK"))
	if err != nil || len(b) < 276 {
		return w, false
	}
	w = watermarks{batpak.Seq(binary.LittleEndian.Uint64(b[256:])), batpak.Seq(binary.LittleEndian.Uint64(b[264:]))}
	sum := crc32.Checksum(append(d.store[:], b[256:272]...), crc32.MakeTable(crc32.Castagnoli))
	return w, sum == binary.LittleEndian.Uint32(b[272:])
}

// indexed returns the watermark of the index, which knows only durable events; 0 if it is damaged.
func (d *damager) indexed(root *os.Root) batpak.Seq {
	if _, err := root.Stat(indexName); err != nil {
		return 0
	}
	db, err := kv.OpenBolt(root, indexName, kv.LargePages)
	if err != nil {
		return 0
	}
	defer db.Close()
	x, err := index.Open(db, d.store)
	if err != nil {
		return 0
	}
	return x.Position().Seq
}

// tailBehind returns what lies behind an event and behind all that a commit says was durable.
func (d *damager) tailBehind(root *os.Root, durable batpak.Seq) (*tail, error) {
	segments, err := log.OpenSegments(vfs.OS(root), d.store)
	if err != nil {
		return nil, err
	}
	defer segments.Close()
	firsts := segments.Firsts()
	if len(firsts) == 0 {
		return nil, fs.ErrNotExist
	}
	at := log.Position{Segment: firsts[len(firsts)-1], Offset: log.HeaderBytes}
	at.Seq = at.Segment - 1
	if _, at.Link, err = segments.Header(at.Segment); err != nil {
		return nil, err
	}
	var commits []log.Commit
	end, err := segments.Scan(at, func(c *log.Commit) error {
		durable = max(durable, c.Durable)
		commits = append(commits, log.Commit{First: c.First, Count: c.Count, Offset: c.Offset, Records: make([]byte, len(c.Records))})
		return nil
	})
	if err != nil || end.Seq < durable {
		return nil, err
	}
	t := &tail{path: filepath.Join(d.dir, filepath.FromSlash(log.SegmentName(at.Segment))), from: at.Offset, to: end.Offset}
	for i := range commits {
		s := span{commits[i].Offset, commits[i].End().Offset}
		if commits[i].First <= durable {
			t.from = s.to
		} else {
			t.commits = append(t.commits, s)
		}
	}
	return t, nil
}

// appendGarbage writes random bytes behind the last commit. Nothing may be lost by that.
func (d *damager) appendGarbage() (*damage, error) {
	t, err := d.tail()
	if t == nil {
		return nil, err
	}
	garbage := make([]byte, 1+d.random.IntN(20_000))
	for i := range garbage {
		garbage[i] = byte(1 + d.random.IntN(255))
	}
	file, err := os.OpenFile(t.path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteAt(garbage, t.to+d.random.Int64N(2000)*d.random.Int64N(2))
	return &damage{kind: "garbage appended", mustTear: true}, errors.Join(err, file.Close())
}

// flipTail changes some bytes of one commit. The last one is torn then. Another one followed by a whole commit cannot come of
// a power cut, unless a sector of it seems unwritten: the store must be refused, and opens when the change is undone.
func (d *damager) flipTail() (*damage, error) {
	t, err := d.loseTail()
	if t == nil || len(t.commits) == 0 {
		return nil, err
	}
	last := len(t.commits) - 1
	i := d.random.IntN(last + 1)
	if d.random.IntN(2) == 0 {
		i = last
	}
	undo, err := d.flip(t.path, t.commits[i].from, t.commits[i].to)
	if err != nil {
		return nil, err
	}
	if i == last {
		return &damage{kind: "last commit flipped", mayLose: true, mustTear: true}, nil
	}
	damaged, err := os.ReadFile(t.path)
	if err != nil {
		return nil, err
	}
	return &damage{kind: "unacknowledged commit flipped", mayLose: true, mayRefuse: true, undo: func() error {
		now, err := os.ReadFile(t.path)
		if err == nil && !bytes.Equal(now, damaged) {
			err = errors.New(t.path + " was changed by an opening that was refused")
		}
		return errors.Join(err, undo())
	}}, nil
}

const sectorBytes = 512

// zeroSector makes a sector of the tail look unwritten, as a power cut can that came before it was written and after others.
func (d *damager) zeroSector() (*damage, error) {
	t, err := d.loseTail()
	if t == nil {
		return nil, err
	}
	first, last := (t.from+sectorBytes-1)/sectorBytes, t.to/sectorBytes // whole sectors, last excluded
	if first >= last {
		return nil, nil
	}
	file, err := os.OpenFile(t.path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteAt(make([]byte, sectorBytes), (first+d.random.Int64N(last-first))*sectorBytes)
	return &damage{kind: "sector unwritten", mayLose: true}, errors.Join(err, file.Close())
}

// cutTail makes the segment shorter, as a power cut can that came before its length was durable.
func (d *damager) cutTail() (*damage, error) {
	t, err := d.loseTail()
	if t == nil || len(t.commits) == 0 {
		return nil, err
	}
	return &damage{kind: "tail cut off", mayLose: true}, os.Truncate(t.path, t.from+d.random.Int64N(t.to-t.from))
}
