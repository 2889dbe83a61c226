package main

import (
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cpuTime is the processor time, user and system, that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A memory is what the kernel says that this process has resident, in MiB.
type memory struct{ resident, anonymous, peak float64 }

func readMemory() (m memory) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		var kib float64
		fmt.Sscan(value, &kib)
		switch name {
		case "VmRSS":
			m.resident = kib / 1024
		case "RssAnon":
			m.anonymous = kib / 1024
		case "VmHWM":
			m.peak = kib / 1024
		}
	}
	return m
}

// derivedFile is the only file of which a system says that it can be made again from the others.
const derivedFile = "index.bolt"

// diskUse returns the bytes of the blocks that the files under dir occupy, those of derived files apart.
func diskUse(dir string) (log, derived int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a file that goes while we look was not wanted
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		size := info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			size = st.Blocks * 512
		}
		if d.Name() == derivedFile {
			derived += size
		} else {
			log += size
		}
		return nil
	})
	return log, derived
}

// A histogram counts durations in classes that are at most 3 % wide.
type histogram struct {
	count   [64 * classes]int64
	total   int64
	longest time.Duration
}

const (
	classBits = 5
	classes   = 1 << classBits
)

// add counts d.
func (h *histogram) add(d time.Duration) {
	h.count[class(uint64(max(d, 0)))]++
	h.total++
	h.longest = max(h.longest, d)
}

// class of v: its highest bit and the classBits below it; small values have one each.
func class(v uint64) int {
	if v < classes {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - classBits
	return (shift+1)*classes + int(v>>shift)&(classes-1)
}

// lowest is the least value of a class.
func lowest(class int) uint64 {
	if class < classes {
		return uint64(class)
	}
	return uint64(classes+class%classes) << (class/classes - 1)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.count {
		h.count[i] += n
	}
	h.total += o.total
	h.longest = max(h.longest, o.longest)
}

// quantile returns the value that a share q of those counted does not exceed, in microseconds, within 3 %.
func (h *histogram) quantile(q float64) float64 {
	rank, seen := int64(q*float64(h.total)), int64(0)
	for i, n := range h.count {
		if seen += n; seen > rank {
			return float64(min(lowest(i+1), uint64(h.longest))) / 1000
		}
	}
	return float64(h.longest) / 1000
}
