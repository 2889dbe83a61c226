package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

// extensionTime is the extension that holds the time that a line names.
const extensionTime = "import.time"

// maxBatchBytes bounds what a batch holds, so that with one more line it still fits a commit.
const maxBatchBytes = batpak.MaxCommitBytes / 4

// proposalBytes is about what a proposal takes in a commit besides its texts and payload.
const proposalBytes = 512

// An importer turns lines into events. It must be the only one that appends to its store.
type importer struct {
	store           *batpak.Store
	entity, scope   *text
	kind, time, key *text // time and key may be nil
	batch           int   // proposals per commit
	raw             bool
	progress        *progress
	accepted        func([]batpak.Receipt) // told of each commit; may be nil

	lines           int // read
	appended, known int // committed now, and found there

	pending      []pending
	pendingBytes int
	proposals    []batpak.Proposal // scratch

	kindText   string // the last kind that was read, and what it was read as
	kindParsed event.Kind
}

// A pending is a line that was read and not yet committed.
type pending struct {
	proposal batpak.Proposal
	line     int
}

// done says how much was committed.
func (im *importer) done() string {
	return fmt.Sprintf("%s appended, %s already there", grouped(im.appended), grouped(im.known))
}

// file imports one file.
func (im *importer) file(path, name string, stdin io.Reader) error {
	src, err := openSource(path, name, stdin)
	if err != nil {
		return err
	}
	defer src.close()
	return im.source(src)
}

// source imports all lines of a source. Errors name the line.
func (im *importer) source(src *source) error {
	im.pending, im.pendingBytes = im.pending[:0], 0
	for {
		line, err := src.next()
		if errors.Is(err, io.EOF) {
			return im.commit(src)
		}
		if err == nil {
			err = im.add(src, line)
		}
		if err != nil {
			return located(src, src.line, err)
		}
		if len(im.pending) == im.batch || im.pendingBytes > maxBatchBytes {
			if err := im.commit(src); err != nil {
				return err
			}
		}
	}
}

func located(src *source, line int, err error) error {
	return fmt.Errorf("%s:%d: %w", src.path, line, err)
}

// add makes a proposal of a line.
func (im *importer) add(src *source, line []byte) error {
	im.lines++
	v, err := decodeJSON(line)
	if err != nil {
		return err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return errors.New("not a JSON object")
	}
	p, err := im.proposal(src, object)
	if err != nil {
		return err
	}
	if im.raw {
		p.Data = append([]byte{}, line...)
	} else if p.Data, err = event.Marshal(object); err != nil {
		return err
	}
	im.pending = append(im.pending, pending{p, src.line})
	im.pendingBytes += proposalBytes + len(p.At.Entity) + len(p.At.Scope) + len(p.Key) + len(p.Extensions[extensionTime]) + len(p.Data)
	return nil
}

// proposal returns what the flags make of an object, but for its payload.
func (im *importer) proposal(src *source, object map[string]any) (p batpak.Proposal, err error) {
	if p.At.Entity, err = im.entity.of(object); err != nil {
		return p, err
	}
	if p.At.Scope, err = im.scope.of(object); err != nil {
		return p, err
	}
	if err := p.At.Validate(); err != nil {
		return p, err
	}
	if p.Kind, err = im.kindOf(object); err != nil {
		return p, err
	}
	if im.time != nil {
		t, err := im.time.of(object)
		if err != nil {
			return p, err
		}
		p.Extensions = map[string][]byte{extensionTime: []byte(t)}
	}
	p.Key = fmt.Sprintf("%s:%d", src.name, src.line)
	if im.key != nil {
		p.Key, err = im.key.of(object)
		if err == nil && p.Key == "" {
			err = errors.New("--key: the key is empty")
		}
	}
	return p, err
}

func (im *importer) kindOf(object map[string]any) (event.Kind, error) {
	s, err := im.kind.of(object)
	if err != nil || s == im.kindText && s != "" {
		return im.kindParsed, err
	}
	k, err := event.ParseKind(s)
	if err == nil {
		err = k.Validate()
	}
	if err == nil {
		im.kindText, im.kindParsed = s, k
	}
	return k, err
}

// commit commits what is pending, as a whole or, if some of it is there already and some is not, line by line.
func (im *importer) commit(src *source) error {
	if len(im.pending) == 0 {
		return nil
	}
	err := im.try(src, im.pending)
	if errors.Is(err, batpak.ErrIdempotencyPartial) {
		for i := range im.pending {
			if err = im.try(src, im.pending[i:i+1]); err != nil {
				break
			}
		}
	}
	im.pending, im.pendingBytes = im.pending[:0], 0
	im.progress.show("%s", im.done())
	return err
}

// try commits some lines at once. Receipts of events that were there before name a seq at or below the frontier.
func (im *importer) try(src *source, lines []pending) error {
	im.proposals = im.proposals[:0]
	for i := range lines {
		im.proposals = append(im.proposals, lines[i].proposal)
	}
	before := im.store.Frontier().Accepted
	receipts, err := im.store.Commit(im.proposals...)
	if err != nil {
		return refused(src, lines, err)
	}
	for i := range receipts {
		if receipts[i].Seq <= before {
			im.known++
		} else {
			im.appended++
		}
	}
	if im.accepted != nil {
		im.accepted(receipts)
	}
	return nil
}

// refused names the line whose proposal was refused, if one was.
func refused(src *source, lines []pending, err error) error {
	var mismatch *batpak.MismatchError
	if errors.As(err, &mismatch) {
		return located(src, lines[mismatch.Item].line, fmt.Errorf("key %q belongs to event %d, which is another: %w", mismatch.Key, mismatch.Found,
			batpak.ErrIdempotencyMismatch))
	}
	var item *batpak.ItemError
	if errors.As(err, &item) {
		return located(src, lines[item.Item].line, item.Err)
	}
	return err
}

// unwrapItem removes the number of the proposal from an error of a commit of one.
func unwrapItem(err error) error {
	var item *batpak.ItemError
	if errors.As(err, &item) {
		return item.Err
	}
	return err
}
