package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"
)

func testFS(t *testing.T) (FS, string) {
	t.Helper()
	path := t.TempDir()
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return OS(root), path
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestFile(t *testing.T) {
	f, _ := testFS(t)
	file := must[File](t)(f.Create("a"))
	defer file.Close()
	must[int](t)(file.WriteAt([]byte("hello"), 3))
	if err := errors.Join(file.Sync(), file.Truncate(20)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 21)
	if n, err := file.ReadAt(b, 0); n != 20 || err != io.EOF || !bytes.Equal(b, append([]byte("\x00\x00\x00hello"), make([]byte, 13)...)) {
		t.Errorf("%d bytes, %v: %q", n, err, b)
	}
	if size := must[int64](t)(file.Size()); size != 20 {
		t.Errorf("size %d", size)
	}
	read := must[File](t)(f.OpenRead("a"))
	defer read.Close()
	if _, err := read.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a file opened for reading was written")
	}
}

func TestNames(t *testing.T) {
	f, path := testFS(t)
	if _, err := f.Create("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create("a"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of an existing name: %v", err)
	}
	for name, err := range map[string]error{
		"Open":     second(f.Open("none")),
		"OpenRead": second(f.OpenRead("none")),
		"ReadDir":  second(f.ReadDir("none")),
		"Rename":   f.Rename("none", "other"),
		"Remove":   f.Remove("none"),
		"SyncDir":  f.SyncDir("none"),
		"Create":   second(f.Create("none/a")),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of what is not there: %v", name, err)
		}
	}
	for range 2 {
		if err := f.Mkdir("d"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"d/2", "d/10", "d/1"} {
		must[File](t)(f.Create(name)).Close()
	}
	if err := f.SyncDir("d"); err != nil {
		t.Error(err)
	}
	if names := must[[]string](t)(f.ReadDir("d")); !slices.Equal(names, []string{"1", "10", "2"}) {
		t.Errorf("names %q", names)
	}
	if err := os.WriteFile(path+"/d/1", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Rename("d/1", "d/2"), f.Remove("d/10")); err != nil {
		t.Fatal(err)
	}
	if b := must[[]byte](t)(ReadFile(f, "d/2", 3)); string(b) != "new" {
		t.Errorf("renamed file holds %q", b)
	}
}

func second[T any](_ T, err error) error { return err }

// TestMkdirOverFile checks that an existing name passes only if it is a directory.
func TestMkdirOverFile(t *testing.T) {
	f, _ := testFS(t)
	must[File](t)(f.Create("a")).Close()
	if err := f.Mkdir("a"); err == nil {
		t.Error("Mkdir of a name that is a file succeeds")
	}
}

func TestLock(t *testing.T) {
	f, _ := testFS(t)
	for range 2 {
		held := must[File](t)(f.Lock("LOCK"))
		must[int](t)(held.WriteAt([]byte("me"), 0))
		other, err := f.Lock("LOCK")
		if !errors.Is(err, ErrLocked) || other == nil {
			t.Fatalf("second Lock: %v, %v", other, err)
		}
		b := make([]byte, 2)
		if _, err := other.ReadAt(b, 0); err != nil || string(b) != "me" {
			t.Errorf("holder reads %q, %v", b, err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		if other, err := f.Lock("LOCK"); !errors.Is(err, ErrLocked) {
			t.Errorf("after the refused one was closed: %v", err)
		} else {
			other.Close()
		}
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReadFile(t *testing.T) {
	f, path := testFS(t)
	if err := os.WriteFile(path+"/a", []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for max, ok := range map[int64]bool{5: true, 6: true, 1 << 62: true, 4: false, 0: false} {
		b, err := ReadFile(f, "a", max)
		if ok && (err != nil || string(b) != "12345") || !ok && (err == nil || b != nil) {
			t.Errorf("max %d: %q, %v", max, b, err)
		}
	}
	if _, err := ReadFile(f, "none", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A stopper fails the n-th operation that changes something.
type stopper struct {
	FS
	n *int
}

var errStopped = errors.New("stopped")

func (s stopper) step() error {
	if *s.n--; *s.n == 0 {
		return errStopped
	}
	return nil
}

func (s stopper) Create(name string) (File, error) {
	if err := s.step(); err != nil {
		return nil, err
	}
	f, err := s.FS.Create(name)
	return stoppedFile{f, s}, err
}

func (s stopper) Rename(a, b string) error  { return errors.Join(s.step(), s.FS.Rename(a, b)) }
func (s stopper) SyncDir(name string) error { return errors.Join(s.step(), s.FS.SyncDir(name)) }
func (s stopper) Remove(name string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.FS.Remove(name)
}

type stoppedFile struct {
	File
	s stopper
}

func (f stoppedFile) Sync() error { return errors.Join(f.s.step(), f.File.Sync()) }
func (f stoppedFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.s.step(); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], at)
		return n, err
	}
	return f.File.WriteAt(b, at)
}

// TestWriteFile stops WriteFile at each operation in turn: the file is the old or the new one, whole, and writing it again
// succeeds.
func TestWriteFile(t *testing.T) {
	for _, dir := range []string{".", "d"} {
		for n := 1; ; n++ {
			f, _ := testFS(t)
			if err := errors.Join(f.Mkdir("d"), WriteFile(f, dir, "a", []byte("old content"))); err != nil {
				t.Fatal(err)
			}
			left := n
			err := WriteFile(stopper{f, &left}, dir, "a", []byte("new"))
			b := string(must[[]byte](t)(ReadFile(f, dir+"/a", 100)))
			if err == nil {
				if left <= 0 || b != "new" || n < 6 {
					t.Errorf("%d operations, %q", n-1, b)
				}
				break
			}
			if !errors.Is(err, errStopped) || b != "old content" && b != "new" {
				t.Errorf("operation %d: %v, %q", n, err, b)
			}
			if err := WriteFile(f, dir, "a", []byte("newer")); err != nil {
				t.Errorf("operation %d, again: %v", n, err)
			}
		}
	}
}

// TestStaysInside tries names that lead out of the directory, directly and through symbolic links.
func TestStaysInside(t *testing.T) {
	f, path := testFS(t)
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/secret", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"file": outside + "/secret", "dir": outside, "up": "..", "new": outside + "/new"} {
		if err := os.Symlink(target, path+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	must[File](t)(f.Create("mine")).Close()
	for _, name := range []string{"../x", "file", "dir/secret", "dir/new", "up/x", "new", outside + "/secret", "/etc/passwd"} {
		for op, err := range map[string]error{
			"Open":     second(f.Open(name)),
			"OpenRead": second(f.OpenRead(name)),
			"Create":   second(f.Create(name)),
			"Lock":     second(f.Lock(name)),
		} {
			if err == nil {
				t.Errorf("%s(%q) succeeds", op, name)
			}
		}
	}
	for op, err := range map[string]error{
		"Mkdir":   f.Mkdir("dir/sub"),
		"Rename":  f.Rename("mine", "dir/mine"),
		"Remove":  f.Remove("dir/secret"),
		"SyncDir": f.SyncDir("dir"),
		"ReadDir": second(f.ReadDir("dir")),
	} {
		if err == nil {
			t.Errorf("%s through a link that leads outside succeeds", op)
		}
	}
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 1 {
		t.Errorf("outside there is now %v, %v", left, err)
	}
}
