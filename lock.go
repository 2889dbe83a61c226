package batpak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// The file LOCK is locked by the process that writes. It also tells readers in other processes what they may see.
//
//	offset  0  the holder, "pid host\n", then zeros up to 256
//	      256  u64  visible watermark: no reader may show an event above
//	      264  u32  CRC-32C of the store id and the watermark
//
// The watermark is written after every sync, without a sync of its own: after a power cut it is some older one, and after
// the end of the process the newest. It never runs ahead of what is durable in a store with Durable visibility, which
// makes it a witness too: a log that ends before it has lost events. A store with Written visibility writes noBound while it
// is open: readers take whatever is whole, and nothing is witnessed.
const (
	lockFile       = "LOCK"
	holderBytes    = 256
	watermarkBytes = 12
	noBound        = event.Seq(1<<64 - 1)
)

// A LockedError says that another process writes to the store, and which. It matches [ErrLocked].
type LockedError struct {
	Dir    string
	Holder string // "pid 4711 on host", or what is known
}

// Error names the directory and the holder.
func (e *LockedError) Error() string {
	return fmt.Sprintf("store %s is locked by %s", e.Dir, e.Holder)
}

// Is reports whether target is [ErrLocked].
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// acquireLock locks the directory for this process and writes down who holds it.
func acquireLock(f vfs.FS, dir string) (vfs.File, error) {
	file, err := f.Lock(lockFile)
	if errors.Is(err, vfs.ErrLocked) {
		err = &LockedError{Dir: dir, Holder: readHolder(file)}
	}
	if err == nil {
		err = writeHolder(file)
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return file, nil
}

// lockIdentity locks the file that nobody removes from a store that is used.
func lockIdentity(f vfs.FS, dir string) (vfs.File, error) {
	file, err := f.Lock(identityFile)
	if err == nil {
		return file, nil
	}
	if file != nil {
		file.Close()
	}
	if errors.Is(err, vfs.ErrLocked) {
		err = &LockedError{Dir: dir, Holder: "a process whose " + lockFile + " file was removed"}
	}
	return nil, err
}

func writeHolder(file vfs.File) error {
	host, err := os.Hostname()
	if err != nil || len(host) > holderBytes-32 {
		host = "unknown"
	}
	b := make([]byte, holderBytes)
	copy(b, fmt.Sprintf("%d %s\n", os.Getpid(), host))
	_, err = file.WriteAt(b, 0)
	return err
}

func readHolder(file vfs.File) string {
	b := make([]byte, holderBytes)
	n, _ := file.ReadAt(b, 0) // what can't be read is not named
	pid, host, ok := strings.Cut(strings.TrimRight(string(b[:n]), "\x00\n"), " ")
	if !ok || strings.ContainsFunc(pid+" "+host, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return "another process" // nobody wrote that to be read
	}
	return fmt.Sprintf("pid %s on %s", pid, host)
}

// encodeWatermark returns the bytes at holderBytes.
func encodeWatermark(store event.StoreID, seq event.Seq) []byte {
	b := binary.LittleEndian.AppendUint64(store[:len(store):len(store)], uint64(seq))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[len(store):]
}

// readWatermark is loadWatermark for those to whom a file that cannot be read is as good as none.
func readWatermark(file vfs.File, store event.StoreID) (event.Seq, bool) {
	seq, ok, _ := loadWatermark(file, store)
	return seq, ok
}

// loadWatermark returns the visible watermark and whether there is one. It reads again a few times where the checksum is
// wrong, because the writer may be writing it. The error is one of reading.
func loadWatermark(file vfs.File, store event.StoreID) (seq event.Seq, ok bool, err error) {
	var b [watermarkBytes]byte
	for range 10 {
		n, err := file.ReadAt(b[:], holderBytes)
		if n < len(b) && !errors.Is(err, io.EOF) {
			return 0, false, err
		}
		if n < len(b) {
			return 0, false, nil
		}
		seq := event.Seq(binary.LittleEndian.Uint64(b[:]))
		if string(encodeWatermark(store, seq)) == string(b[:]) {
			return seq, true, nil
		}
	}
	return 0, false, nil
}
