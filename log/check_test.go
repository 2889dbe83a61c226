package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/batpak/batpak/event"
)

// A visited is one call of Check's visit, with its records copied.
type visited struct {
	commit *Commit
	bad    *event.CorruptError
}

// checkAll runs Check over every segment of d. A panic is a failure, but not the end: which damage causes it matters.
func checkAll(t testing.TB, d *disk) (all []visited) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("Check: panic: %v", p)
		}
	}()
	s, err := OpenSegments(d, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, first := range s.Firsts() {
		more, err := s.Check(first, 0, func(c *Commit, bad *event.CorruptError) bool {
			v := visited{bad: bad}
			if c != nil {
				v.commit = new(*c)
				v.commit.Records = bytes.Clone(c.Records)
			}
			all = append(all, v)
			return true
		})
		if err != nil || !more {
			t.Fatalf("segment %d: %v, %v", first, more, err)
		}
	}
	return all
}

// wholeCommits returns the commits visited without a finding, by the seq of their first event, and the findings.
func wholeCommits(all []visited) (whole map[event.Seq]*Commit, findings []*event.CorruptError) {
	whole = map[event.Seq]*Commit{}
	for _, v := range all {
		if v.bad != nil {
			findings = append(findings, v.bad)
		} else {
			whole[v.commit.First] = v.commit
		}
	}
	return whole, findings
}

func TestCheckClean(t *testing.T) {
	d := threeSegments()
	n := d.names[SegmentName(9)]
	d.put(n.name, append(n.data, make([]byte, scanBytes+100)...))
	whole, findings := wholeCommits(checkAll(t, d))
	if len(whole) != 7 || len(findings) != 0 {
		t.Errorf("%d commits, %v", len(whole), findings)
	}
}

// smallSegments is like threeSegments, but with short commits.
func smallSegments() (d *disk, commits []Commit) {
	d = newDisk()
	before := event.Hash{9}
	for s := range event.Seq(3) {
		first := 1 + 5*s
		cs := []Commit{sampleCommit(first, 2, max(first, 1)-1, 10), sampleCommit(first+2, 1, first-1, 9), sampleCommit(first+3, 2, first+1, 10)}
		d.put(SegmentName(first), segmentOf(first, before, cs...))
		at := int64(segmentHeaderBytes)
		for i := range cs {
			cs[i].Segment, cs[i].Offset = first, at
			at += cs[i].Bytes()
		}
		commits, before = append(commits, cs...), cs[2].Link
	}
	return d, commits
}

// TestCheckEveryByte changes every byte of a log, in several ways: there is a finding in that segment, and every commit that
// does not hold the byte is visited without one. Bytes of the segment's header are in TestCheckSegmentHeader.
func TestCheckEveryByte(t *testing.T) {
	d, commits := smallSegments()
	for _, first := range []event.Seq{1, 6, 11} {
		n := d.names[SegmentName(first)]
		for i := segmentHeaderBytes; i < len(n.data); i++ {
			for _, v := range []byte{n.data[i] ^ 1, n.data[i] ^ 0x80, ^n.data[i], 0} {
				old := n.data[i]
				if v == old {
					continue
				}
				n.data[i] = v
				checkFindings(t, d, commits, first, int64(i), int64(i)+1, fmt.Sprintf("segment %d, byte %d now %#02x", first, i, v))
				n.data[i] = old
			}
		}
	}
}

// checkFindings checks d, in which bytes from to end of a segment are damaged.
func checkFindings(t *testing.T, d *disk, commits []Commit, segment event.Seq, from, end int64, what string) {
	t.Helper()
	whole, findings := wholeCommits(checkAll(t, d))
	if !slices.ContainsFunc(findings, func(f *event.CorruptError) bool { return f.File == SegmentName(segment) }) {
		t.Errorf("%s: no finding", what)
	}
	for _, f := range findings {
		if f.File != SegmentName(segment) || f.Check == "" {
			t.Errorf("%s: finding elsewhere: %v", what, f)
		}
	}
	for i := range commits {
		c := &commits[i]
		if c.Segment == segment && c.Offset < end && c.Offset+c.Bytes() > from {
			if whole[c.First] != nil {
				t.Errorf("%s: the damaged commit of event %d is visited as whole", what, c.First)
			}
			continue
		}
		got := whole[c.First]
		if got == nil || got.Offset != c.Offset || !bytes.Equal(got.Records, c.Records) {
			t.Errorf("%s: the whole commit of event %d is not visited", what, c.First)
		}
	}
}

// TestCheckZeroedCommit overwrites a commit, or its header, with zeros, as a lost sector does: the commits behind it are
// visited all the same.
func TestCheckZeroedCommit(t *testing.T) {
	for _, first := range []event.Seq{1, 11} {
		for name, whole := range map[string]bool{"its header": false, "all of it": true} {
			t.Run(fmt.Sprintf("segment %d, %s", first, name), func(t *testing.T) {
				d, commits := smallSegments()
				c := commits[slices.IndexFunc(commits, func(c Commit) bool { return c.First == first+2 })]
				n := int64(commitHeaderBytes)
				if whole {
					n = c.Bytes()
				}
				clear(d.names[SegmentName(first)].data[c.Offset : c.Offset+n])
				checkFindings(t, d, commits, first, c.Offset, c.Offset+n, "zeros")
			})
		}
	}
}

