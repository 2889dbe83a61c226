//go:build !linux

package batpak

func yieldThread() {}
