package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// A machine is where a run took place, as far as it can be found out.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     string `json:"memory"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"file_system"` // of the stores
	Go         string `json:"go"`
	Commit     string `json:"commit"`
	Load       string `json:"load"` // averages at the end of the run
}

// readMachine describes the machine, and the file system of dir.
func readMachine(dir string) machine {
	return machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: field("/proc/meminfo", "MemTotal"),
		Kernel: firstLine("/proc/sys/kernel/osrelease"), FileSystem: fileSystem(dir), Go: runtime.Version(),
		Commit: commit(), Load: firstLine("/proc/loadavg"),
	}
}

// field returns the value of the first line of a file that begins with a name and a colon.
func field(file, name string) string {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func firstLine(file string) string {
	b, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// fileSystem returns type and device of the mount with the longest path that dir is under.
func fileSystem(dir string) string {
	b, _ := os.ReadFile("/proc/mounts")
	found, length := "unknown", 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 2 && len(f[1]) > length && (dir+"/" == f[1]+"/" || strings.HasPrefix(dir, strings.TrimSuffix(f[1], "/")+"/")) {
			found, length = f[2]+" on "+f[0], len(f[1])
		}
	}
	return found
}

// commit names the commit that was measured, with a plus if the tree differs from it.
func commit() string {
	b, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(b))
	if changes, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output(); err == nil && len(changes) > 0 {
		name += "+"
	}
	return name
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s of memory, Linux %s, %s, %s, commit %s", m.CPU, m.Cores, m.Memory, m.Kernel, m.FileSystem, m.Go, m.Commit)
}