// TestCheckSegmentHeader changes a byte of a segment's header: the commits in the segment are visited all the same.
func TestCheckSegmentHeader(t *testing.T) {
	d, commits := smallSegments()
	for _, i := range []int64{0, 12, 16, 40, 71} { // magic, checksum, store id, link
		b := &d.names[SegmentName(6)].data[i]
		*b ^= 1
		checkFindings(t, d, commits, 6, 0, i+1, fmt.Sprintf("byte %d", i))
		*b ^= 1
	}
}

// TestCheckHighSeq damages the length of a commit in a segment that begins with a high seq: the commits behind it are found
// again, however many events came before the segment.
func TestCheckHighSeq(t *testing.T) {
	d := newDisk()
	many := sampleCommit(1, 5000, 0, 1)
	d.put(SegmentName(1), segmentOf(1, event.Hash{9}, many))
	cs := []Commit{sampleCommit(5001, 2, 5000, 10), sampleCommit(5003, 2, 5000, 10), sampleCommit(5005, 2, 5000, 10)}
	b := segmentOf(5001, many.Link, cs...)
	binary.LittleEndian.PutUint32(b[segmentHeaderBytes:], 1<<31)
	d.put(SegmentName(5001), b)
	whole, findings := wholeCommits(checkAll(t, d))
	if whole[1] == nil || whole[5003] == nil || whole[5005] == nil || len(findings) != 1 {
		t.Errorf("%d whole commits, want 3; %v", len(whole), findings)
	}
}

// TestCheckRecordsOfDamaged damages a byte of each commit of a segment longer than the scanner's buffer: the records that
// go with the finding are those of the damaged commit.
func TestCheckRecordsOfDamaged(t *testing.T) {
	d := newDisk()
	var cs []Commit
	for i := range 40 {
		cs = append(cs, sampleCommit(event.Seq(1+i), 1, 0, 20_000+i))
	}
	d.put(SegmentName(1), segmentOf(1, event.Hash{9}, cs...))
	n := d.names[SegmentName(1)]
	at := segmentHeaderBytes
	for i := range cs {
		b := &n.data[at+int(cs[i].Bytes())-1]
		*b ^= 1
		for _, v := range checkAll(t, d) {
			if v.bad == nil {
				continue
			}
			if want := n.data[at+commitHeaderBytes : at+int(cs[i].Bytes())]; v.commit == nil || !bytes.Equal(v.commit.Records, want) {
				t.Errorf("the records of the damaged commit %d are not those in the file", cs[i].First)
			}
		}
		*b ^= 1
		at += int(cs[i].Bytes())
	}
}

// TestCheckLimit checks that the end for the caller is where the check ends, and that a shorter file is a finding.
func TestCheckLimit(t *testing.T) {
	d := threeSegments()
	n := d.names[SegmentName(9)]
	d.put(n.name, append(n.data, bytes.Repeat([]byte{1}, 100)...))
	s, err := OpenSegments(d, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tt := range []struct {
		limit             int64
		commits, findings int
	}{{newestAt(1), 1, 0}, {newestAt(3), 3, 0}, {newestAt(3) + 100, 3, 1}, {newestAt(3) + 101, 3, 2}, {newestAt(3) - 1, 2, 1}} {
		commits, findings := 0, 0
		more, err := s.Check(9, tt.limit, func(c *Commit, bad *event.CorruptError) bool {
			if bad != nil {
				findings++
			} else {
				commits++
			}
			return true
		})
		if !more || err != nil || commits != tt.commits || findings != tt.findings {
			t.Errorf("limit %d: %d commits, %d findings, %v, %v", tt.limit, commits, findings, more, err)
		}
	}
}

// TestCheckStops checks that visit can end a check at any call.
func TestCheckStops(t *testing.T) {
	d, _ := smallSegments()
	d.names[SegmentName(6)].data[100] ^= 1
	s, err := OpenSegments(d, testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for stop := 1; stop <= 3; stop++ {
		calls := 0
		more, err := s.Check(6, 0, func(*Commit, *event.CorruptError) bool { calls++; return calls < stop })
		if more || err != nil || calls != stop {
			t.Errorf("stop at call %d: %d calls, %v, %v", stop, calls, more, err)
		}
	}
}

func TestSegmentsHeader(t *testing.T) {
	s, err := OpenSegments(threeSegments(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if first, link, err := s.Header(5); first != 5 || link != (event.Hash{3, 31: 1}) || err != nil {
		t.Errorf("%d, %v, %v", first, link, err)
	}
}
