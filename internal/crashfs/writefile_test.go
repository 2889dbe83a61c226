package crashfs

import (
	"testing"

	"github.com/batpak/batpak/internal/vfs"
)

// TestWriteFileIsDurable cuts the power when vfs.WriteFile has returned: the new content is there.
func TestWriteFileIsDurable(t *testing.T) {
	d := New()
	for _, content := range []string{"first", "second, longer"} {
		if err := vfs.WriteFile(d, ".", "a", []byte(content)); err != nil {
			t.Fatal(err)
		}
		b, err := vfs.ReadFile(d.Crash(Dropped()), "a", 100)
		if err != nil || string(b) != content {
			t.Errorf("after a power cut there is %q, %v, where %q was written", b, err, content)
		}
	}
}
