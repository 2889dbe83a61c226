package batpak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode"

	"github.com/batpak/batpak/event"
	"github.com/batpak/batpak/internal/vfs"
)

// The file LOCK is locked by the process that writes. It also tells readers in other processes what they may see.
//
//	offset  0  the holder, "pid host\n", then zeros up to 256
//	      256  u64  visible watermark: no reader may show an event above. noBound: readers take whatever is whole
//	      264  u64  durable watermark: a log that ends before it has lost events
//	      272  u32  CRC-32C of the store id and the watermarks
//
// The watermarks are written after every sync, before those who wait for it return, without a sync of their own: after a
// power cut they are some older ones, and after the end of the process the newest.
const (
	lockFile       = "LOCK"
	holderBytes    = 256
	watermarkBytes = 8 + 8 + 4
	noBound        = event.Seq(1<<64 - 1) // in a store with Written visibility, while it is open
)

// watermarks are those in LOCK.
type watermarks struct{ visible, durable event.Seq }

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

// encode returns the bytes at holderBytes, in b if they fit.
func (w watermarks) encode(b []byte, store event.StoreID) []byte {
	b = append(b[:0], store[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(w.visible))
	b = binary.LittleEndian.AppendUint64(b, uint64(w.durable))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[len(store):]
}

// readWatermarks returns what LOCK says, and whether it says anything. It reads again a few times where the checksum is
// wrong, because the writer may be writing. The error is one of reading.
func readWatermarks(file vfs.File, store event.StoreID) (w watermarks, ok bool, err error) {
	var b [watermarkBytes]byte
	for range 10 {
		n, err := file.ReadAt(b[:], holderBytes)
		if n < len(b) && !errors.Is(err, io.EOF) {
			return watermarks{}, false, err
		}
		if n < len(b) {
			return watermarks{}, false, nil
		}
		w := watermarks{event.Seq(binary.LittleEndian.Uint64(b[:])), event.Seq(binary.LittleEndian.Uint64(b[8:]))}
		if string(w.encode(nil, store)) == string(b[:]) {
			return w, true, nil
		}
	}
	return watermarks{}, false, nil
}

// lockWitness returns up to where LOCK says that the log was durable, 0 if it is missing or says nothing.
func lockWitness(f vfs.FS, store event.StoreID) (event.Seq, error) {
	file, err := f.OpenRead(lockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	w, _, err := readWatermarks(file, store)
	return w.durable, err
}
