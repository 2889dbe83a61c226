package batpak

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// The file STORE says what the directory is. It is written once and never changes.
//
//	offset  0  magic "BATPAKST"
//	        8  u32  format, 1
//	       12  u32  CRC-32C of the 40 bytes with this field zero
//	       16  16 bytes store id, random
//	       32  i64  created, microseconds since 1970
const (
	identityFile   = "STORE"
	identityMagic  = "BATPAKST"
	identityFormat = 1
	identityBytes  = 40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type identity struct {
	store   event.StoreID
	created event.Timestamp
}

func (id identity) encode() []byte {
	b := append(make([]byte, 0, identityBytes), identityMagic...)
	b = binary.LittleEndian.AppendUint32(b, identityFormat)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = append(b, id.store[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(id.created))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

func decodeIdentity(b []byte) (id identity, err error) {
	bad := func(check string, want, got any) error {
		return &event.CorruptError{File: identityFile, Check: check, Expected: fmt.Sprint(want), Found: fmt.Sprint(got)}
	}
	if len(b) < 12 || string(b[:8]) != identityMagic {
		return id, bad("magic", fmt.Sprintf("%q", identityMagic), fmt.Sprintf("%.8q", b))
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > identityFormat {
		return id, fmt.Errorf("%s: store format %d: %w", identityFile, v, event.ErrFutureFormat)
	}
	if len(b) != identityBytes {
		return id, bad("length", identityBytes, len(b))
	}
	copy(id.store[:], b[16:])
	id.created = event.Timestamp(binary.LittleEndian.Uint64(b[32:]))
	if want, got := id.encode(), b; string(want) != string(got) {
		return id, bad("checksum", binary.LittleEndian.Uint32(want[12:]), binary.LittleEndian.Uint32(got[12:]))
	}
	return id, nil
}

// loadIdentity reads STORE. In a directory without one it makes one if create is set, unless there is a log or an index
// already.
func loadIdentity(f vfs.FS, create bool, now event.Timestamp) (id identity, created bool, err error) {
	id, err = readIdentity(f)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, false, err
	}
	since := ""
	if names, err := f.ReadDir("log"); err == nil && len(names) > 0 {
		since = "a log"
	} else if file, err := f.OpenRead(indexFile); err == nil {
		file.Close() // read only: nothing can be lost
		since = "an index"
	}
	if since != "" { // STORE comes first, so another process may just have made it and then that
		if id, err = readIdentity(f); errors.Is(err, fs.ErrNotExist) {
			err = &event.CorruptError{File: identityFile, Check: "store file present", Expected: "the file, since there is " + since, Found: "none"}
		}
		return id, false, err
	}
	if !create {
		return id, false, err
	}
	id.created = now
	rand.Read(id.store[:]) // never fails
	return id, true, vfs.WriteFile(f, ".", identityFile, id.encode())
}

// readIdentity reads STORE. Without one the error matches fs.ErrNotExist.
func readIdentity(f vfs.FS) (identity, error) {
	b, err := vfs.ReadFile(f, identityFile, 4096)
	if errors.Is(err, vfs.ErrTooLong) {
		err = &event.CorruptError{File: identityFile, Check: "length", Expected: fmt.Sprint(identityBytes), Found: "more than 4096"}
	}
	if err != nil {
		return identity{}, err
	}
	return decodeIdentity(b)
}
