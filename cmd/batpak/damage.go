package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/batpak/batpak"
)

// A damage is one changed byte in a copy of a store.
type damage struct {
	File   string     `json:"file"`
	Offset int64      `json:"offset"`
	Seq    batpak.Seq `json:"seq"` // of the event whose payload has the byte
	Was    byte       `json:"was"`
	Is     byte       `json:"is"`
}

// inflict flips one bit in the middle of the payload of an event in a copy of its store.
func inflict(dir string, e *batpak.Event) (damage, error) {
	names, err := fs.Glob(os.DirFS(dir), "log/*.seg")
	if err != nil {
		return damage{}, err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			return damage{}, err
		}
		// The record of an event is its header, which has its id, and its payload.
		id := bytes.Index(b, e.ID[:])
		if id < 0 {
			continue
		}
		payload := bytes.Index(b[id:], e.Payload)
		if payload < 0 {
			break
		}
		at := id + payload + len(e.Payload)/2
		d := damage{File: name, Offset: int64(at), Seq: e.Seq, Was: b[at], Is: b[at] ^ 1}
		b[at] = d.Is
		return d, os.WriteFile(path, b, 0o600)
	}
	return damage{}, fmt.Errorf("event %d is not in the log of %s", e.Seq, dir)
}

// Layout of a segment, as package log describes it.
const (
	segmentHeaderBytes  = 72
	commitChecksumBytes = 4 // at 4 of a commit, behind the length of what follows it
	commitChecked       = 8 // where that begins
)

// forgeChecksum makes the checksum of the commit that holds a damaged byte right again.
func forgeChecksum(dir string, d damage) error {
	path := filepath.Join(dir, d.File)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for commit := b[segmentHeaderBytes:]; len(commit) > commitChecked; {
		length := commitChecked + int(binary.LittleEndian.Uint32(commit))
		if length == commitChecked || length > len(commit) {
			break
		}
		if int64(len(b)-len(commit)+length) > d.Offset {
			sum := crc32.Checksum(commit[commitChecked:length], crc32.MakeTable(crc32.Castagnoli))
			binary.LittleEndian.PutUint32(commit[commitChecksumBytes:], sum)
			return os.WriteFile(path, b, 0o600)
		}
		commit = commit[length:]
	}
	return errors.New("the commit of the damaged byte was not found")
}
